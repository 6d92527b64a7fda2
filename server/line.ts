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

/** A line for each key, kept while somebody is in it: who crowds one does not hold up the others. */
export function createLines(most: number, waiting: number) {
  const lines = new Map<string, { run: ReturnType<typeof createLine>; inside: number }>();
  return async <T>(key: string, task: () => Promise<T>): Promise<T> => {
    const line = lines.get(key) ?? { run: createLine(most, waiting), inside: 0 };
    lines.set(key, line);
    line.inside++;
    try {
      return await line.run(task);
    } finally {
      line.inside--;
      if (line.inside === 0) lines.delete(key);
    }
  };
}
