import { Failure } from "./errors.ts";
import { limits } from "./limits.ts";

/**
 * Runs at most `most` tasks at once and lets at most `waiting` more wait; the next is refused as overloaded.
 */
export function createLine(most: number, waiting: number) {
  const line: (() => void)[] = [];
  let running = 0;
  return async <T>(task: () => Promise<T>): Promise<T> => {
    if (running >= most) {
      if (line.length >= waiting) {
        throw new Failure("overloaded", "Too much at once; try again", {
          retryAfterSeconds: limits.retryAfterSeconds,
        });
      }
      await new Promise<void>((resolve) => line.push(resolve));
    } else {
      running++;
    }
    try {
      return await task();
    } finally {
      // The place passes to the next in line, so that nobody can slip in between.
      const next = line.shift();
      if (next) next();
      else running--;
    }
  };
}
