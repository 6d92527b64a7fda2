import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";

/** Runs a task of a user, or throws overloaded or rate_limited. */
export type Places = <T>(userId: string, task: () => Promise<T>) => Promise<T>;

/**
 * Runs at most `most` tasks at once, and at most `mostEach` of one user: so nobody can take all the places.
 * Nobody waits: what comes beyond is refused as overloaded or, to that user, as rate_limited.
 */
export function createPlaces(most: number, mostEach: number): Places {
  const taken = new Map<string, number>();
  let all = 0;
  return async (userId, task) => {
    const own = taken.get(userId) ?? 0;
    if (own >= mostEach) throw tooMany("rate_limited", `At most ${mostEach} at once`);
    if (all >= most) throw tooMany("overloaded", "Too much at once; try again");
    all++;
    taken.set(userId, own + 1);
    try {
      return await task();
    } finally {
      all--;
      const left = (taken.get(userId) ?? 1) - 1;
      if (left > 0) taken.set(userId, left);
      else taken.delete(userId);
    }
  };
}

function tooMany(code: "rate_limited" | "overloaded", detail: string): Failure {
  return new Failure(code, detail, { retryAfterSeconds: limits.retryAfterSeconds });
}
