import type { Logger } from "pino";
import type { Pool } from "../../sql/database.ts";
import { indexMessages } from "../../sql/search.ts";
import { limits } from "../limits.ts";

/**
 * Makes search documents of what was sent, about once a second, in steps of some ten milliseconds. (What has
 * none yet is found, too, by reading it.) Of many instances one does it at a time. While much is being sent,
 * it rests after each step for several times as long as that took: sending comes first. A backlog in quiet
 * times is worked off without a rest. `readPosition` tells how far the log goes.
 */
export function startIndexing(pool: Pool, log: Logger, readPosition: () => number): { stop(): void } {
  let timer: NodeJS.Timeout;
  let isStopped = false;
  /** Up to here all messages have documents. */
  let indexedTo = -1;
  const schedule = (ms: number) => {
    if (isStopped) return;
    timer = setTimeout(run, ms);
    timer.unref();
  };
  const later = () => schedule(limits.indexMs * (0.5 + Math.random()));
  const run = async () => {
    const position = readPosition();
    if (position === indexedTo) return later();
    const startedAt = performance.now();
    try {
      const made = await indexMessages(pool, limits.indexStep);
      if (made === 0) indexedTo = position;
      if (!made) return later();
      const tookMs = performance.now() - startedAt;
      schedule(tookMs * restFactor(((readPosition() - position) * 1_000) / tookMs));
    } catch (error) {
      if (!isStopped) log.warn({ err: error }, "indexing failed");
      later();
    }
  };
  schedule(0);
  return {
    stop: () => {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}

/** How many times longer than its work the indexing rests, by how many events come in per second. */
function restFactor(eventsPerSecond: number): number {
  if (eventsPerSecond > limits.indexFlooded.eventsPerSecond) return limits.indexFlooded.restFactor;
  return eventsPerSecond > limits.indexBusy.eventsPerSecond ? limits.indexBusy.restFactor : 0;
}
