import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const attachMs = 15_000;
const nobody = 65_534;

/** What fails with EIO, as on a broken disk. */
export interface Breakage {
  pids: readonly number[];
  /** Names of Linux' system calls. */
  calls: readonly string[];
  /** Of each process and each kind of call the first, and then every so many. */
  every: number;
}

export interface BrokenCalls {
  /** Makes all well again, and gives how many calls had failed. */
  end(): Promise<number>;
}

/**
 * Breaks system calls of running processes and of all that they start, by Debian's strace: it answers them in
 * the kernel's place. `file` tells what failed. (A library before libc, such as libfiu, would be quicker, but
 * Postgres does not even start with that one.)
 */
export async function breakCalls({ pids, calls, every }: Breakage, file: string): Promise<BrokenCalls> {
  const names = calls.join(",");
  const what = ["-e", `trace=${names}`, "-e", `inject=${names}:error=EIO:when=1+${every}`];
  // Not what is written, which may be somebody's message.
  const how = ["-f", "-s", "0", "-e", "signal=none", "-o", file];
  const whom = pids.flatMap((pid) => ["-p", `${pid}`]);
  const strace = spawn("strace", [...how, ...what, ...whom], { stdio: "ignore" });
  const exited = once(strace, "exit");
  exited.catch(() => {}); // It could not even be started: told by "spawn".
  const killWithUs = () => void strace.kill("SIGTERM");
  const end = async () => {
    strace.kill("SIGTERM");
    await exited;
    process.off("exit", killWithUs);
    // It may have ended before it made one.
    const told = await readFile(file, "utf8").catch(() => "");
    return told.split("(INJECTED)").length - 1;
  };
  // Rejects if it cannot be started.
  await once(strace, "spawn");
  process.once("exit", killWithUs);
  try {
    await untilTraced(pids, strace);
  } catch (error) {
    await end();
    throw error;
  }
  return { end };
}

/** Why `breakCalls` cannot work here; null if it can. */
export async function whyNotBreakCalls(): Promise<string | null> {
  if (process.platform !== "linux") return "only Linux has strace";
  const folder = await mkdtemp(join(tmpdir(), "parley-strace-"));
  // Somebody else than root, as Postgres is.
  const identity = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};
  const child = spawn("sleep", ["60"], { stdio: "ignore", ...identity });
  try {
    await once(child, "spawn");
    const breakage = { pids: [child.pid ?? 0], calls: ["fsync"], every: 1 };
    await (await breakCalls(breakage, join(folder, "calls"))).end();
    return null;
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    const isMissing = code === "ENOENT" && syscall === "spawn strace";
    return isMissing ? "strace is not installed" : `no other process can be traced: ${message}`;
  } finally {
    child.kill();
    await rm(folder, { recursive: true });
  }
}

/** Resolves once it holds all that are still there. */
async function untilTraced(pids: readonly number[], strace: ChildProcess): Promise<void> {
  const deadline = performance.now() + attachMs;
  const isHeld = (tracer: number | null) => tracer === null || tracer === strace.pid;
  while (!(await Promise.all(pids.map(tracerOf))).every(isHeld)) {
    if (strace.exitCode !== null || strace.signalCode !== null) throw new Error("strace has ended");
    if (performance.now() > deadline) throw new Error("strace does not get hold of all");
    await sleep(5);
  }
}

/** 0 if there is none, null if the process has gone. */
async function tracerOf(pid: number): Promise<number | null> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => null);
  const isThere = status !== null && !/^State:\s+[ZX]/m.test(status);
  return isThere ? Number(/^TracerPid:\s+(\d+)/m.exec(status)?.[1]) : null;
}
