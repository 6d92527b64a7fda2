/** How much of everything. */
export interface Sizes {
  fanOut: { subscribers: number; senders: number };
  rooms: { rooms: number; inFlight: number };
  snapshotMs: number;
  idle: { sockets: number; streams: number };
  storm: { rooms: number; members: number; behind: number };
  history: { messages: number; requests: number };
  search: { messages: number; requests: number };
  instances: number[];
  soakMs: number;
}

export const fullSizes: Sizes = {
  fanOut: { subscribers: 1_000, senders: 16 },
  rooms: { rooms: 500, inFlight: 64 },
  snapshotMs: 60_000,
  idle: { sockets: 5_000, streams: 2_000 },
  storm: { rooms: 50, members: 100, behind: 100 },
  history: { messages: 1_000_000, requests: 1_000 },
  search: { messages: 1_000_000, requests: 200 },
  instances: [1, 2, 4],
  soakMs: 30 * 60_000,
};

/** For a look at whether everything works and is exact; its times mean nothing. */
export const tinySizes: Sizes = {
  fanOut: { subscribers: 20, senders: 4 },
  rooms: { rooms: 10, inFlight: 8 },
  snapshotMs: 300,
  idle: { sockets: 20, streams: 20 },
  storm: { rooms: 4, members: 5, behind: 10 },
  history: { messages: 600, requests: 3 },
  search: { messages: 2_000, requests: 2 },
  instances: [1, 2],
  soakMs: 1_200,
};
