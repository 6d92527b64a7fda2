/**
 * Runs programs for scripts/test.ts: each in a process group of its own, with a time limit, its output
 * captured.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { stripVTControlCharacters } from "node:util";
import { type Ending, judge, timeLimitMs, type Verdict } from "./test-report.ts";

/** Of a file that prints without end, the last part is kept. */
const maxOutputCharacters = 1_048_576;
const closeLimitMs = 2_000;

export interface FileResult extends Verdict {
  file: string;
  output: string;
  seconds: number;
}

interface RunOptions {
  env: NodeJS.ProcessEnv;
  cwd: string;
  limitMs: number;
}

const running = new Set<ChildProcess>();
let interrupted = false;

/** Runs one test file and judges it. `limitMs` replaces the limit that the file has by itself. */
export async function runTestFile(
  file: string,
  options: { env: NodeJS.ProcessEnv; cwd: string; limitMs?: number },
): Promise<FileResult> {
  const started = performance.now();
  const limitMs = options.limitMs ?? timeLimitMs(await readFile(file, "utf8"));
  const ending = await runProgram(process.execPath, [file], { ...options, limitMs });
  return { ...judge(ending), file, output: ending.output, seconds: (performance.now() - started) / 1_000 };
}

/** Runs a program to its end or its limit; whatever it left running in its group is killed. */
export async function runProgram(program: string, args: string[], options: RunOptions): Promise<Ending> {
  if (interrupted) return await new Promise(() => {}); // The process is about to end: start nothing more.
  const { cwd, limitMs } = options;
  const env = plainEnvironment(options.env);
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  const readOutput = capture(child);
  const closed = once(child, "close").catch(() => {});
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child);
  }, limitMs);
  try {
    await once(child, "exit");
  } finally {
    clearTimeout(timer);
    killGroup(child);
    running.delete(child);
  }
  // A process that left the group may hold the pipe for ever.
  await Promise.race([closed, wait(closeLimitMs)]);
  child.stdout?.destroy();
  child.stderr?.destroy();
  return { output: readOutput(), exitCode: child.exitCode, signal: child.signalCode, timedOut };
}

/** For the end of the runner itself: its children have their own groups, so Ctrl-C does not reach them. */
export function killRunning(): void {
  interrupted = true;
  for (const child of running) killGroup(child);
}

/** Calls `work` for all items, at most `width` at a time. */
export async function forEachLimited<T>(
  items: T[],
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** Without colours; with both variables set, Node warns about one of them. */
function plainEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { FORCE_COLOR: _, ...rest } = env;
  return { ...rest, NO_COLOR: "1" };
}

function capture(child: ChildProcess): () => string {
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-maxOutputCharacters);
    });
  }
  return () => stripVTControlCharacters(output);
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // Nobody is left in it.
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
