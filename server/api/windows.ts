import { BurstyRateLimiter, RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { limits } from "../limits.ts";
import type { Rate } from "../rates.ts";

/**
 * Counts what passes for each key, in this process. The library keeps a key until its time is over, about a
 * kilobyte each, so the number of keys is bounded here: the oldest are forgotten, and begin anew.
 */
export class Windows {
  readonly #steady: RateLimiterMemory;
  readonly #bursts: RateLimiterMemory;
  readonly #both: BurstyRateLimiter;
  readonly #mostKeys: number;
  readonly #keys = new Set<string>();

  constructor({ points, seconds, burst, burstSeconds }: Rate, mostKeys: number = limits.rateLimitKeys) {
    this.#steady = new RateLimiterMemory({ points, duration: seconds, keyPrefix: "" });
    this.#bursts = new RateLimiterMemory({ points: burst, duration: burstSeconds, keyPrefix: "" });
    this.#both = new BurstyRateLimiter(this.#steady, this.#bursts);
    this.#mostKeys = mostKeys;
  }

  /** Counts one; gives 0 if it passes, or the milliseconds until one may again. */
  async take(key: string): Promise<number> {
    this.#remember(key);
    try {
      await this.#both.consume(key);
      return 0;
    } catch (result) {
      if (result instanceof RateLimiterRes) return Math.max(result.msBeforeNext, 1);
      throw result;
    }
  }

  #remember(key: string): void {
    this.#keys.add(key);
    if (this.#keys.size <= this.#mostKeys) return;
    // A tenth at once: a Set's first key is behind all those that were removed before it.
    let count = Math.ceil(this.#mostKeys / 10);
    for (const oldest of this.#keys) {
      if (count-- === 0) break;
      this.#keys.delete(oldest);
      void this.#steady.delete(oldest);
      void this.#bursts.delete(oldest);
    }
  }
}
