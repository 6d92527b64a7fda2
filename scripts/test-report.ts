/**
 * Judges what one test file printed and how it ended. Pure, so that the runner's own verdicts can be
 * tested.
 */
import { stripVTControlCharacters } from "node:util";

const defaultLimitSeconds = 120;

/** How the process of one test file ended. */
export interface Ending {
  output: string;
  exitCode: number | null;
  signal: string | null;
  timedOut: boolean;
}

export interface Verdict {
  passed: number;
  failed: number;
  skipped: number;
  /** One line per reason; empty when the file is green. */
  problems: string[];
}

interface Summary {
  total: number;
  passed: number;
  skipped: number;
}

/**
 * uvu 0.5.6 ends with exit code 0 although tests did not run, when a hook throws or when a test rejects
 * with something that is no Error. What it cannot hide is its own count: so each file has to print a
 * summary in which all tests passed. `Total` does not contain the skipped ones.
 */
export function judge(ending: Ending): Verdict {
  const summary = parseSummary(ending.output);
  const problems: string[] = [];
  if (ending.timedOut) problems.push("ran into its time limit");
  else if (ending.signal) problems.push(`was ended by ${ending.signal}`);
  else if (ending.exitCode !== 0) problems.push(`exit code ${ending.exitCode}`);
  if (!summary) problems.push("printed no summary: it ended early, or forgot .run()");
  else if (summary.total + summary.skipped === 0) problems.push("has no tests");
  else if (summary.passed !== summary.total)
    problems.push(`${summary.passed} of ${summary.total} tests passed`);
  const { total, passed, skipped } = summary ?? { total: 0, passed: 0, skipped: 0 };
  const failed = Math.max(total - passed, problems.length > 0 ? 1 : 0);
  return { passed, failed, skipped, problems };
}

/** The last summary in the output, or undefined. */
export function parseSummary(output: string): Summary | undefined {
  const pattern = /^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)$/gm;
  const last = [...stripVTControlCharacters(output).replaceAll("\r\n", "\n").matchAll(pattern)].at(-1);
  if (!last) return undefined;
  return { total: Number(last[1]), passed: Number(last[2]), skipped: Number(last[3]) };
}

/**
 * A file may ask for another limit in its first line: `// time limit: 240 s`. For runs that are to take long,
 * TEST_LIMIT_SECONDS gives more to each.
 */
export function timeLimitMs(source: string, leastSeconds = process.env.TEST_LIMIT_SECONDS): number {
  const asked = /^\/\/ time limit: (\d+) s\s*$/.exec(source.split("\n", 1)[0] ?? "");
  return Math.max(Number(asked?.[1] ?? defaultLimitSeconds), Number(leastSeconds) || 0) * 1_000;
}

/** The last line of a run: `12 passed, 0 failed`, with `, 1 skipped` if there are any. */
export function totalLine(verdicts: Verdict[]): string {
  const sum = (count: (verdict: Verdict) => number) => verdicts.reduce((all, one) => all + count(one), 0);
  const skipped = sum((verdict) => verdict.skipped);
  const line = `${sum((verdict) => verdict.passed)} passed, ${sum((verdict) => verdict.failed)} failed`;
  return skipped > 0 ? `${line}, ${skipped} skipped` : line;
}
