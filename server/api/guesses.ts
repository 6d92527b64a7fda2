import { createHash } from "node:crypto";
import { RateLimiterPostgres, type RateLimiterRes } from "rate-limiter-flexible";
import type { Pool } from "../../sql/database.ts";
import { rateLimitsClient, rateLimitsTable } from "../../sql/rate-limits.ts";
import { Failure } from "../errors.ts";
import { guesses } from "../rates.ts";

/** What is counted, with its bounds, as a test may want them smaller. */
export type GuessLimits = { [K in keyof typeof guesses]: Widened<(typeof guesses)[K]> };
type Widened<T> = T extends number ? number : { [K in keyof T]: number };

export interface Guesses {
  /**
   * Runs an attempt to show the password of an account, named as the client names it, from an address. One
   * that throws invalid_credentials counts. Gives the milliseconds to wait, without trying, when there were
   * too many; else what the attempt gives. Throws what it throws, and what Postgres throws.
   */
  attempt<T>(address: string, name: string, act: () => Promise<T>): Promise<{ waitMs: number } | { done: T }>;
}

/**
 * Counts wrong passwords in Postgres, for all processes and over restarts: for an account from an address,
 * for an address, and for an account. Whether the account exists makes no difference. Counting comes after
 * the attempt, so attempts that are under way together may exceed a bound; each address has few of those.
 */
export function createGuesses(pool: Pool, bounds: GuessLimits = guesses): Guesses {
  const { pairs, addresses, accounts, blocks, known } = createCounters(pool, bounds);

  async function waitMs(address: string, account: string, pair: string): Promise<number> {
    const [ofPair, ofAddress, ofAccount] = await Promise.all([
      pairs.get(pair),
      addresses.get(address),
      accounts.get(account),
    ]);
    const strict = Math.max(excess(ofPair, pairs), excess(ofAddress, addresses));
    const shared = excess(ofAccount, accounts);
    if (shared <= strict || (await known.get(pair)) !== null) return strict;
    return shared;
  }

  async function failed(address: string, account: string, pair: string): Promise<void> {
    const [ofPair] = await Promise.all([
      pairs.penalty(pair),
      addresses.penalty(address),
      accounts.penalty(account),
    ]);
    // Each count is given to one attempt only.
    if (ofPair.consumedPoints !== bounds.pair.points) return;
    const { consumedPoints } = await blocks.penalty(pair);
    const seconds = bounds.pair.blockSeconds * 2 ** (consumedPoints - 1);
    await pairs.block(pair, Math.min(seconds, bounds.pair.blockMostSeconds));
  }

  async function succeeded(pair: string): Promise<void> {
    const [, remembered] = await Promise.all([pairs.delete(pair), known.get(pair)]);
    // Not with each sign-in.
    const isFresh = remembered !== null && remembered.msBeforeNext > bounds.knownSeconds * 500;
    if (!isFresh) await known.set(pair, 1, bounds.knownSeconds);
  }

  return {
    attempt: async (from, name, act) => {
      const account = hash(name.toLowerCase());
      const address = hash(from);
      const pair = hash(`${account} ${address}`);
      const wait = await waitMs(address, account, pair);
      if (wait > 0) return { waitMs: wait };
      try {
        const done = await act();
        await succeeded(pair);
        return { done };
      } catch (error) {
        if (error instanceof Failure && error.code === "invalid_credentials") {
          await failed(address, account, pair);
        }
        throw error;
      }
    },
  };
}

function createCounters(pool: Pool, bounds: GuessLimits) {
  const storeClient = rateLimitsClient(pool);
  const create = (keyPrefix: string, points: number, duration: number) =>
    new RateLimiterPostgres({
      storeClient,
      storeType: "client",
      tableName: rateLimitsTable,
      tableCreated: true,
      // The maintenance does it.
      clearExpiredByTimeout: false,
      keyPrefix,
      points,
      duration,
    });
  return {
    pairs: create("pair", bounds.pair.points, bounds.pair.seconds),
    addresses: create("address", bounds.address.points, bounds.address.seconds),
    accounts: create("account", bounds.account.points, bounds.account.seconds),
    /** How often a pair was blocked. */
    blocks: create("blocks", 1, bounds.blocksSeconds),
    /** Pairs that showed the right password. */
    known: create("known", 1, bounds.knownSeconds),
  };
}

/** How long a count that is used up still stands. */
function excess(count: RateLimiterRes | null, { points }: RateLimiterPostgres): number {
  return count !== null && count.consumedPoints >= points ? count.msBeforeNext : 0;
}

/** Names and addresses of people need not stand in the table; and a key has to be short. */
function hash(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
