import { Tally } from "../tally.ts";

/** How long answers took, in seconds. */
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/**
 * Counts requests by route, method and status. A route is its pattern and never a path, which would name
 * people and discussions, and grow without bound.
 */
export class Requests {
  readonly #tallies = new Map<string, Map<string, Map<number, Tally>>>();

  /** `ms`: until the answer, or until a stream was open. */
  add(route: string, method: string, status: number, ms: number): void {
    const byMethod = inside(this.#tallies, route, () => new Map<string, Map<number, Tally>>());
    const byStatus = inside(byMethod, method, () => new Map<number, Tally>());
    inside(byStatus, status, () => new Tally(bounds)).add(ms / 1_000);
  }

  /** All since the start, as labels and what they label. */
  list(): { labels: { route: string; method: string; status: number }; tally: Tally }[] {
    return [...this.#tallies].flatMap(([route, byMethod]) =>
      [...byMethod].flatMap(([method, byStatus]) =>
        [...byStatus].map(([status, tally]) => ({ labels: { route, method, status }, tally })),
      ),
    );
  }
}

function inside<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = create();
  map.set(key, made);
  return made;
}
