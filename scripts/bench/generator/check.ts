/** What was wrong with what the listeners heard. All zero: exact. */
export interface Irregularities {
  lost: number;
  repeated: number;
  swapped: number;
  /** Heard by somebody who should not have, or never sent. */
  stray: number;
}

/**
 * Checks every listener's sequence: each sender numbers its messages 1, 2, 3 … and has one in flight at a
 * time, so every listener must hear each number once, and in rising order. A hash of all that a listener
 * heard shows whether two of them heard everything in the same order.
 */
export class Checker {
  /** How many messages were heard, by all. */
  heard = 0;
  readonly #senders: number;
  /** For each listener and sender, the highest number heard. */
  readonly #highest: Int32Array;
  readonly #hashes: Int32Array;
  /** What is missing below the highest number: a key per listener, sender and number. */
  readonly #missing = new Set<string>();
  #repeated = 0;
  #swapped = 0;

  constructor(listeners: number, senders: number) {
    this.#senders = senders;
    this.#highest = new Int32Array(listeners * senders);
    this.#hashes = new Int32Array(listeners);
  }

  hear(listener: number, sender: number, number: number): void {
    this.heard++;
    const mixed = Math.imul(((this.#hashes[listener] ?? 0) ^ sender) + number, 0x9e3779b1);
    this.#hashes[listener] = mixed ^ (mixed >>> 15);
    const place = listener * this.#senders + sender;
    const highest = this.#highest[place] ?? 0;
    if (number === highest + 1) this.#highest[place] = number;
    else this.#hearIrregular(listener, sender, number, highest);
  }

  hashOf(listener: number): number {
    return this.#hashes[listener] ?? 0;
  }

  highestOf(listener: number, sender: number): number {
    return this.#highest[listener * this.#senders + sender] ?? 0;
  }

  /** What was wrong, given how many messages of each sender each listener should have heard. */
  judge(expected: (listener: number, sender: number) => number): Irregularities {
    const irregularities = {
      lost: this.#missing.size,
      repeated: this.#repeated,
      swapped: this.#swapped,
      stray: 0,
    };
    for (let place = 0; place < this.#highest.length; place++) {
      const difference =
        expected(Math.floor(place / this.#senders), place % this.#senders) - (this.#highest[place] ?? 0);
      if (difference > 0) irregularities.lost += difference;
      else irregularities.stray -= difference;
    }
    return irregularities;
  }

  #hearIrregular(listener: number, sender: number, number: number, highest: number): void {
    const keyOf = (missing: number) => `${listener} ${sender} ${missing}`;
    if (number <= highest) {
      if (this.#missing.delete(keyOf(number))) this.#swapped++;
      else this.#repeated++;
      return;
    }
    for (let missing = highest + 1; missing < number; missing++) this.#missing.add(keyOf(missing));
    this.#highest[listener * this.#senders + sender] = number;
  }
}

/** Irregularities in words, for a person; empty if there are none. */
export function describeIrregularities(irregularities: Irregularities): string[] {
  return Object.entries(irregularities)
    .filter(([, count]) => count !== 0)
    .map(([what, count]) => `${count} ${what}`);
}
