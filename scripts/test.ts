/**
 * `npm test`: type check, lint, then every tests/**\/*.test.ts in its own process against a real Postgres,
 * which is the one of DATABASE_URL (its user must be allowed to create databases, and should be to create
 * roles) or an embedded one. `npm test -- name` runs only the test files with this in their path. The last
 * line is `N passed, N failed`.
 */
import { glob, readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { createTemplate, dropTemplate, startTestServer, type TestServer } from "../tests/support/database.ts";
import { printRole } from "../tests/support/roles.ts";
import { timeLimitMs, totalLine, type Verdict } from "./test-report.ts";
import { type FileResult, forEachLimited, killRunning, runProgram, runTestFile } from "./test-runner.ts";

/** On two processors: most of the time a test waits, for a fault to pass or for a heartbeat. */
const filesAtOnce = 3;
const checkLimitMs = 300_000;
const root = join(import.meta.dirname, "..");
const bin = join(root, "node_modules", ".bin");
const passed: Verdict = { passed: 0, failed: 0, skipped: 0, problems: [] };

process.exitCode = await main(process.argv.slice(2));

async function main(names: string[]): Promise<number> {
  const files = await findFiles(names);
  const verdicts: Verdict[] = [];
  if (names.length === 0) {
    verdicts.push(await check("type check", "tsc", ["--noEmit"]));
    verdicts.push(await check("lint", "biome", ["check", "."]));
  }
  if (files.length === 0) verdicts.push(failure(`no test file has ${names.join(" or ")} in its path`));
  else verdicts.push(...(await runFiles(files)));
  printFailures(verdicts);
  console.log(totalLine(verdicts));
  return verdicts.some((verdict) => verdict.failed > 0) ? 1 : 0;
}

async function findFiles(names: string[]): Promise<string[]> {
  const files: string[] = [];
  for await (const file of glob("tests/**/*.test.ts", { cwd: root })) files.push(file);
  const wanted = files.filter((file) => names.length === 0 || names.some((name) => file.includes(name)));
  // Those that ask for much time first, so that none of them runs on alone at the end.
  const limits = new Map<string, number>();
  for (const file of wanted) limits.set(file, timeLimitMs(await readFile(join(root, file), "utf8")));
  return wanted.sort((a, b) => (limits.get(b) ?? 0) - (limits.get(a) ?? 0) || a.localeCompare(b));
}

async function check(title: string, program: string, args: string[]): Promise<Verdict> {
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ""}` };
  const ending = await runProgram(join(bin, program), args, { cwd: root, env, limitMs: checkLimitMs });
  const good = ending.exitCode === 0;
  console.log(`${good ? "ok  " : "FAIL"} ${title}`);
  if (!good) console.log(ending.output);
  return good ? passed : failure(title);
}

async function runFiles(files: string[]): Promise<Verdict[]> {
  const server = await prepareServer().catch((error: Error) => error);
  if (server instanceof Error) return [failure(`no database for the tests: ${server.stack}`)];
  const interrupted = (signal: NodeJS.Signals) => {
    killRunning();
    void server.stop().finally(() => process.exit(signal === "SIGINT" ? 130 : 143));
  };
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  const results: FileResult[] = [];
  const env = testEnvironment(server);
  try {
    await forEachLimited(files, filesAtOnce, async (file) => {
      const result = await runTestFile(join(root, file), { cwd: root, env });
      results.push({ ...result, file, problems: result.problems.map((problem) => `${file}: ${problem}`) });
      printResult({ ...result, file });
    });
  } finally {
    await server.stop();
  }
  return results;
}

async function prepareServer(): Promise<TestServer> {
  const url = process.env.DATABASE_URL;
  if (!url) return await startTestServer();
  const template = await createTemplate(url);
  return { url, ...template, stop: () => dropTemplate(url, template) };
}

/**
 * Without DATABASE_URL: no test is to touch somebody's real database because it forgot to ask for its own.
 */
function testEnvironment({ url, template, role }: TestServer): NodeJS.ProcessEnv {
  const { DATABASE_URL: _, ...rest } = process.env;
  const roleText = role ? printRole(role) : "";
  return { ...rest, TEST_SERVER_URL: url, TEST_TEMPLATE: template, TEST_ROLE: roleText };
}

function printResult(result: FileResult): void {
  const mark = result.failed > 0 ? "FAIL" : "ok  ";
  console.log(`${mark} ${result.file} (${result.seconds.toFixed(1)} s)`);
  for (const line of result.output.trim().split("\n")) console.log(`     ${line}`.trimEnd());
  for (const problem of result.problems) console.log(`     ! ${problem}`);
}

function printFailures(verdicts: Verdict[]): void {
  const problems = verdicts.flatMap((verdict) => verdict.problems);
  if (problems.length > 0) console.log(`\nFailed:\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
  console.log("");
}

function failure(problem: string): Verdict {
  return { passed: 0, failed: 1, skipped: 0, problems: [problem] };
}
