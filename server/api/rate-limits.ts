import type { Pool } from "../../sql/database.ts";
import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";
import { createLines } from "../line.ts";
import { rates } from "../rates.ts";
import { Buckets } from "./buckets.ts";
import { createGuesses } from "./guesses.ts";
import { Windows } from "./windows.ts";

/** Classes of requests counted by where they come from, before it is known who asks … */
export type AddressClass = keyof typeof rates.address;
/** … and by who asks. */
export type UserClass = keyof typeof rates.user | "send";
export type RateClass = AddressClass | UserClass;

/** Bounds on how often; see docs/decisions/0013-rate-limits.md. Whatever is refused throws rate_limited. */
export interface RateLimits {
  byAddress(rateClass: AddressClass, address: string): Promise<void>;
  /** Undefined, which need not be awaited, where the order of what a client sends must not change: `send`. */
  byUser(rateClass: UserClass, userId: string): Promise<void> | undefined;
  /** One more stream of a person who has so many. */
  oneMoreStream(open: number): void;
  /** Counts a refused frame of a socket; true when its client is to be closed with 4002. */
  isFlood(userId: string): boolean;
  /** Runs what costs a password hash in the line of its address. */
  inTurn<T>(address: string, act: () => Promise<T>): Promise<T>;
  /** The same for an attempt to show the password of an account; wrong ones are counted. */
  guess<T>(address: string, name: string, act: () => Promise<T>): Promise<T>;
  /** How many were refused, by class, since the start. */
  readonly refused: Readonly<Record<string, number>>;
}

/** What RATE_LIMITS=off gives: nothing is counted. */
const noRateLimits: RateLimits = {
  byAddress: async () => {},
  byUser: () => undefined,
  oneMoreStream: () => {},
  isFlood: () => false,
  inTurn: (_address, act) => act(),
  guess: (_address, _name, act) => act(),
  refused: {},
};

export function createRateLimits(pool: Pool, isOn: boolean): RateLimits {
  if (!isOn) return noRateLimits;
  const byAddress = mapValues(rates.address, (rate) => new Windows(rate));
  const byUser = mapValues(rates.user, (rate) => new Windows(rate));
  const sends = new Buckets(rates.send);
  const refusedFrames = new Buckets(rates.refusedFrames);
  const guesses = createGuesses(pool);
  const inTurn = createLines(limits.signInsAtOnce, limits.signInsWaiting);
  const refused: Record<string, number> = {};

  const refuse = (rateClass: string, what: string, waitMs: number): never => {
    refused[rateClass] = (refused[rateClass] ?? 0) + 1;
    const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1_000));
    const detail = `Too many ${what}; try again in ${retryAfterSeconds} s`;
    throw new Failure("rate_limited", detail, { retryAfterSeconds });
  };
  const pass = async (waiting: Promise<number>, rateClass: RateClass, what: string) => {
    const waitMs = await waiting;
    if (waitMs > 0) refuse(rateClass, what, waitMs);
  };

  return {
    refused,
    inTurn,
    byAddress: (rateClass, address) =>
      pass(byAddress[rateClass].take(address), rateClass, "requests from this address"),
    byUser: (rateClass, userId) => {
      if (rateClass !== "send") return pass(byUser[rateClass].take(userId), rateClass, "requests");
      const waitMs = sends.take(userId);
      return waitMs > 0 ? refuse("send", "messages", waitMs) : undefined;
    },
    oneMoreStream: (open) => {
      if (open >= limits.streamsPerUser) refuse("connect", "streams open at once", limits.streamRetryMs);
    },
    isFlood: (userId) => refusedFrames.take(userId) > 0,
    guess: (address, name, act) =>
      inTurn(address, async () => {
        const result = await guesses.attempt(address, name, act);
        return "done" in result ? result.done : refuse("login", "wrong passwords", result.waitMs);
      }),
  };
}

function mapValues<K extends string, V, W>(values: Record<K, V>, map: (value: V) => W): Record<K, W> {
  const entries = Object.entries<V>(values).map(([key, value]) => [key, map(value)]);
  return Object.fromEntries(entries) as Record<K, W>;
}
