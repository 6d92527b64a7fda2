import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const startLimitMs = 60_000;
/** From SIGTERM to SIGKILL: by then nobody is connected any more, so there is nothing to wait for. */
const stopLimitMs = 5_000;
const keptCharacters = 10_000;

const running = new Set<ChildProcess>();
let interrupted = false;

/** A program that was started and has said that it is ready. */
export interface Program {
  pid: number;
  /** What the ready line's first group matched. */
  said: string;
  /** SIGTERM, then SIGKILL; resolves when it has ended. */
  stop(): Promise<void>;
}

/**
 * Starts a program with node, with nothing in its environment but `env` and what a program needs to be found
 * and run, and waits for the line on its standard output that says it is ready. Throws when it ends before.
 */
export async function startProgram(args: string[], env: NodeJS.ProcessEnv, ready: RegExp): Promise<Program> {
  const child = spawnNode(args, env);
  try {
    const said = await waitForLine(child, ready);
    return { pid: child.pid ?? 0, said, stop: () => stop(child) };
  } catch (error) {
    child.kill("SIGKILL");
    throw new Error(`${args.join(" ")} did not start: ${error}`);
  }
}

/** Runs a program to its end and gives what it printed. Throws unless it ended with 0. */
export async function runProgram(args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  const child = spawnNode(args, env);
  const output = collect(child.stdout);
  await once(child, "close");
  if (child.exitCode !== 0) throw new Error(`${args.join(" ")} ended with ${child.exitCode}`);
  return output();
}

/** Starts a module of ours that is spoken to by messages. */
export function forkModule(file: string): ChildProcess {
  refuseIfInterrupted();
  const child = fork(file, { cwd: root, env: plainEnvironment(), serialization: "advanced" });
  track(child);
  return child;
}

/** Ends a child of ours, gently if it listens to that. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), stopLimitMs);
  await ended;
  clearTimeout(timer);
}

/** Kills everything that runs and lets nothing more start: what is under way then fails and cleans up. */
export function interrupt(): void {
  interrupted = true;
  for (const child of running) child.kill("SIGKILL");
}

function spawnNode(args: string[], env: NodeJS.ProcessEnv): ChildProcess {
  refuseIfInterrupted();
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...plainEnvironment(), ...env },
    // What it complains of is for whoever runs this to read.
    stdio: ["ignore", "pipe", "inherit"],
  });
  track(child);
  return child;
}

export function isInterrupted(): boolean {
  return interrupted;
}

function refuseIfInterrupted(): void {
  if (interrupted) throw new Error("interrupted");
}

function track(child: ChildProcess): void {
  running.add(child);
  const killWithUs = () => void child.kill("SIGKILL");
  process.once("exit", killWithUs);
  child.once("exit", () => {
    running.delete(child);
    process.off("exit", killWithUs);
  });
}

function plainEnvironment(): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR } = process.env;
  return { ...(PATH && { PATH }), ...(HOME && { HOME }), ...(TMPDIR && { TMPDIR }), NO_COLOR: "1" };
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = "";
  stream?.setEncoding("utf8");
  stream?.on("data", (more) => {
    text = (text + more).slice(-keptCharacters);
  });
  return () => text;
}

async function waitForLine(child: ChildProcess, ready: RegExp): Promise<string> {
  const output = collect(child.stdout);
  const signal = AbortSignal.timeout(startLimitMs);
  for (;;) {
    const match = ready.exec(output());
    if (match) return match[1] ?? "";
    if (child.exitCode !== null || child.signalCode !== null) throw new Error("it ended");
    const more = child.stdout
      ? once(child.stdout, "data", { signal })
      : Promise.reject(new Error("no output"));
    const ended = once(child, "exit", { signal });
    for (const promise of [more, ended]) promise.catch(() => {}); // The other one may win.
    await Promise.race([more, ended]);
  }
}
