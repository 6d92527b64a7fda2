import { Socket } from "node:net";
import pg from "pg";
import { BackendTerminatedError, createDriverFactory, type DriverFactory } from "slonik";

/** Time limits in milliseconds; see openDatabase(). */
export interface DriverLimits {
  connectMs: number;
  statementMs: number;
  lockMs: number;
  idleInTransactionMs: number;
  /** After this long without an answer the connection is given up: the network to the server is dead. */
  answerMs: number;
}

/** One connection, as the others see it when they fall silent together. */
interface Line {
  socket: Socket;
  busy: boolean;
}

/**
 * slonik's driver on node-postgres, instead of its own, for two things that cannot be set from outside:
 * session settings once per connection (slonik's hooks run once per query), and a limit on the wait for an
 * answer. Without the limit a network that dies silently would hold a query, and all who wait for it, for a
 * quarter of an hour.
 */
export function createDriver(
  target: { url: string; ssl?: { rejectUnauthorized: boolean } },
  limits: DriverLimits,
): DriverFactory {
  const lines = new Set<Line>();
  return createDriverFactory(async () => ({
    createPoolClient: async ({ clientEventEmitter }) => {
      const line: Line = { socket: new Socket(), busy: false };
      const client = new pg.Client({
        connectionString: target.url,
        ...(target.ssl && { ssl: target.ssl }),
        connectionTimeoutMillis: limits.connectMs,
        stream: () => line.socket,
        types: { getTypeParser },
      });
      client.on("error", (error) => clientEventEmitter.emit("error", terminated(error)));
      client.on("end", () => lines.delete(line));

      const query = async (text: string, values: unknown[] = [], options?: { name?: string }) => {
        const timer = setTimeout(() => giveUp(lines, line), limits.answerMs);
        line.busy = true;
        try {
          return await client.query({ text, values, ...(options?.name && { name: options.name }) });
        } catch (error) {
          throw isTerminated(error) ? terminated(error) : error;
        } finally {
          clearTimeout(timer);
          line.busy = false;
        }
      };
      return {
        connect: async () => {
          await client.connect();
          lines.add(line);
          await query(
            setSession,
            [limits.statementMs, limits.lockMs, limits.idleInTransactionMs].map(String),
          );
        },
        end: () => client.end(),
        query: async (text, values, options) => {
          const { command, fields, rowCount, rows } = await query(text, values, options);
          return {
            command: command as "SELECT",
            fields: fields.map(({ name, dataTypeID }) => ({ name, dataTypeId: dataTypeID })),
            rowCount,
            rows,
          };
        },
        stream: () => {
          throw new Error("statements that stream their rows are not used here");
        },
      };
    },
  }));
}

/** By a statement and not as start-up parameters, which pgbouncer refuses. */
const setSession = `
  SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
    set_config('idle_in_transaction_session_timeout', $3, false), set_config('TimeZone', 'UTC', false)`;

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
  for (const line of lines) if (line === silent || !line.busy) line.socket.destroy();
}

function isTerminated(error: unknown): error is Error {
  return error instanceof Error && /connection terminated|not queryable/i.test(error.message);
}

/** Tells slonik that nothing more, no ROLLBACK either, can be said on this connection. */
function terminated(error: Error): Error {
  return new BackendTerminatedError(error);
}
