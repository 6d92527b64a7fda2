import { Socket } from "node:net";
import pg from "pg";
import { BackendTerminatedError, createDriverFactory, type DriverFactory } from "slonik";

/** How to reach Postgres. `ssl` overrides what the URL says. */
export interface DriverTarget {
  url: string;
  ssl?: { rejectUnauthorized: boolean };
}

/** Time limits in milliseconds; see openDatabase(). */
export interface DriverLimits {
  connectMs: number;
  statementMs: number;
  lockMs: number;
  idleInTransactionMs: number;
  /** After this long without an answer the connection is given up: the network to the server is dead. */
  answerMs: number;
}

/** A statement with its values; one with a name is prepared once per connection. */
export interface Statement {
  text: string;
  values?: unknown[];
  name?: string;
}

/** One connection on node-postgres, with this project's types, session settings and limit on silence. */
export interface Connection {
  /** Whatever it throws, nothing of the connection is left. */
  connect(): Promise<void>;
  /** Throws BackendTerminatedError if nothing more can be said on this connection, or what Postgres says. */
  query(statement: Statement): Promise<pg.QueryResult>;
  end(): Promise<void>;
}

/** A connection as the others see it when they fall silent together. */
interface Line {
  socket: Socket;
  unanswered: number;
}

/**
 * slonik's driver on node-postgres, instead of its own, for two things that cannot be set from outside:
 * session settings once per connection (slonik's hooks run once per query), and a limit on the wait for an
 * answer. Without the limit a network that dies silently would hold a query, and all who wait for it, for a
 * quarter of an hour.
 */
export function createDriver(target: DriverTarget, limits: DriverLimits): DriverFactory {
  const lines = new Set<Line>();
  return createDriverFactory(async () => ({
    createPoolClient: async ({ clientEventEmitter }) => {
      const connection = createConnection(target, limits, {
        lines,
        pipeline: false,
        onLost: (error) => clientEventEmitter.emit("error", error),
      });
      return {
        connect: connection.connect,
        end: connection.end,
        query: async (text, values, options) => {
          const result = await connection.query({ text, values: values ?? [], ...options });
          return {
            command: result.command as "SELECT",
            fields: result.fields.map(({ name, dataTypeID }) => ({ name, dataTypeId: dataTypeID })),
            rowCount: result.rowCount,
            rows: result.rows,
          };
        },
        stream: () => {
          throw new Error("statements that stream their rows are not used here");
        },
      };
    },
  }));
}

/**
 * Makes a connection, which connect() then opens. `onLost` is told if it breaks, but not once it was given
 * up: slonik listens for a second more at most, and Node ends the process for an error that nobody takes.
 * With `pipeline`, statements are sent without waiting for the answers to those before; each is still a
 * transaction of its own, carried out in order.
 */
export function createConnection(
  target: DriverTarget,
  limits: DriverLimits,
  options: { lines: Set<Line>; pipeline: boolean; onLost(error: Error): void },
): Connection {
  const { lines } = options;
  const line: Line = { socket: new Socket(), unanswered: 0 };
  const client = new pg.Client({
    connectionString: target.url,
    ...(target.ssl && { ssl: target.ssl }),
    connectionTimeoutMillis: limits.connectMs,
    stream: () => line.socket,
    types: { getTypeParser },
    // Not in the published types yet.
    ...({ pipeline: options.pipeline } as object),
  });
  let isGivenUp = false;
  client.on("error", (error) => {
    if (!isGivenUp) options.onLost(terminated(error));
  });
  client.on("end", () => lines.delete(line));

  const query = async (statement: Statement) => {
    const timer = setTimeout(() => giveUp(lines, line), limits.answerMs);
    line.unanswered++;
    try {
      return await client.query({ ...statement, values: statement.values ?? [] });
    } catch (error) {
      throw isLost(error) ? terminated(error) : error;
    } finally {
      clearTimeout(timer);
      line.unanswered--;
    }
  };
  const end = () => {
    isGivenUp = true;
    return client.end();
  };
  const connect = async () => {
    await client.connect();
    lines.add(line);
    const { statementMs, lockMs, idleInTransactionMs } = limits;
    await query({ text: setSession, values: [statementMs, lockMs, idleInTransactionMs].map(String) });
  };
  return {
    query,
    connect: async () => {
      try {
        await connect();
      } catch (error) {
        // Nobody else does; and it may be open, if only its settings were refused.
        end().catch(() => {});
        line.socket.destroySoon();
        throw error;
      }
    },
    end,
  };
}

/**
 * The last four: a host that lost its power says no goodbye. By itself Postgres finds that out after two
 * hours, in which its connections count towards max_connections; with them, after a minute.
 *
 * By a statement and not as start-up parameters, which pgbouncer refuses. Without JIT: where Postgres has it,
 * statements that look costly and take milliseconds, such as that for openings, would be compiled for
 * hundreds.
 */
const setSession = `
  SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
    set_config('idle_in_transaction_session_timeout', $3, false), set_config('TimeZone', 'UTC', false),
    set_config('jit', 'off', false),
    set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false),
    set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '60000', false)`;

/** Numbers of the catalog pg_type. */
const parsers: Readonly<Record<number, (text: string) => unknown>> = {
  // bigint: positions, seqs and counts stay far below 2^53.
  20: Number,
  // json: its text, as it is passed on without being looked at.
  114: (text) => text,
  // timestamptz
  1184: (text) => new Date(text).toISOString(),
};

function getTypeParser(oid: number, format?: "text" | "binary") {
  return parsers[oid] ?? pg.types.getTypeParser(oid, format as "text");
}

/** A connection that gave no answer; those that wait idle beside it have most likely died with it. */
function giveUp(lines: ReadonlySet<Line>, silent: Line): void {
  for (const line of lines) if (line === silent || line.unanswered === 0) line.socket.destroy();
}

/**
 * By whatever name the network calls it: neither an answer of Postgres nor a mistake in what it was given.
 */
function isLost(error: unknown): error is Error {
  const isKnown = [pg.DatabaseError, TypeError, RangeError].some((kind) => error instanceof kind);
  return error instanceof Error && !isKnown;
}

/** Tells slonik that nothing more, no ROLLBACK either, can be said on this connection. */
function terminated(error: Error): Error {
  return new BackendTerminatedError(error);
}
