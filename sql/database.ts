import {
  type CommonQueryMethods,
  createPool,
  createSqlTag,
  type DatabasePool,
  type DatabaseTransactionConnection,
  type Interceptor,
  SchemaValidationError,
} from "slonik";
import type { z } from "zod";
import { createDriver } from "./driver.ts";
import { openPipeline, type Pipeline } from "./pipeline.ts";

/** The pool, or one transaction of it: what every function of this folder takes first. */
export type Database = CommonQueryMethods;
export type Pool = DatabasePool;

/** How to reach Postgres. `ssl` overrides what the URL says. */
export interface DatabaseOptions {
  url: string;
  ssl?: { rejectUnauthorized: boolean };
  maxConnections: number;
}

/** Writes statements; each names its row type with `sql.type(row)`. */
export const sql = createSqlTag();

/**
 * No statement may hold a lock or a connection for longer; see docs/decisions/0001-one-log.md. What the
 * server itself does not end in its time, because the network between is dead, ends two seconds later here.
 */
const timeLimits = {
  connectMs: 3_000,
  statementMs: 10_000,
  lockMs: 5_000,
  idleInTransactionMs: 10_000,
  answerMs: 12_000,
};
const idleConnectionMs = 60_000;
/** While one batch is flushed to disk, the next one is looked up and inserted. */
const sendingLanes = 2;

/**
 * Opens the pool. Types on the way out: bigint and count() are numbers, timestamptz is an RFC 3339 string,
 * json is its text.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Pool> {
  return createPool(options.url, {
    driverFactory: createDriver(options, timeLimits),
    maxPoolSize: options.maxConnections,
    idleTimeout: idleConnectionMs,
    gracefulTerminationTimeout: 1_000,
    // The default, DISCARD ALL after every query, halves the throughput; nothing here leaves session state.
    resetConnection: async () => {},
    // Retries belong to the commands, which know whether a statement may be repeated.
    queryRetryLimit: 0,
    connectionRetryLimit: 0,
    interceptors: [parseRows],
  });
}

/**
 * Opens the way of the one hot statement; see Pipeline. `url` is a direct connection, not a pooler's.
 * `onConnected` is called for each new connection, before anything comes of it.
 */
export function openSending(target: Pick<DatabaseOptions, "url" | "ssl">, onConnected: () => void): Pipeline {
  return openPipeline(target, timeLimits, sendingLanes, onConnected);
}

/**
 * Runs `act` in one transaction. A deadlock or a serialization failure (nothing was stored) is tried again,
 * at most twice.
 */
export function inTransaction<T>(
  pool: Pool,
  act: (transaction: DatabaseTransactionConnection) => Promise<T>,
): Promise<T> {
  return pool.transaction(act, 2);
}

/** Checks each row against its zod type; synchronous, as an asynchronous check costs a third more. */
const parseRows: Interceptor = {
  name: "parse-rows",
  transformRow: (context, query, row) => {
    const parser = context.resultParser as z.ZodType<typeof row> | undefined;
    if (!parser) return row;
    const result = parser.safeParse(row);
    if (!result.success) {
      throw new SchemaValidationError(query, row, result.error.issues as never);
    }
    return result.data;
  },
};
