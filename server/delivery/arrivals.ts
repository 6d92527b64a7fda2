import { within } from "../within.ts";

/** Those who wait until the log has come to a position. */
export class Arrivals {
  #waiting: { position: number; resolve: () => void }[] = [];

  /** Resolves when that position is reached; rejects if it is not within `ms`. */
  wait(position: number, ms: number): Promise<void> {
    return within(ms, new Promise((resolve) => this.#waiting.push({ position, resolve })));
  }

  tell(reached: number): void {
    if (this.#waiting.length === 0) return;
    for (const { position, resolve } of this.#waiting) if (position <= reached) resolve();
    this.#waiting = this.#waiting.filter(({ position }) => position > reached);
  }
}
