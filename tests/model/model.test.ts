// time limit: 300 s
import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "uvu";
import { run } from "./run.ts";
import { ShrinkingPlan } from "./shrinking.ts";
import { type Plan, plansOf } from "./steps.ts";
import { type Ground, withGrounds } from "./world.ts";

/**
 * So many runs, or as many as there is time for. MODEL_RUNS asks for more, and takes what time they need.
 * SEED and MODEL_PATH, which are printed with a failure, try it again.
 */
const { MODEL_RUNS, MODEL_PATH: path, SEED } = process.env;
const runs = Number(MODEL_RUNS ?? 300);
const mostSteps = 60;
const seed = Number(SEED ?? Math.floor(Math.random() * 2 ** 31));
const timeMs = MODEL_RUNS === undefined ? 60_000 : 3_600_000;
/** What a failure may take on top of that, to be made smaller. */
const shrinkMs = 120_000;
/** A machine with twenty others at work on its two processors got through 34 in the time. */
const fewestWorlds = 10;
/** Without one of these a run has shown little. */
const happening = ["message.new", "message.updated", "message.deleted", "member.removed", "cuts", "returns"];
/** Most of the time a run waits for an answer. */
const lanes = path === undefined ? 3 : 1;

test("whatever people do, one by one or at once, each hears and sees what the model says", () =>
  withGrounds(lanes, async (grounds) => {
    const reports = await Promise.all(grounds.map((ground, lane) => tryAll(ground, seed + lane)));
    const [worlds, tally] = [grounds.reduce((sum, ground) => sum + ground.runs, 0), sumUp(grounds)];
    console.log(`seed ${seed} (SEED=${seed} tries it again): ${worlds} worlds; ${summary(tally)}`);
    const failed = reports.filter((report) => report !== "");
    if (failed.length > 0) throw new Error(failed.join("\n"));
    // One world that is tried again shows itself alone.
    if (path !== undefined || runs < fewestWorlds) return;
    assert.ok(worlds >= fewestWorlds, `only ${worlds} worlds were tried`);
    for (const what of happening) assert.ok(tally.get(what), `no ${what}: ${summary(tally)}`);
  }));

/** Nothing, or the smallest script that fails, and how to try it again. */
async function tryAll(ground: Ground, laneSeed: number): Promise<string> {
  const deadline = Date.now() + timeMs;
  let hasFailed = false;
  const tryOne = async (plan: Plan) => {
    if (!hasFailed && Date.now() > deadline) return;
    await run(ground, plan).catch((error) => {
      hasFailed = true;
      throw error;
    });
  };
  const details = await fc.check(fc.asyncProperty(new ShrinkingPlan(plansOf(mostSteps)), tryOne), {
    seed: laneSeed,
    numRuns: Math.ceil(runs / lanes),
    interruptAfterTimeLimit: timeMs + shrinkMs,
    markInterruptAsFailure: false,
    ...(path !== undefined && { path }),
  });
  if (!details.failed) return "";
  const { counterexamplePath, numShrinks, errorInstance } = details;
  const again = `SEED=${laneSeed} MODEL_PATH=${counterexamplePath} npm test -- model`;
  return `${(errorInstance as Error | null)?.message}\n${again} (made smaller ${numShrinks} times)\n`;
}

function sumUp(grounds: readonly Ground[]): Map<string, number> {
  const total = new Map<string, number>();
  for (const [what, count] of grounds.flatMap(({ tally }) => [...tally]))
    total.set(what, (total.get(what) ?? 0) + count);
  return total;
}

function summary(tally: ReadonlyMap<string, number>): string {
  const counts = [...tally].sort((a, b) => b[1] - a[1]).map(([what, count]) => `${count} ${what}`);
  return counts.join(", ");
}

test.run();
