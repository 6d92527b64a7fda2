import type { Logger } from "pino";
import type { Pool } from "../../sql/database.ts";
import { removeDeleted } from "../../sql/removals.ts";
import { limits } from "../limits.ts";

/** Removes in the background what deleted discussions leave. */
export interface Removals {
  /** Goes on until nothing is left, or, after a failure, until it is told again. Never throws. */
  begin(): void;
  stop(): void;
}

/**
 * In steps of some ten milliseconds, each of which may be the last: a removal is noted in the database, and
 * whoever looks next goes on with it, here after a restart or at another instance. It rests as long as it
 * works, as others use the disk too.
 */
export function createRemovals(pool: Pool, log: Logger): Removals {
  let timer: NodeJS.Timeout | undefined;
  let isRunning = false;
  let isStopped = false;

  const step = async () => {
    const startedAt = performance.now();
    try {
      const done = await removeDeleted(pool, limits.removalStep);
      if (done > 0 && !isStopped) {
        const tookMs = performance.now() - startedAt;
        timer = setTimeout(step, tookMs * (0.5 + Math.random())).unref();
        return;
      }
    } catch (error) {
      if (!isStopped) log.warn({ err: error }, "cannot remove what a deleted discussion left");
    }
    isRunning = false;
  };

  return {
    begin: () => {
      if (isRunning || isStopped) return;
      isRunning = true;
      void step();
    },
    stop: () => {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
