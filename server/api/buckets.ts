import type { Bucket } from "../rates.ts";

/**
 * Token buckets, one for each key: `most` at once, `perSecond` from then on. Synchronous and 0.1 µs, for what
 * is counted on the way of every message; see docs/decisions/0013-rate-limits.md.
 *
 * A bucket is one number, the time at which it is full again, and one that is full need not be kept. Those
 * touched lately are in `#young`; when as long has passed as filling takes, all that are only in `#old` are
 * full and go. So no timer is needed, and memory holds who came by in the last two such times.
 */
export class Buckets {
  readonly #stepMs: number;
  readonly #fillMs: number;
  #young = new Map<string, number>();
  #old = new Map<string, number>();
  #turnedAt = 0;

  constructor({ most, perSecond }: Bucket) {
    this.#stepMs = 1_000 / perSecond;
    this.#fillMs = most * this.#stepMs;
  }

  /** Takes one; gives 0, or in how many milliseconds there will be one. */
  take(key: string, now: number = performance.now()): number {
    if (now - this.#turnedAt >= this.#fillMs) this.#turn(now);
    const full = Math.max(this.#young.get(key) ?? this.#old.get(key) ?? 0, now) + this.#stepMs;
    const waitMs = full - now - this.#fillMs;
    // Sums of steps are not exact.
    if (waitMs > 1e-6) return waitMs;
    this.#young.set(key, full);
    return 0;
  }

  #turn(now: number): void {
    this.#old = now - this.#turnedAt < 2 * this.#fillMs ? this.#young : new Map();
    this.#young = new Map();
    this.#turnedAt = now;
  }
}
