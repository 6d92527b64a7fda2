import { type Connection, createConnection, type DriverLimits, type DriverTarget } from "./driver.ts";

/**
 * Connections of its own for one hot statement, without the pool's work per query. What is asked while an
 * answer is awaited goes by another connection, if there is one, or is sent behind it and carried out right
 * after: Postgres need not wait for us between two batches.
 */
export interface Pipeline {
  /** Rows of a statement that is prepared under its name. Throws what Postgres, or the network, throws. */
  query(name: string, text: string, values: unknown[]): Promise<readonly unknown[]>;
  end(): Promise<void>;
}

/** `lanes` connections, each made when first needed, and anew after a loss; `onConnected` is told of each. */
export function openPipeline(
  target: DriverTarget,
  limits: DriverLimits,
  lanes: number,
  onConnected: () => void,
): Pipeline {
  const all = Array.from({ length: lanes }, () => createLane(target, limits, onConnected));
  return {
    query: (name, text, values) => {
      const freest = all.reduce((best, lane) => (lane.unanswered() < best.unanswered() ? lane : best));
      return freest.query(name, text, values);
    },
    end: async () => void (await Promise.all(all.map((lane) => lane.end()))),
  };
}

interface Lane extends Pipeline {
  unanswered(): number;
}

function createLane(target: DriverTarget, limits: DriverLimits, onConnected: () => void): Lane {
  let opening: Promise<Connection> | undefined;
  let unanswered = 0;
  let ended = false;

  const open = (): Promise<Connection> => {
    const mine = connect(() => forget(mine));
    mine.catch(() => forget(mine));
    return mine;
  };
  const connect = async (onLost: () => void): Promise<Connection> => {
    const connection = createConnection(target, limits, { lines: new Set(), pipeline: true, onLost });
    await connection.connect();
    onConnected();
    return connection;
  };
  /** Told more than once, and late, of one that was lost: the next one, which may be there by then, stays. */
  const forget = (lost: Promise<Connection>) => {
    if (opening === lost) opening = undefined;
  };
  /** The connection that is there, or a new one; a failed attempt is not kept. */
  const connected = async (): Promise<Connection> => {
    if (ended) throw new Error("connection terminated: the pipeline was ended");
    opening ??= open();
    return await opening;
  };

  return {
    unanswered: () => unanswered,
    query: async (name, text, values) => {
      unanswered++;
      try {
        const connection = await connected();
        return (await connection.query({ name, text, values })).rows;
      } finally {
        unanswered--;
      }
    },
    end: async () => {
      ended = true;
      await opening?.then((connection) => connection.end()).catch(() => {});
    },
  };
}
