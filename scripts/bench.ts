/**
 * `npm run bench`: measures this project and its peers with the same work in one run, and prints Markdown
 * tables. See bench/options.ts for its arguments, bench/goals.ts for what is aimed at.
 */
import { writeFile } from "node:fs/promises";
import { type Figures, goals } from "./bench/goals.ts";
import { type Options, readOptions, usage } from "./bench/options.ts";
import { startPostgres } from "./bench/postgres.ts";
import { interrupt, isInterrupted } from "./bench/processes.ts";
import {
  describeGoals,
  describeMachine,
  describeMeasured,
  isExact,
  type Measured,
  median,
} from "./bench/report.ts";
import type { Bench, Outcome, Scenario } from "./bench/scenarios/scenario.ts";
import { scenarios } from "./bench/scenarios.ts";
import { fullSizes, tinySizes } from "./bench/sizes.ts";

const defaultRuns = 3;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const sizes = args.includes("--tiny") ? tinySizes : fullSizes;
  let options: Options;
  try {
    options = readOptions(
      args,
      scenarios.map(({ id }) => id),
      scenarios.flatMap(({ variants }) => variants(sizes).flatMap(({ id, system }) => [system, id])),
    );
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    return 2;
  }
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, interrupt);
  const postgres = await startPostgres(process.env.DATABASE_URL);
  try {
    const windowMs = options.tiny ? 300 : options.seconds * 1_000;
    const warmUpMs = options.tiny ? 100 : 2_000;
    return await run({ postgres, sizes, warmUpMs, windowMs }, options);
  } catch (error) {
    if (!isInterrupted()) throw error;
    return 130;
  } finally {
    await postgres.stop();
  }
}

async function run(bench: Bench, options: Options): Promise<number> {
  const wanted = scenarios.filter(
    ({ id, onDemand }) =>
      options.scenarios.includes(id) || (options.scenarios.length === 0 && onDemand !== true),
  );
  const measured: Measured[] = [];
  console.log(`# Benchmark\n\n${describeMachine(bench, new Date())}`);
  for (const scenario of wanted) {
    const result = await measure(scenario, bench, options);
    measured.push(result);
    console.log(`\n${describeMeasured(result, bench)}`);
  }
  const reached = goals
    .filter((goal) => wanted.some(({ id }) => id === goal.scenario))
    .map((goal) => ({ goal, ...goal.judge(figuresOf(measured, goal.scenario)) }));
  console.log(`\n${describeGoals(reached)}`);
  if (options.jsonFile) await writeFile(options.jsonFile, toJson(measured));
  return measured.every(({ rows }) => rows.every(({ outcomes }) => isExact(outcomes))) ? 0 : 1;
}

/** A B A B: in each run every variant takes its turn, so that a slow minute of the machine meets them all. */
async function measure(scenario: Scenario, bench: Bench, { only, runs, tiny }: Options): Promise<Measured> {
  const rows = scenario
    .variants(bench.sizes)
    .filter(({ id, system }) => only.length === 0 || only.includes(system) || only.includes(id))
    .map((variant) => ({ variant, outcomes: [] as Outcome[] }));
  const count = tiny ? 1 : (runs ?? scenario.runs ?? defaultRuns);
  for (let run = 1; run <= count; run++) {
    const round = new Map<string, Outcome>();
    for (const { variant, outcomes } of rows) {
      console.error(`${scenario.id}: ${variant.title}, run ${run} of ${count}`);
      const outcome = await variant.measure(bench, round);
      round.set(variant.id, outcome);
      outcomes.push(outcome);
    }
  }
  return { scenario, rows };
}

function figuresOf(measured: Measured[], scenarioId: string): Figures {
  const rows = measured.find(({ scenario }) => scenario.id === scenarioId)?.rows ?? [];
  return (variantId, metric) =>
    median(rows.find(({ variant }) => variant.id === variantId)?.outcomes ?? [], metric);
}

function toJson(measured: Measured[]): string {
  const runs = measured.flatMap(({ scenario, rows }) =>
    rows.flatMap(({ variant, outcomes }) =>
      outcomes.map((outcome, index) => ({
        scenario: scenario.id,
        variant: variant.id,
        run: index + 1,
        ...outcome,
      })),
    ),
  );
  return `${JSON.stringify(runs, null, 2)}\n`;
}
