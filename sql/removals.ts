import { z } from "zod";
import { type Database, sql } from "./database.ts";

/** One step of removing what deleted discussions left, of at most `most` rows. 0: nothing is left to do. */
export async function removeDeleted(db: Database, most: number): Promise<number> {
  return db.oneFirst(sql.type(z.object({ done: z.number() }))`SELECT remove_deleted(${most}) AS done`);
}
