import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Fault, type Step, times } from "../fault.ts";

/** Debian's libfaketime; it gives a process another wall clock, and leaves the monotonic one alone. */
const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
const library = `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`;

/** Both shorter than an access token lives. */
const mostMinutes = 10;

export const clockOfInstances: Fault = {
  id: "clock-of-instances",
  title: "the servers' clocks jump forwards and back",
  recoveryMs: 15_000,
  missing: whyNot,
  prepare: async (folder) => ({ env: await fakeTime(folder) }),
  plan: (random, seconds) =>
    times(Math.max(3, seconds / 3)).map((index) => jump(index, random.integer(-mostMinutes, mostMinutes))),
};

export const clockOfPostgres: Fault = {
  id: "clock-of-postgres",
  title: "Postgres' clock jumps forwards and back",
  recoveryMs: 15_000,
  missing: whyNot,
  prepare: async (folder) => ({ postgres: { env: await fakeTime(folder) } }),
  plan: clockOfInstances.plan,
};

function jump(index: number, minutes: number): Step {
  return {
    atMs: index * 3_000,
    what: `the clock is ${minutes} minutes off`,
    act: ({ folder }) => writeFile(clockIn(folder), offset(minutes)),
  };
}

async function fakeTime(folder: string): Promise<NodeJS.ProcessEnv> {
  await writeFile(clockIn(folder), offset(0));
  return {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: clockIn(folder),
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    FAKETIME_CACHE_DURATION: "1",
  };
}

async function whyNot(): Promise<string | null> {
  return access(library).then(
    () => null,
    () => `there is no ${library}`,
  );
}

function clockIn(folder: string): string {
  return join(folder, "clock");
}

function offset(minutes: number): string {
  return `${minutes < 0 ? "" : "+"}${minutes * 60}`;
}
