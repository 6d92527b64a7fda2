/** Random numbers that can be had again from their seed. */
export interface Random {
  seed: number;
  /** From `low` to below `high`. */
  between(low: number, high: number): number;
  /** A whole number from `low` to `high`, both included. */
  integer(low: number, high: number): number;
  chance(probability: number): boolean;
  /** One of several; throws if there are none. */
  pick<T>(items: readonly T[]): T;
  /** Numbers of their own that follow from this seed and a name: who draws more does not disturb others. */
  fork(name: string): Random;
}

/** Prints the seed, and takes it from SEED. */
export function createRandom(): Random {
  const seed = Number(process.env.SEED ?? newSeed());
  console.log(`seed ${seed} (SEED=${seed} tries it again)`);
  return randomOf(seed);
}

export function newSeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (low: number, high: number) => low + Math.floor(next() * (high - low + 1));
  return {
    seed,
    between: (low, high) => low + next() * (high - low),
    integer,
    chance: (probability) => next() < probability,
    pick: (items) => {
      if (items.length === 0) throw new Error("nothing to pick from");
      return items[integer(0, items.length - 1)] as (typeof items)[number];
    },
    fork: (name) => randomOf(hash(`${seed} ${name}`)),
  };
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}
