/** Random numbers that can be had again: prints the seed, and takes it from SEED. */
export interface Random {
  seed: number;
  /** From `low` to below `high`. */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
}

export function createRandom(): Random {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
  console.log(`seed ${seed} (SEED=${seed} tries it again)`);
  let state = seed >>> 0;
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    seed,
    between: (low, high) => low + next() * (high - low),
    chance: (probability) => next() < probability,
  };
}
