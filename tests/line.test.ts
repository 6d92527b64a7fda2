import assert from "node:assert/strict";
import { test } from "uvu";
import { createPasswords } from "../server/commands/passwords.ts";
import { Failure } from "../server/errors.ts";
import { limits } from "../server/limits.ts";
import { createLine } from "../server/line.ts";

test("a line runs so many tasks at once, keeps so many waiting in order, and refuses the next", async () => {
  const inTurn = createLine(2, 3);
  const begun: number[] = [];
  const release: (() => void)[] = [];
  const task = (n: number) => () => {
    begun.push(n);
    return new Promise<number>((resolve) => release.push(() => resolve(n)));
  };
  const running = [1, 2, 3, 4, 5].map((n) => inTurn(task(n)));
  await assert.rejects(inTurn(task(6)), (error) => error instanceof Failure && error.code === "overloaded");
  assert.deepEqual(begun, [1, 2]);
  for (let i = 0; i < 5; i++) {
    release[i]?.();
    assert.equal(await running[i], i + 1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(begun, [1, 2, 3, 4, 5]);
});

test("a task that fails gives its place on", async () => {
  const inTurn = createLine(1, 1);
  const failing = inTurn(() => Promise.reject(new Error("no")));
  const next = inTurn(async () => "yes");
  await assert.rejects(failing, /no/);
  assert.equal(await next, "yes");
});

test("passwords are Argon2id, and too many at once are refused instead of piling up", async () => {
  const passwords = await createPasswords(1);
  const hash = await passwords.hash("correct horse battery");
  assert.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  assert.equal(await passwords.verify(hash, "correct horse battery"), true);
  assert.equal(await passwords.verify(hash, "correct horse batterz"), false);
  assert.equal(await passwords.verify(null, "correct horse battery"), false);
  const attempts = Array.from({ length: limits.hashesWaiting + 2 }, () => passwords.verify(null, "x"));
  const outcomes = await Promise.allSettled(attempts);
  const refused = outcomes.filter(({ status }) => status === "rejected");
  assert.equal(refused.length, 1);
  assert.equal((refused[0] as PromiseRejectedResult).reason.code, "overloaded");
});

test.run();
