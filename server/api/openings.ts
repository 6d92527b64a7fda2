import type { Pool } from "../../sql/database.ts";
import { type Opening, type OpeningRequest, readOpenings } from "../../sql/openings.ts";
import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";

interface Waiting {
  request: OpeningRequest;
  resolve: (opening: Opening) => void;
  reject: (error: unknown) => void;
}

/**
 * Reads what streams need to begin, for all who ask while a statement is under way by the next one: when
 * thousands of clients come back at once, it takes tens of statements and few connections of the pool. There
 * is no timer, so one that comes alone does not wait. Throws overloaded, or what Postgres throws.
 */
export function createOpenings(pool: Pool): (request: OpeningRequest) => Promise<Opening> {
  const line: Waiting[] = [];
  let inFlight = 0;

  async function drain(): Promise<void> {
    inFlight++;
    // Requests of the same tick belong to the same statement.
    await null;
    while (line.length > 0) await read(pool, line.splice(0, limits.openingsPerStatement));
    inFlight--;
  }

  return (request) =>
    new Promise((resolve, reject) => {
      if (line.length >= limits.openingsWaiting) {
        const retryAfterSeconds = limits.retryAfterSeconds;
        reject(new Failure("overloaded", "Too many streams open at once", { retryAfterSeconds }));
        return;
      }
      line.push({ request, resolve, reject });
      if (inFlight < limits.openingStatementsAtOnce) void drain();
    });
}

async function read(pool: Pool, batch: Waiting[]): Promise<void> {
  try {
    const openings = await readOpenings(
      pool,
      batch.map(({ request }) => request),
    );
    batch.forEach(({ resolve, reject }, index) => {
      const opening = openings[index];
      if (opening) resolve(opening);
      else reject(new Error("readOpenings returned too few rows"));
    });
  } catch (error) {
    for (const { reject } of batch) reject(error);
  }
}
