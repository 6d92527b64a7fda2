import type { Socket } from "node:net";
import { openStalled, readToEnd } from "../../../tests/support/stalled.ts";
import { at, type Fault, times, type World } from "../fault.ts";

const readers = 16;
/** 27 kB each, of which every reader is offered all: 11 MB, or 176 MB together. */
const messages = 400;
/** The network's buffers of both hosts and the server's. */
const mostKept = 6_000_000;

export const readersStalled: Fault = {
  id: "readers-stalled",
  title: `${readers} readers that stall are offered 100 MB and more; each is dropped within its bound`,
  recoveryMs: 10_000,
  plan: (_random, seconds) =>
    times(Math.max(1, seconds / 10)).map((index) => ({
      atMs: index * 10_000,
      what: `${readers} readers stall before ${messages} large messages`,
      act: stall,
    })),
};

/** Gives how many were dropped. What then still comes to each may be no more than is kept for a reader. */
async function stall({ instances, load, note }: World): Promise<number> {
  const token = load.prober.token;
  const opening = times(readers).map((index) =>
    openStalled(at(instances, index % instances.length).url, token, index % 4 < 2 ? "ws" : "sse"),
  );
  try {
    const stalled = await Promise.all(opening);
    const offered = await load.prober.flood(messages);
    let most = 0;
    for (const socket of stalled) most = Math.max(most, await readToEnd(socket));
    note(`${offered * readers} bytes were offered; ${most} of ${offered} came to one at most`);
    if (most >= mostKept) throw new Error(`${most} bytes came to a reader that stalled, not ${mostKept}`);
    return stalled.length;
  } finally {
    const destroy = (socket: Socket) => void socket.destroy();
    for (const one of opening) one.then(destroy, () => {}); // Told above.
  }
}
