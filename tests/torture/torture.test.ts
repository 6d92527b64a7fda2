// time limit: 600 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { describeViolations } from "../../scripts/torture/checker.ts";
import { describePlan } from "../../scripts/torture/fault.ts";
import { faults } from "../../scripts/torture/faults.ts";
import { runFault } from "../../scripts/torture/run.ts";
import { createRandom, randomOf } from "../support/random.ts";

// The short form of `npm run torture`: a few of its faults, each for some seconds, with a printed seed.

const random = createRandom();
const seconds = 4;
const few = { restWriters: 3, socketWriters: 2, listeners: 1, pauseMs: 20 };
const leastMessages = 150;

for (const id of [
  "listener-terminated",
  "listener-black-holed",
  "killed-at-commit",
  "instance-killed",
  "rolling-restart",
  "everybody-cut",
]) {
  const fault = faults.find((one) => one.id === id);
  test(`nothing is lost, repeated, reordered or told to others: ${fault?.title}`, async () => {
    assert.ok(fault, `there is no fault ${id}`);
    const outcome = await runFault(fault, { seed: random.seed, seconds, size: few, print: console.log });
    assert.equal(describeViolations(outcome.violations), "");
    assert.deepEqual(outcome.complaints, []);
    assert.equal(outcome.skipped, null);
    assert.ok(outcome.acknowledged >= leastMessages, `only ${outcome.acknowledged} messages`);
    assert.ok(outcome.heard > outcome.acknowledged, `only ${outcome.heard} events heard`);
    assert.ok(outcome.recoveryMs > 0);
  });
}

test("a seed gives the same plans, another gives others", () => {
  const plansOf = (seed: number) =>
    faults.map(({ id, plan }) => `${id}\n${describePlan(plan(randomOf(seed).fork(id), 20))}`).join("\n");
  assert.equal(plansOf(7), plansOf(7));
  assert.notEqual(plansOf(7), plansOf(8));
});

test("each fault has a name of its own and a bound on recovery", () => {
  assert.equal(new Set(faults.map(({ id }) => id)).size, faults.length);
  for (const { id, recoveryMs } of faults) {
    assert.ok(recoveryMs >= 5_000 && recoveryMs <= 60_000, `${id}: ${recoveryMs}`);
  }
});

test.run();
