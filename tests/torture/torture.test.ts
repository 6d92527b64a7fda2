// time limit: 600 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { describePlan } from "../../scripts/torture/fault.ts";
import { faults } from "../../scripts/torture/faults.ts";
import { type Outcome, runFault } from "../../scripts/torture/run.ts";
import { describeViolations } from "../../scripts/torture/violation.ts";
import { createRandom, randomOf } from "../support/random.ts";

// The short form of `npm run torture`: some of its faults, each for some seconds, with a printed seed.

const random = createRandom();
const few = { restWriters: 3, socketWriters: 2, listeners: 1, pauseMs: 20 };
const leastMessages = 150;

interface ShortForm {
  id: string;
  seconds: number;
  /** What a fault must have caused besides; that a step did not take hold is a complaint. */
  isFelt?(outcome: Outcome): boolean;
}

const isRepeated = ({ repeats }: Outcome) => repeats > 0;

const shortForms: ShortForm[] = [
  { id: "listener-terminated", seconds: 4 },
  { id: "listener-black-holed", seconds: 4 },
  { id: "postgres-crash", seconds: 3, isFelt: isRepeated },
  { id: "killed-at-commit", seconds: 4, isFelt: isRepeated },
  { id: "disk-failing", seconds: 4, isFelt: isRepeated },
  { id: "instance-killed", seconds: 4, isFelt: isRepeated },
  { id: "rolling-restart", seconds: 4, isFelt: ({ connections, listeners }) => connections > 2 * listeners },
  { id: "instance-paused", seconds: 2 },
  // Once at the beginning, once in the end, and in between.
  { id: "everybody-cut", seconds: 4, isFelt: ({ connections, listeners }) => connections > 3 * listeners },
  { id: "log-pruned", seconds: 4, isFelt: ({ resets }) => resets > 0 },
  { id: "backup-restored", seconds: 4, isFelt: ({ resets, listeners }) => resets >= listeners },
];

for (const { id, seconds, isFelt } of shortForms) {
  const fault = faults.find((one) => one.id === id);
  const missing = (await fault?.missing?.()) ?? null;
  if (missing !== null) console.log(`SKIP ${id}: ${missing}`);
  const suffering = missing === null ? test : test.skip;
  suffering(`nothing is lost, repeated, reordered or told to others: ${fault?.title}`, async () => {
    assert.ok(fault, `there is no fault ${id}`);
    const outcome = await runFault(fault, { seed: random.seed, seconds, size: few, print: console.log });
    assert.equal(describeViolations(outcome.violations), "");
    assert.deepEqual(outcome.complaints, []);
    assert.equal(outcome.skipped, null);
    assert.ok(outcome.acknowledged >= leastMessages, `only ${outcome.acknowledged} messages`);
    assert.ok(outcome.heard > outcome.acknowledged, `only ${outcome.heard} events heard`);
    assert.ok(outcome.recoveryMs > 0);
    const { repeats, connections, listeners, resets } = outcome;
    const felt = `${repeats} repeats, ${connections} connections of ${listeners}, ${resets} resets`;
    assert.ok(isFelt?.(outcome) ?? true, felt);
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
