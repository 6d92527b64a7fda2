import type { Pool } from "../../sql/database.ts";
import { markRead, type ReadAnswer, type ReadMark } from "../../sql/members.ts";
import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";

/** Moves read marks; the one way for REST and sockets. */
export interface ReadMarks {
  /**
   * Marks a discussion as read up to a message, never back; gives the mark and what is left unread as JSON
   * text. Throws session_revoked, discussion_not_found, not_a_member, overloaded.
   */
  mark(mark: ReadMark): Promise<string>;
}

interface Waiting {
  mark: ReadMark;
  answers: { resolve: (json: string) => void; reject: (error: unknown) => void }[];
}

/**
 * Marks that come in while some are being stored are stored together, and of one reader only the furthest:
 * one transaction and one event where a client that scrolls sends a hundred. There is no timer.
 */
export function createReadMarks(pool: Pool): ReadMarks {
  let waiting = new Map<string, Waiting>();
  let count = 0;
  let storing = false;

  async function storeAll(): Promise<void> {
    storing = true;
    while (waiting.size > 0) {
      const batch = takeBatch();
      try {
        const results = await markRead(
          pool,
          batch.map(({ mark }) => mark),
        );
        batch.forEach((entry, index) => {
          answer(entry, results[index]);
        });
      } catch (error) {
        for (const { answers } of batch) for (const { reject } of answers) reject(error);
      }
    }
    storing = false;
  }

  function takeBatch(): Waiting[] {
    const all = [...waiting];
    const batch = all.slice(0, limits.readMarksAtOnce).map(([, entry]) => entry);
    waiting = new Map(all.slice(limits.readMarksAtOnce));
    for (const { answers } of batch) count -= answers.length;
    return batch;
  }

  return {
    mark: (mark) =>
      new Promise((resolve, reject) => {
        if (count >= limits.readMarksWaiting) {
          const retryAfterSeconds = limits.retryAfterSeconds;
          reject(new Failure("overloaded", "Too many read marks at once", { retryAfterSeconds }));
          return;
        }
        count++;
        const key = `${mark.session_id} ${mark.discussion_id}`;
        const entry = waiting.get(key) ?? { mark, answers: [] };
        if (entry.mark.seq < mark.seq) entry.mark = mark;
        entry.answers.push({ resolve, reject });
        waiting.set(key, entry);
        if (!storing) void storeAll();
      }),
  };
}

function answer({ answers }: Waiting, result: ReadAnswer | undefined): void {
  for (const { resolve, reject } of answers) {
    if (!result) reject(new Error("mark_read returned too few answers"));
    else if ("json" in result) resolve(result.json);
    else reject(new Failure(result.code));
  }
}
