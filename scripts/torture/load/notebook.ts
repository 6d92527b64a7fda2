import { createHash } from "node:crypto";
import type { Random } from "../../../tests/support/random.ts";
import { type Attempt, emptied } from "../history.ts";

/** By this a text is known wherever it turns up; only the shortest are without it. */
export const textMark = "…зa字";

/** What one writer was promised. */
export class Notebook {
  readonly writer: string;
  readonly attempts: Attempt[] = [];
  readonly #random: Random;
  readonly #earlierPlaces = new Map<string, number[]>();
  #numbers = 0;
  #names = 0;
  #era = 0;

  constructor(writer: string, random: Random) {
    this.writer = writer;
    this.#random = random;
  }

  /** A new message for one of the discussions, written down before it is sent. */
  begin(
    discussionIds: readonly string[],
    length = this.#chooseLength(),
  ): { attempt: Attempt; content: string } {
    const content = this.#compose(length);
    const attempt: Attempt = {
      writer: this.writer,
      number: this.#numbers++,
      discussion_id: this.#random.pick(discussionIds),
      client_id: `${this.writer}-${this.#names++}`,
      hashes: [hashOf(content)],
      acknowledged: null,
      seq: null,
      era: this.#era,
    };
    this.attempts.push(attempt);
    return { attempt, content };
  }

  /** It was answered that it is stored. */
  acknowledge(attempt: Attempt, seq: number, content: string): void {
    attempt.seq = seq;
    attempt.acknowledged ??= hashOf(content);
    attempt.era = this.#era;
  }

  /** A backup was restored: what is answered from now on is of another history. */
  beginEra(): void {
    this.#era++;
  }

  /** Whether a message can be changed: it is stored, as far as anybody knows, and not deleted. */
  mayChange({ seq, acknowledged, era }: Attempt): boolean {
    return seq !== null && acknowledged !== emptied && era === this.#era;
  }

  /** It was refused for now and is sent again, after all that is under way. */
  postpone(attempt: Attempt): void {
    const places = this.#earlierPlaces.get(attempt.client_id) ?? [];
    this.#earlierPlaces.set(attempt.client_id, [...places, attempt.number]);
    attempt.number = this.#numbers++;
  }

  /**
   * What was written down, each message at the place at which it was stored: a try that was answered by "not
   * now" may have been carried out all the same, if only its answer was lost on the way from Postgres. By
   * rising seq each takes the first of its places that is after those before, if there is one.
   */
  settled(): Attempt[] {
    const ends = new Map<string, number>();
    return this.attempts
      .toSorted((a, b) => a.era - b.era || (a.seq ?? 0) - (b.seq ?? 0))
      .map((attempt) => {
        if (attempt.seq === null) return attempt;
        const end = ends.get(attempt.discussion_id) ?? -1;
        const places = this.#earlierPlaces.get(attempt.client_id) ?? [];
        const number = places.find((place) => place > end) ?? attempt.number;
        ends.set(attempt.discussion_id, Math.max(end, number));
        return { ...attempt, number };
      });
  }

  /** A text for a change of a message, written down before it is asked for. */
  change(attempt: Attempt): string {
    const content = this.#compose(this.#chooseLength());
    attempt.hashes.push(hashOf(content));
    return content;
  }

  /** Mostly short; some are larger than a NOTIFY takes, a few as large as a message may be. */
  #chooseLength(): number {
    return this.#random.chance(0.05) ? this.#random.integer(4_000, 15_000) : this.#random.integer(1, 200);
  }

  #compose(length: number): string {
    return `${this.writer} ${this.#names} ${this.#random.integer(0, 1e9)} `.padEnd(length, `${textMark}\t\n`);
  }
}

/** Short, and enough to tell texts apart. */
export function hashOf(content: string): string {
  return createHash("sha1").update(content).digest("base64").slice(0, 12);
}
