import type { Attempt, History, StoredMessage, Truth } from "./history.ts";
import type { Allowance } from "./violation.ts";

/** One history, so that it can be asked by discussion and seq. */
export class Era {
  readonly number: number;
  readonly truth: Truth;
  readonly #messages: ReadonlyMap<string, StoredMessage>;
  /** Positions at which the log tells of a message, by type, discussion and seq. */
  readonly #told = new Map<string, number[]>();

  constructor(number: number, truth: Truth) {
    this.number = number;
    this.truth = truth;
    this.#messages = new Map(truth.messages.map((message) => [keyOf(message), message]));
    for (const { type, discussion_id, seq, position } of truth.log) {
      if (seq === null) continue;
      const key = `${type} ${keyOf({ discussion_id, seq })}`;
      const places = this.#told.get(key);
      if (places) places.push(position);
      else this.#told.set(key, [position]);
    }
  }

  message(place: Place): StoredMessage | undefined {
    return this.#messages.get(keyOf(place));
  }

  /** Where the log tells of a message, in its order. */
  told(type: string, place: Place): readonly number[] {
    return this.#told.get(`${type} ${keyOf(place)}`) ?? [];
  }

  has(position: number): boolean {
    const { log } = this.truth;
    const first = log[0]?.position ?? 1;
    return position >= first && position < first + log.length;
  }
}

export interface Place {
  discussion_id: string;
  seq: number;
}

/** What is known of all that happened. */
export class Evidence {
  readonly eras: readonly Era[];
  readonly allowance: Allowance;
  readonly attempts: readonly Attempt[];
  readonly #eraOf: ReadonlyMap<string, Era>;
  readonly #attemptOf: ReadonlyMap<string, Attempt>;

  constructor({ attempts }: History, truths: readonly Truth[], allowance: Allowance) {
    this.eras = truths.map((truth, number) => new Era(number, truth));
    this.allowance = allowance;
    this.attempts = attempts;
    // By a cursor that two histories share nobody can tell which one it is of: only the last one counts.
    this.#eraOf = new Map(this.eras.map((era) => [era.truth.epoch, era]));
    this.#attemptOf = new Map(attempts.map((attempt) => [attempt.client_id, attempt]));
  }

  eraOf(epoch: string): Era | undefined {
    return this.#eraOf.get(epoch);
  }

  attemptOf(clientId: string | null): Attempt | undefined {
    return this.#attemptOf.get(clientId ?? "");
  }
}

export function keyOf({ discussion_id, seq }: Place): string {
  return `${discussion_id} ${seq}`;
}
