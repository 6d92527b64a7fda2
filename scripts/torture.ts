/**
 * `npm run torture -- [fault…] [--seed N] [--seconds 20] [--list]`: torments servers and their Postgres under
 * load and checks that nothing was lost, repeated, reordered or told to the wrong people. All faults, each in
 * a fresh world, if none is named. Prints its seed; the same seed repeats every plan.
 */
import { parseArgs } from "node:util";
import { newSeed } from "../tests/support/random.ts";
import type { Fault } from "./torture/fault.ts";
import { faults } from "./torture/faults.ts";
import { type Outcome, runFault } from "./torture/run.ts";
import { describeViolations } from "./torture/violation.ts";

// An exit in order: what was started ends, and what was mounted goes.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
process.exit(await main(process.argv.slice(2)));

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      seed: { type: "string" },
      seconds: { type: "string", default: "20" },
      list: { type: "boolean", default: false },
    },
  });
  if (values.list) {
    for (const { id, title } of faults) console.log(`${id.padEnd(22)} ${title}`);
    return 0;
  }
  const unknown = positionals.find((name) => !faults.some(({ id }) => id === name));
  const [seed, seconds] = [Number(values.seed ?? newSeed()), Number(values.seconds)];
  if (unknown || !Number.isSafeInteger(seed) || !(seconds >= 1 && seconds <= 3_600)) {
    console.error(
      unknown ? `There is no fault "${unknown}": see --list.` : "--seed and --seconds are numbers.",
    );
    return 2;
  }
  const again = [...positionals, `--seed ${seed}`, `--seconds ${seconds}`].join(" ");
  console.log(`seed ${seed} (npm run torture -- ${again} repeats it)\n`);
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const fault of faults.filter(({ id }) => positionals.length === 0 || positionals.includes(id))) {
    counts[await suffer(fault, seed, seconds)]++;
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed > 0 ? 1 : 0;
}

/** One fault that cannot even be tried does not keep the others from it. */
async function suffer(fault: Fault, seed: number, seconds: number): Promise<"passed" | "failed" | "skipped"> {
  try {
    const outcome = await runFault(fault, { seed, seconds, print: (line) => console.log(line) });
    console.log(`${describeOutcome(outcome)}\n`);
    if (outcome.skipped !== null) return "skipped";
    return outcome.violations.length + outcome.complaints.length > 0 ? "failed" : "passed";
  } catch (error) {
    console.log(`FAIL ${fault.id}: ${error instanceof Error ? error.stack : error}\n`);
    return "failed";
  }
}

function describeOutcome(outcome: Outcome): string {
  const { fault, skipped, violations, complaints, acknowledged, heard, connections, repeats } = outcome;
  if (skipped !== null) return `SKIP ${fault}: ${skipped}`;
  const isGood = violations.length + complaints.length === 0;
  const figures =
    `took hold ${outcome.held} times, ${acknowledged} messages acknowledged, ${repeats} repeats, ` +
    `${outcome.resets} resets, ${heard} events over ${connections} connections, ` +
    `recovered in ${Math.round(outcome.recoveryMs)} ms`;
  const wrong = [describeViolations(violations), ...complaints].filter(Boolean);
  return [`${isGood ? "ok  " : "FAIL"} ${fault}: ${figures}`, ...wrong].join("\n");
}
