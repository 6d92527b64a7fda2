/** The runner's own test: what uvu ends green although something is wrong has to come out red. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { judge, parseSummary, timeLimitMs, totalLine } from "../scripts/test-report.ts";
import { type FileResult, runTestFile } from "../scripts/test-runner.ts";

const uvu = import.meta.resolve("uvu");
const limitMs = 20_000;
const one = `test("one", () => {});`;

const runner = suite("runner");

runner("a file whose tests pass is green", async () => {
  const result = await runFixture(`${one} test("two", () => {}); test.run();`);
  assert.equal(counts(result), { passed: 2, failed: 0, skipped: 0 });
  assert.equal(result.problems, []);
});

runner("a file may skip all that it has, but not have nothing", async () => {
  const skipped = await runFixture(`test.skip("one", () => {}); test.run();`);
  assert.equal(counts(skipped), { passed: 0, failed: 0, skipped: 1 });
  const empty = await runFixture("test.run();");
  assert.equal(counts(empty), { passed: 0, failed: 1, skipped: 0 });
});

runner("a skipped test is counted, and hides no failure", async () => {
  const green = await runFixture(`${one} test.skip("two", () => {}); test.run();`);
  assert.equal(counts(green), { passed: 1, failed: 0, skipped: 1 });
  // 1 passed + 1 skipped = total 2: skipped tests are not in uvu's total.
  const red = await runFixture(
    `${one} test("two", () => Promise.reject("x")); test.skip("three", () => {}); test.run();`,
  );
  assert.ok(red.failed > 0);
});

runner("a failing test is red", async () => {
  const result = await runFixture(`${one} test("two", () => { throw new Error("no"); }); test.run();`);
  assert.equal(counts(result), { passed: 1, failed: 1, skipped: 0 });
});

runner("a throwing before hook is red", async () => {
  const result = await runFixture(
    `test.before(() => { throw new Error("no"); }); ${one} test("two", () => {}); test.run();`,
  );
  assert.equal(counts(result), { passed: 0, failed: 2, skipped: 0 });
});

runner("a throwing after.each hook is red", async () => {
  const result = await runFixture(
    `test.after.each(() => { throw new Error("no"); }); ${one} test("two", () => {}); test.run();`,
  );
  assert.equal(counts(result), { passed: 0, failed: 2, skipped: 0 });
});

runner("a throwing after hook is red", async () => {
  const result = await runFixture(
    `test.after(() => { throw new Error("no"); }); test("one", () => {}); test.run();`,
  );
  assert.ok(result.failed > 0);
});

runner("a rejection with something that is no Error is red", async () => {
  for (const reason of [`"text"`, "undefined", "null", "{ code: 1 }"]) {
    const result = await runFixture(
      `${one} test("two", () => Promise.reject(${reason})); test("three", () => {}); test.run();`,
    );
    assert.ok(result.failed > 0, reason);
  }
});

runner("a hanging test is killed at its limit and red", async () => {
  const result = await runFixture(
    `${one} test("two", () => new Promise(() => setInterval(() => {}, 1000))); test.run();`,
    1_500,
  );
  assert.is(result.failed, 1);
  assert.match(result.problems.join(), "time limit");
  assert.ok(result.seconds < 10, `${result.seconds} s`);
});

runner("a test that waits for nothing is red, though Node then ends by itself", async () => {
  const result = await runFixture(`test("one", () => new Promise(() => {})); test.run();`);
  assert.ok(result.failed > 0);
});

runner("a process that lives on after its tests is killed and red", async () => {
  const result = await runFixture(`${one} setInterval(() => {}, 1000); test.run();`, 1_500);
  assert.equal(counts(result), { passed: 1, failed: 1, skipped: 0 });
});

runner("a child that the tests leave behind is killed with them", async () => {
  const result = await runFixture(
    `import { spawn } from "node:child_process";
     const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "inherit" });
     child.unref();
     console.log("left behind: " + child.pid);
     test("one", () => {}); test.run();`,
  );
  assert.equal(counts(result), { passed: 1, failed: 0, skipped: 0 });
  const pid = Number(/left behind: (\d+)/.exec(result.output)?.[1]);
  await until(() => !isAlive(pid));
});

runner("a file without tests is red, run or not", async () => {
  assert.ok((await runFixture("test.run();")).failed > 0);
  assert.ok((await runFixture("")).failed > 0);
  assert.ok((await runFixture(`test("one", () => {});`)).failed > 0, "forgot run()");
});

runner("process.exit(0) half way is red, before and during the tests", async () => {
  const during = await runFixture(`${one} test("two", () => process.exit(0)); test.run();`);
  assert.ok(during.failed > 0);
  const before = await runFixture(`${one} test.run(); process.exit(0);`);
  assert.ok(before.failed > 0);
});

runner("an error outside of the tests is red", async () => {
  const result = await runFixture(`${one} setTimeout(() => { throw new Error("late"); }, 300); test.run();`);
  assert.equal(counts(result), { passed: 1, failed: 1, skipped: 0 });
});

runner("colours do not hide the summary", () => {
  const output = "\n  Total:     2\u001b[32m\n  Passed:    2\u001b[39m\n  Skipped:   \u001b[33m1\u001b[39m\n";
  assert.equal(parseSummary(output), { total: 2, passed: 2, skipped: 1 });
});

runner("only the last summary counts, so that quoted output of another run does not", () => {
  const quoted = "\n  Total:     5\n  Passed:    5\n  Skipped:   0\n";
  const output = `${quoted}\n  Total:     2\n  Passed:    1\n  Skipped:   0\n`;
  assert.is(judge({ output, exitCode: 0, signal: null, timedOut: false }).failed, 1);
});

runner("a file names its own limit in its first line", () => {
  assert.is(timeLimitMs("// time limit: 240 s\nimport x", ""), 240_000);
  assert.is(timeLimitMs("// time limit: 240 s\nimport x", "3600"), 3_600_000);
  assert.is(timeLimitMs("// time limit: 240 s\nimport x", "60"), 240_000);
  assert.is(timeLimitMs("import x\n// time limit: 240 s", ""), 120_000);
});

runner("the last line adds up and mentions skipped tests only if there are any", () => {
  const file = { passed: 2, failed: 0, skipped: 0, problems: [] };
  assert.is(totalLine([file, file]), "4 passed, 0 failed");
  assert.is(totalLine([file, { ...file, failed: 1, skipped: 3 }]), "4 passed, 1 failed, 3 skipped");
});

runner.run();

/** Runs a file of this text as the runner would. The text has `test`, uvu's. */
async function runFixture(text: string, limit = limitMs): Promise<FileResult> {
  const folder = await mkdtemp(join(tmpdir(), "parley-runner-"));
  try {
    const file = join(folder, "fixture.test.mjs");
    await writeFile(file, `import { test } from ${JSON.stringify(uvu)};\n${text}\n`);
    return await runTestFile(file, { cwd: folder, env: process.env, limitMs: limit });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function counts({ passed, failed, skipped }: FileResult) {
  return { passed, failed, skipped };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean, limit = 5_000): Promise<void> {
  const deadline = Date.now() + limit;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error("The condition did not become true in time.");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
