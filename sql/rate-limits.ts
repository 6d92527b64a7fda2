import { z } from "zod";
import { type Database, type Pool, sql } from "./database.ts";

/** The table whose rows the library rate-limiter-flexible reads and writes by statements of its own. */
export const rateLimitsTable = "rate_limits";

const row = z.object({ points: z.number(), expire: z.number().nullable() });

/** The pool as a client of node-postgres, which is what RateLimiterPostgres takes. */
export function rateLimitsClient(pool: Pool) {
  return {
    query: ({ text, values }: { text: string; values: (string | number | null)[] }) =>
      pool.query({ ...sql.type(row)``, sql: text, values }),
  };
}

/** Removes counts that are over; gives how many. */
export async function pruneRateLimits(db: Database, limit: number): Promise<number> {
  const result = await db.query(sql.unsafe`
    DELETE FROM rate_limits WHERE key IN (
      SELECT key FROM rate_limits WHERE expire < extract(epoch FROM now()) * 1000 LIMIT ${limit})
  `);
  return result.rowCount;
}
