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
  const connect = async (onLost: () => void): Promise<Connection> => {
    const lost = () => {
      onLost();
      connection.end().catch(() => {});
    };
    const options = { lines: new Set<never>(), pipeline: true, onLost: lost };
    const connection = createConnection(target, limits, options);
    await connection.connect();
    onConnected();
    return connection;
  };
  const standIn = () => all.map((lane) => lane.open()).find((connection) => connection !== undefined);
  const all: Lane[] = Array.from({ length: lanes }, () => createLane(connect, standIn));
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
  /** Its connection, if it is there. */
  open(): Connection | undefined;
}

/**
 * `standIn` gives another lane's connection, for what cannot have one of its own: Postgres may have none
 * left.
 */
function createLane(
  connect: (onLost: () => void) => Promise<Connection>,
  standIn: () => Connection | undefined,
): Lane {
  let opening: Promise<Connection> | undefined;
  let open: Connection | undefined;
  let unanswered = 0;
  let ended = false;

  const begin = (): Promise<Connection> => {
    const mine = connect(() => forget(mine));
    mine.then(
      (connection) => {
        if (opening === mine) open = connection;
      },
      () => forget(mine),
    );
    return mine;
  };
  /** Told more than once, and late, of one that was lost: the next one, which may be there by then, stays. */
  const forget = (lost: Promise<Connection>) => {
    if (opening !== lost) return;
    opening = undefined;
    open = undefined;
  };
  /** The connection that is there, or a new one; a failed attempt is not kept. */
  const connected = async (): Promise<Connection> => {
    if (ended) throw new Error("connection terminated: the pipeline was ended");
    opening ??= begin();
    return await opening.catch((error) => standIn() ?? Promise.reject(error));
  };

  return {
    unanswered: () => unanswered,
    open: () => open,
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
