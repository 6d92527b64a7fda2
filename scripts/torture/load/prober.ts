import type { Random } from "../../../tests/support/random.ts";
import type { Attempt } from "../history.ts";
import { Notebook } from "./notebook.ts";
import type { Person } from "./person.ts";
import { send } from "./rest-writer.ts";

/** Of 16,000 that a message may have. */
const floodLength = 15_000;
const lentLength = 20;

/** Somebody who writes when told to, and hears all that the load's own people hear. */
export class Prober {
  readonly notebook: Notebook;
  readonly #person: Person;
  readonly #discussionIds: readonly string[];

  constructor(person: Person, discussionIds: readonly string[], random: Random) {
    this.notebook = new Notebook(person.name, random);
    this.#person = person;
    this.#discussionIds = discussionIds;
  }

  get token(): string {
    return this.#person.token;
  }

  /** Sends a mark into a discussion, at a certain instance and no other; gives its seq. */
  async mark(place: number, discussionId: string, limitMs: number): Promise<number> {
    this.#person.goTo(place);
    const { attempt, content } = this.notebook.begin([discussionId]);
    await send(this.#person, this.notebook, attempt, content, { limitMs, stays: true });
    return attempt.seq ?? 0;
  }

  /** A message for somebody else to send, by any way, with this one's token. */
  lend(): { attempt: Attempt; content: string } {
    return this.notebook.begin(this.#discussionIds, lentLength);
  }

  /** Sends large messages, one after the other; gives the bytes of their texts. */
  async flood(count: number): Promise<number> {
    let bytes = 0;
    for (; count > 0; count--) {
      const { attempt, content } = this.notebook.begin(this.#discussionIds, floodLength);
      await send(this.#person, this.notebook, attempt, content);
      bytes += Buffer.byteLength(content);
    }
    return bytes;
  }
}
