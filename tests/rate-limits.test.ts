import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { test } from "uvu";
import { z } from "zod";
import { readAddress } from "../server/api/address.ts";
import { Buckets } from "../server/api/buckets.ts";
import { createGuesses, type Guesses } from "../server/api/guesses.ts";
import { createRateLimits, type RateLimits, type UserClass } from "../server/api/rate-limits.ts";
import { Windows } from "../server/api/windows.ts";
import { Failure, fail } from "../server/errors.ts";
import { limits } from "../server/limits.ts";
import { guesses as guessLimits, rates } from "../server/rates.ts";
import { openDatabase, type Pool, sql } from "../sql/database.ts";
import { pruneRateLimits } from "../sql/rate-limits.ts";
import { createTestDatabase } from "./support/database.ts";
import { eventually } from "./support/server.ts";

test("a bucket gives a burst, then so many per second, and never more", () => {
  const buckets = new Buckets({ most: 10, perSecond: 5 });
  let taken = 0;
  for (let now = 1_000; now < 5_000; now += 10) if (buckets.take("ann", now) === 0) taken++;
  assert.equal(taken, 10 + 5 * 4 - 1);
});

test("a bucket says when there is more, and then there is", () => {
  const buckets = new Buckets({ most: 3, perSecond: 4 });
  let now = 77;
  for (let i = 0; i < 3; i++) assert.equal(buckets.take("ann", now), 0);
  const waitMs = buckets.take("ann", now);
  assert.equal(waitMs, 250);
  assert.ok(buckets.take("ann", now + waitMs - 1) > 0);
  now += waitMs;
  assert.equal(buckets.take("ann", now), 0);
  assert.ok(buckets.take("ann", now) > 0, "being refused costs nothing, and gives nothing");
  assert.equal(buckets.take("bob", now), 0);
});

test("a bucket that is forgotten was full", () => {
  const buckets = new Buckets({ most: 4, perSecond: 1 });
  const taken: number[] = [];
  // Somebody else comes by all the time, so that all that can be forgotten is.
  for (let now = 0; now < 20_000; now += 100) {
    buckets.take("bob", now);
    if (now % 5_000 === 0) taken.push([1, 2, 3, 4, 5].filter(() => buckets.take("ann", now) === 0).length);
  }
  assert.deepEqual(taken, [4, 4, 4, 4]);
});

test("windows let bursts pass, then a steady rate, for each key; of too many the oldest go", async () => {
  const windows = new Windows({ points: 2, seconds: 1, burst: 3, burstSeconds: 60 }, 10);
  const taken = await count(5, () => windows.take("ann"));
  assert.equal(taken, 5);
  const waitMs = await windows.take("ann");
  assert.ok(waitMs > 0 && waitMs <= 1_000, `${waitMs}`);
  assert.equal(await windows.take("bob"), 0);
  await eventually(async () => assert.equal(await windows.take("ann"), 0), 2_000);
  for (let i = 0; i < 10; i++) await windows.take(`stranger ${i}`);
  assert.equal(await count(5, () => windows.take("ann")), 5, "ann is forgotten");
});

test("every class lets its burst pass, refuses with a time to wait, and leaves others alone", () =>
  withPool(async (pool) => {
    const rateLimits = createRateLimits(pool, true);
    for (const [name, { points, burst }] of Object.entries(rates.user)) {
      const take = (who: string) => rateLimits.byUser(name as UserClass, who);
      await assertBound(rateLimits, name, points + burst, take);
    }
    for (const [name, { points, burst }] of Object.entries(rates.address)) {
      const take = (who: string) => rateLimits.byAddress(name as keyof typeof rates.address, who);
      await assertBound(rateLimits, name, points + burst, take);
    }
    await assertBound(rateLimits, "send", rates.send.most, async (who) => rateLimits.byUser("send", who));
  }));

async function assertBound(
  rateLimits: RateLimits,
  name: string,
  most: number,
  take: (who: string) => Promise<void> | undefined,
): Promise<void> {
  const refusedBefore = rateLimits.refused[name] ?? 0;
  for (let i = 0; i < most; i++) await take("ann");
  // Steady ones come in with the time this takes.
  const refusal = await firstRefusal(most, () => take("ann"));
  assert.equal(refusal.code, "rate_limited");
  assert.ok(Number.isInteger(refusal.retryAfterSeconds) && Number(refusal.retryAfterSeconds) >= 1);
  assert.equal(rateLimits.refused[name], refusedBefore + 1);
  await take("bob");
}

async function firstRefusal(most: number, take: () => Promise<void> | undefined): Promise<Failure> {
  for (let i = 0; i < most; i++) {
    try {
      await take();
    } catch (error) {
      assert.ok(error instanceof Failure);
      return error;
    }
  }
  return assert.fail(`${most} more were not refused`);
}

test("an address is the peer's, or what trusted proxies in a row say; an IPv6 one counts as its /64", () => {
  const cases: [remote: string, forwarded: string | undefined, proxies: number, address: string][] = [
    ["192.0.2.1", undefined, 0, "192.0.2.1"],
    ["192.0.2.1", "198.51.100.7", 0, "192.0.2.1"],
    ["::ffff:192.0.2.1", undefined, 0, "192.0.2.1"],
    ["10.0.0.1", undefined, 1, "10.0.0.1"],
    ["10.0.0.1", "198.51.100.7", 1, "198.51.100.7"],
    ["10.0.0.1", "1.1.1.1, 2.2.2.2,198.51.100.7", 1, "198.51.100.7"],
    ["10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2", 2, "198.51.100.7"],
    ["10.0.0.1", "198.51.100.7", 2, "198.51.100.7"],
    ["10.0.0.1", "198.51.100.7:4711", 1, "198.51.100.7"],
    ["10.0.0.1", "[2001:db8:1:2:3:4:5:6]:4711", 1, "2001:db8:1:2::/64"],
    ["2001:0db8:0001:0002::1", undefined, 0, "2001:db8:1:2::/64"],
    ["2001:db8:1:2:ffff::1", undefined, 0, "2001:db8:1:2::/64"],
    ["2001:db8::1", undefined, 0, "2001:db8:0:0::/64"],
    ["::1", undefined, 0, "0:0:0:0::/64"],
    ["fe80::1%eth0", undefined, 0, "fe80:0:0:0::/64"],
    ["10.0.0.1", "unknown", 1, "unknown"],
    ["10.0.0.1", ", ,", 1, "10.0.0.1"],
  ];
  for (const [remoteAddress, forwarded, proxies, address] of cases) {
    const request = { socket: { remoteAddress }, headers: { "x-forwarded-for": forwarded } };
    const read = readAddress(request as unknown as IncomingMessage, proxies);
    assert.equal(read, address, `${remoteAddress} ${forwarded} ${proxies}`);
  }
});

const fast = {
  ...guessLimits,
  pair: { points: 3, seconds: 60, blockSeconds: 1, blockMostSeconds: 4 },
  address: { points: 20, seconds: 60 },
  account: { points: 5, seconds: 60 },
};

test("after some wrong passwords an address has to wait, longer each time, and others need not", () =>
  withPool(async (pool) => {
    const guesses = createGuesses(pool, { ...fast, account: { points: 99, seconds: 60 } });
    for (let i = 0; i < 3; i++) assert.equal(await guess(guesses, "home", "ann", false), "wrong");
    const first = await guess(guesses, "home", "ann", true);
    assert.ok(typeof first === "number" && first > 500 && first <= 1_000, `${first}`);
    assert.equal(typeof (await guess(guesses, "home", "ANN", true)), "number", "case makes no difference");
    assert.equal(await guess(guesses, "office", "ann", true), "right");
    assert.equal(await guess(guesses, "home", "bob", true), "right");
    // It is not counted as a guess to ask while one has to wait.
    await eventually(async () => assert.equal(await guess(guesses, "home", "ann", false), "wrong"), 3_000);
    assert.equal(await guess(guesses, "home", "ann", false), "wrong");
    assert.equal(await guess(guesses, "home", "ann", false), "wrong");
    const second = await guess(guesses, "home", "ann", true);
    assert.ok(typeof second === "number" && second > 1_500 && second <= 2_000, `${second}`);
  }));

test("the right password clears the count of its address", () =>
  withPool(async (pool) => {
    const guesses = createGuesses(pool, { ...fast, account: { points: 99, seconds: 60 } });
    for (let round = 0; round < 4; round++) {
      for (const right of [false, false, true]) {
        assert.equal(await guess(guesses, "home", "ann", right), right ? "right" : "wrong");
      }
    }
  }));

test("guesses from everywhere at one account are bounded, and do not lock out who signed in before", () =>
  withPool(async (pool) => {
    const guesses = createGuesses(pool, fast);
    assert.equal(await guess(guesses, "home", "ann", true), "right");
    for (let i = 0; i < 5; i++) assert.equal(await guess(guesses, `bot ${i}`, "ann", false), "wrong");
    assert.equal(typeof (await guess(guesses, "bot 6", "ann", true)), "number");
    assert.equal(await guess(guesses, "home", "ann", true), "right");
    assert.equal(await guess(guesses, "bot 6", "bob", false), "wrong");
  }));

test("one password tried on many accounts is bounded by its address", () =>
  withPool(async (pool) => {
    const guesses = createGuesses(pool, fast);
    for (let i = 0; i < 20; i++) assert.equal(await guess(guesses, "bot", `user ${i}`, false), "wrong");
    assert.equal(typeof (await guess(guesses, "bot", "user 21", false)), "number");
    assert.equal(await guess(guesses, "home", "user 21", true), "right");
  }));

test("what went wrong otherwise is no guess", () =>
  withPool(async (pool) => {
    const guesses = createGuesses(pool, fast);
    for (let i = 0; i < 10; i++) {
      await assert.rejects(
        guesses.attempt("home", "ann", () => Promise.reject(new Error("away"))),
        /away/,
      );
    }
    assert.equal(await guess(guesses, "home", "ann", true), "right");
  }));

test("counts say nothing of who was counted, and are removed when they are over", () =>
  withPool(async (pool) => {
    const guesses = createGuesses(pool, { ...fast, knownSeconds: 1 });
    await guess(guesses, "192.0.2.1", "ann@example.org", false);
    await guess(guesses, "192.0.2.1", "bob@example.org", true);
    const all = await keys(pool);
    assert.equal(all.length, 4);
    assert.ok(!all.some((key) => /ann|bob|192/.test(key)), all.join());
    await eventually(async () => assert.equal(await pruneRateLimits(pool, 100), 1), 3_000);
    assert.equal((await keys(pool)).length, 3);
  }));

test("attempts of one address wait for each other, and not in the way of others", () =>
  withPool(async (pool) => {
    const rateLimits = createRateLimits(pool, true);
    let running = 0;
    let most = 0;
    const release = Promise.withResolvers<void>();
    const act = async () => {
      running++;
      most = Math.max(most, running);
      await release.promise;
      running--;
    };
    const crowd = Array.from({ length: 20 }, () => rateLimits.inTurn("office", act));
    await rateLimits.inTurn("home", async () => assert.equal(running, limits.signInsAtOnce));
    release.resolve();
    await Promise.all(crowd);
    assert.equal(most, limits.signInsAtOnce);
  }));

test("turned off, nothing is counted and nothing written", () =>
  withPool(async (pool) => {
    const rateLimits = createRateLimits(pool, false);
    for (let i = 0; i < 12_000; i++) {
      assert.equal(rateLimits.byUser("send", "ann"), undefined);
      assert.equal(rateLimits.byUser("search", "ann"), undefined);
    }
    rateLimits.oneMoreStream(1_000_000);
    assert.equal(rateLimits.isFlood("ann"), false);
    for (let i = 0; i < 20; i++) {
      await assert.rejects(rateLimits.guess("home", "ann", async () => fail("invalid_credentials")));
    }
    assert.equal(await rateLimits.guess("home", "ann", async () => "in"), "in");
    assert.deepEqual(await keys(pool), []);
    assert.deepEqual(rateLimits.refused, {});
  }));

/** What came of an attempt: how it ended, or how many milliseconds to wait. */
async function guess(
  guesses: Guesses,
  address: string,
  name: string,
  right: boolean,
): Promise<"right" | "wrong" | number> {
  try {
    const act = async () => (right ? ("right" as const) : fail("invalid_credentials"));
    const result = await guesses.attempt(address, name, act);
    return "done" in result ? result.done : result.waitMs;
  } catch (error) {
    if (error instanceof Failure && error.code === "invalid_credentials") return "wrong";
    throw error;
  }
}

async function count(times: number, take: () => Promise<number>): Promise<number> {
  let taken = 0;
  for (let i = 0; i < times; i++) if ((await take()) === 0) taken++;
  return taken;
}

function keys(pool: Pool): Promise<readonly string[]> {
  return pool.anyFirst(sql.type(z.object({ key: z.string() }))`SELECT key FROM rate_limits`);
}

async function withPool(act: (pool: Pool) => Promise<void>): Promise<void> {
  const database = await createTestDatabase();
  const pool = await openDatabase({ url: database.url, maxConnections: 4 });
  try {
    await act(pool);
  } finally {
    await pool.end();
    await database.drop();
  }
}

test.run();
