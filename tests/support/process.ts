import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createTestDatabase } from "./database.ts";
import { withServerUrls } from "./roles.ts";
import { testSecret } from "./server.ts";

const root = join(import.meta.dirname, "../..");
const serverScript = "server/main.ts";
const startLimitMs = 30_000;

/** The program as a child of its own: for what ends, or must not end, a process, and for what it costs. */
export interface Program {
  url: string;
  databaseUrl: string;
  child: ChildProcess;
  /** What it said on standard output so far. */
  stdout(): string;
  /** Its log and complaints so far. */
  stderr(): string;
  /**
   * The lines of that. A last one without its end is left out while it may still be on its way, and for ever
   * if SIGKILL cut it off.
   */
  lines(): string[];
  kill(signal: NodeJS.Signals): void;
  /** The exit code, or the name of the signal that ended it. */
  exited: Promise<number | string>;
  isRunning(): boolean;
  /** Resident memory in bytes; Linux only, 0 elsewhere. */
  residentBytes(): Promise<number>;
}

/** Which program, and where it runs. */
export interface Which {
  /** Of another version. */
  folder?: string;
  /** Words of a command that runs it in its own place, such as `ip netns exec …`. */
  through?: readonly string[];
}

/** How a program ended, and all that it said. */
export interface Ended {
  code: number | string;
  stdout: string;
  stderr: string;
}

/**
 * Runs a test against server/main.ts as `npm start` runs it, once it listens, and ends it however the test
 * ends. Without DATABASE_URL in `env` it gets a fresh database, or with DATA_DIR an embedded Postgres.
 */
export async function withProgram(
  env: NodeJS.ProcessEnv,
  act: (program: Program) => Promise<void>,
  folder = root,
): Promise<void> {
  const database = env.DATABASE_URL || env.DATA_DIR ? undefined : await createTestDatabase();
  const databaseUrl = env.DATABASE_URL ?? database?.url ?? "";
  try {
    const program = await startProgram({ ...env, DATABASE_URL: databaseUrl }, { folder });
    try {
      await act(program);
    } finally {
      await endProgram(program);
    }
  } finally {
    await database?.drop();
  }
}

/**
 * Starts the same, or another one, and resolves once it listens. Whoever starts it ends it; it does not
 * outlive us.
 */
export async function startProgram(env: NodeJS.ProcessEnv, which: Which = {}): Promise<Program> {
  const ours = { PORT: "0", JWT_SECRET: testSecret, LOG_LEVEL: "warn", RATE_LIMITS: "off" };
  const started = start(serverScript, { ...ours, ...env }, which);
  try {
    return { ...started, databaseUrl: env.DATABASE_URL ?? "", url: await readUrl(started) };
  } catch (error) {
    await endProgram(started);
    throw error;
  }
}

/** Ends a program by force, if it still runs. */
export async function endProgram(program: Pick<Program, "isRunning" | "kill" | "exited">): Promise<void> {
  if (program.isRunning()) program.kill("SIGKILL");
  await program.exited;
}

/** Runs a script that should end by itself, with nothing in its environment but `env`. */
export async function runScript(
  script: string,
  env: NodeJS.ProcessEnv,
  limitMs = 20_000,
  folder = root,
): Promise<Ended> {
  const started = start(script, env, { folder });
  const timer = setTimeout(() => started.kill("SIGKILL"), limitMs);
  try {
    const code = await started.exited;
    return { code, stdout: started.stdout(), stderr: started.stderr() };
  } finally {
    clearTimeout(timer);
    await endProgram(started);
  }
}

/** The resident memory of a process once it has stopped falling, at most `ms` later. */
export async function settledBytes(program: Program, ms = 3_000): Promise<number> {
  let lowest = await program.residentBytes();
  const deadline = Date.now() + ms;
  while (Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 250));
    lowest = Math.min(lowest, await program.residentBytes());
  }
  return lowest;
}

type Started = Omit<Program, "url" | "databaseUrl">;

/**
 * The child sees none of our own environment but what a program needs to be found and run. Our server
 * connects to databases of tests as its role; what rights another version needs is not known here.
 */
function start(
  script: string,
  settings: NodeJS.ProcessEnv,
  { folder = root, through = [] }: Which = {},
): Started {
  const { PATH, HOME, TMPDIR } = process.env;
  const env = script === serverScript && folder === root ? withServerUrls(settings) : settings;
  const [program = "", ...args] = [...through, process.execPath, join(folder, script)];
  const child = spawn(program, args, {
    cwd: folder,
    env: { ...(PATH && { PATH }), ...(HOME && { HOME }), ...(TMPDIR && { TMPDIR }), NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const killWithUs = () => child.kill("SIGKILL");
  process.once("exit", killWithUs);
  let isTold = false;
  const exited = new Promise<number | string>((resolve) => {
    // "close", not "exit": only then all of its output has been read.
    child.once("close", (code, signal) => {
      process.off("exit", killWithUs);
      isTold = signal !== "SIGKILL";
      resolve(code ?? signal ?? "unknown");
    });
  });
  const stderr = collect(child.stderr);
  return {
    child,
    stdout: collect(child.stdout),
    stderr,
    lines: () => linesOf(stderr(), isTold),
    kill: (signal) => void child.kill(signal),
    exited,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    residentBytes: () => residentBytes(child.pid),
  };
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = "";
  stream?.setEncoding("utf8");
  stream?.on("data", (more) => {
    text += more;
  });
  return () => text;
}

/** `isTold`: nothing more will come, so that a last line without an end is one too. */
function linesOf(text: string, isTold: boolean): string[] {
  const lines = text.split("\n");
  const last = lines.pop() ?? "";
  return isTold && last !== "" ? [...lines, last] : lines;
}

async function readUrl(started: Started): Promise<string> {
  const signal = AbortSignal.timeout(startLimitMs);
  for (;;) {
    const match = /^Parley listens on (http:\/\/localhost:\d+)\n/.exec(started.stdout());
    if (match?.[1]) return match[1];
    if (!started.isRunning()) throw new Error(`the program did not start:\n${started.stderr()}`);
    const more = started.child.stdout ? once(started.child.stdout, "data", { signal }) : Promise.reject();
    more.catch(() => {}); // Lost to the exit.
    await Promise.race([more, started.exited]);
  }
}

async function residentBytes(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

/**
 * The exit code once no process is left that could write to standard error; or that there was none in time.
 */
export async function exitWithin(program: Program, ms: number): Promise<number | string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`not within ${ms} ms`), ms);
  });
  const code = await Promise.race([program.exited, late]);
  clearTimeout(timer);
  return code;
}
