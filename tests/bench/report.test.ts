import assert from "node:assert/strict";
import { test } from "uvu";
import { goals } from "../../scripts/bench/goals.ts";
import { describeMeasured, type Measured, median } from "../../scripts/bench/report.ts";
import type { Bench, Outcome } from "../../scripts/bench/scenarios/scenario.ts";
import { percentile } from "../../scripts/bench/scenarios/scenario.ts";
import { scenarios } from "../../scripts/bench/scenarios.ts";
import { fullSizes } from "../../scripts/bench/sizes.ts";
import { cpuSince, readCpu, readResidentBytes } from "../../scripts/bench/usage.ts";

const outcome = (value: number, problems: string[] = []): Outcome => ({ metrics: { value }, problems });

test("the median of an odd and an even number of runs; runs that are no result do not count", () => {
  assert.equal(
    median(
      [3, 1, 2].map((value) => outcome(value)),
      "value",
    ),
    2,
  );
  assert.equal(
    median(
      [4, 1, 2, 3].map((value) => outcome(value)),
      "value",
    ),
    2.5,
  );
  assert.equal(median([outcome(1), outcome(9, ["1 lost"])], "value"), 1);
  assert.ok(Number.isNaN(median([outcome(9, ["1 lost"])], "value")));
  assert.ok(Number.isNaN(median([outcome(1)], "another")));
});

test("percentiles of sorted values", () => {
  const values = Float64Array.from({ length: 100 }, (_, index) => index + 1);
  assert.equal(percentile(values, 0.5), 51);
  assert.equal(percentile(values, 0.99), 100);
  assert.equal(percentile(values, 1), 100);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});

test("a goal asks only for rows that its scenario has", () => {
  for (const goal of goals) {
    const variants = scenarios.find(({ id }) => id === goal.scenario)?.variants(fullSizes) ?? [];
    goal.judge((variant) => {
      assert.ok(
        variants.some(({ id }) => id === variant),
        `${goal.scenario}: ${goal.text}: there is no ${variant}`,
      );
      return 1;
    });
  }
  for (const { id } of scenarios)
    assert.ok(
      goals.some(({ scenario }) => scenario === id),
      `${id} has no goal`,
    );
});

test("a goal is reached, missed or not measured", () => {
  const goal = goals.find(({ text }) => text.startsWith("WebSocket: ≥ 5 ×"));
  const judge = (ours: number, theirs: number) => goal?.judge((row) => (row === "parley" ? ours : theirs));
  assert.deepEqual(judge(500, 100), { figure: "5.00 ×", reached: true });
  assert.deepEqual(judge(499, 100), { figure: "4.99 ×", reached: false });
  assert.deepEqual(judge(Number.NaN, 100), { figure: "–", reached: null });
});

test("an inexact run is shown as no result, with its reason", () => {
  const scenario = scenarios[0];
  const variant = scenario?.variants(fullSizes)[0];
  assert.ok(scenario && variant);
  const measured: Measured = { scenario, rows: [{ variant, outcomes: [outcome(1, ["1 lost"])] }] };
  const text = describeMeasured(measured, { sizes: fullSizes } as Bench);
  assert.match(text, /\*\*\(inexact: no result\)\*\*/);
  assert.match(text, /run 1: 1 lost/);
});

test("CPU and memory of a process are read where there is /proc", () => {
  if (process.platform !== "linux") return;
  const groups = { ours: [process.pid] };
  const before = readCpu(groups);
  for (const end = performance.now() + 300; performance.now() < end; );
  const { ours } = cpuSince(before, groups);
  assert.ok(ours > 0.02 && ours < 5, `${ours} s`);
  assert.ok(readResidentBytes(process.pid) > 1e7);
  assert.ok(Number.isNaN(readCpu({ nobody: [] }).nobody));
});

test.run();
