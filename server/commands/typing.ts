import type { Logger } from "pino";
import type { Pool } from "../../sql/database.ts";
import { announceTyping, findTypist, type Typing, type Typist } from "../../sql/typing.ts";
import { fail } from "../errors.ts";
import { limits } from "../limits.ts";

/**
 * Tells the others in a discussion who is typing there. What comes together goes out in one NOTIFY, and these
 * go out a few times a second at most: whoever NOTIFYs holds a lock that all who store messages wait for.
 * Nothing is stored, and what cannot be told in time is dropped.
 */
export class TypingSignals {
  readonly #pool: Pool;
  readonly #log: Logger;
  /** What is to be told, and what was within the last second, by typist and discussion. */
  #waiting = new Map<string, Typing>();
  #told = new Map<string, { lastSaid: number; until: number }>();
  #timer: NodeJS.Timeout | undefined;
  #isTelling = false;
  #nextAt = 0;

  constructor(pool: Pool, log: Logger) {
    this.#pool = pool;
    this.#log = log;
  }

  /**
   * Shows somebody as typing, unless that was done a moment ago and no message of theirs, which ends it, came
   * since. Throws session_revoked, discussion_not_found, not_a_member, blocked.
   */
  async show(typist: Typist): Promise<void> {
    const { refusal, last_said } = await findTypist(this.#pool, typist);
    if (refusal) fail(refusal);
    const { user_id, discussion_id } = typist;
    const key = `${user_id} ${discussion_id}`;
    if (this.#waiting.size >= limits.typingsWaiting || this.#wasTold(key, last_said)) return;
    this.#waiting.set(key, { ...typist, last_said });
    this.#schedule();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }

  #wasTold(key: string, lastSaid: number): boolean {
    const now = performance.now();
    const told = this.#told.get(key);
    if (told && told.until > now && told.lastSaid >= lastSaid) return true;
    this.#told.delete(key);
    this.#told.set(key, { lastSaid, until: now + limits.typingAgainMs });
    // The oldest come first, and go when their time is over.
    for (const [oldest, { until }] of this.#told) {
      if (until > now && this.#told.size <= limits.typingsWaiting) break;
      this.#told.delete(oldest);
    }
    return false;
  }

  #schedule(): void {
    if (this.#timer || this.#isTelling || this.#waiting.size === 0) return;
    this.#timer = setTimeout(() => void this.#tell(), Math.max(0, this.#nextAt - performance.now()));
  }

  async #tell(): Promise<void> {
    this.#timer = undefined;
    this.#isTelling = true;
    this.#nextAt = performance.now() + limits.typingNotifyMs;
    const batch = [...this.#waiting].slice(0, limits.typingsPerNotify);
    for (const [key] of batch) this.#waiting.delete(key);
    try {
      await announceTyping(
        this.#pool,
        batch.map(([, typing]) => typing),
      );
    } catch (error) {
      this.#log.warn({ err: error }, "cannot tell who is typing");
    }
    this.#isTelling = false;
    this.#schedule();
  }
}
