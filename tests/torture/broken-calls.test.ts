// time limit: 60 s
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import { breakCalls, whyNotBreakCalls } from "../../scripts/torture/broken-calls.ts";
import { eventually } from "../support/server.ts";

const missing = await whyNotBreakCalls();
if (missing) console.log(`SKIP what breaks system calls: ${missing}`);
const breaking = missing ? test.skip : test;

/** Flushes a file again and again, and prints what comes of it. */
const flushing = `
  const { fdatasyncSync, openSync } = require("node:fs");
  const file = openSync(process.argv[1], "w");
  setInterval(() => {
    let answer = "done";
    try { fdatasyncSync(file); } catch (error) { answer = error.code; }
    console.log(answer);
  }, 5);
`;

breaking("calls of a running process fail as they were told to, are counted, and then do not", async () => {
  const folder = await mkdtemp(join(tmpdir(), "parley-calls-"));
  const child = spawn(process.execPath, ["-e", flushing, join(folder, "flushed")]);
  const answers: string[] = [];
  child.stdout.on("data", (data) => answers.push(...String(data).trim().split("\n")));
  const failures = () => answers.filter((answer) => answer === "EIO").length;
  try {
    await eventually(() => assert.ok(answers.length > 5));
    assert.equal(failures(), 0);
    const breakage = { pids: [child.pid ?? 0], calls: ["fdatasync"], every: 2 };
    const broken = await breakCalls(breakage, join(folder, "calls"));
    const from = answers.length;
    await eventually(() => assert.ok(failures() >= 5));
    const failed = await broken.end();
    const until = answers.length;
    await eventually(() => assert.ok(answers.length > until + 20));
    assert.equal(failures(), failed);
    assert.ok(answers.slice(from, until).includes("done"), "every second one only");
    assert.deepEqual([...new Set(answers.slice(-10))], ["done"]);
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
    await rm(folder, { recursive: true });
  }
});

test.run();
