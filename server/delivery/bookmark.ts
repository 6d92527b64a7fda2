import type { Pool } from "../../sql/database.ts";
import { readLogEnd } from "../../sql/log.ts";

/** How far a log was followed, and when the event there happened; empty if that was not seen. */
export interface Bookmark {
  epoch: string;
  position: number;
  at: string;
}

/** Whether a log is the one that has the bookmark, as far as it can be known. */
export function isSame(
  log: { epoch: string; oldest: number; at: string | null },
  { epoch, position, at }: Bookmark,
): boolean {
  return log.epoch === epoch && (at === "" || position < log.oldest || log.at === at);
}

/** At the end of the log. */
export async function markEnd(pool: Pool): Promise<Bookmark> {
  const { newest } = await readLogEnd(pool, 0);
  const { epoch, at } = await readLogEnd(pool, newest);
  return { epoch, position: newest, at: at ?? "" };
}
