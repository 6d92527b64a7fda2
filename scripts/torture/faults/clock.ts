import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { query } from "../../../tests/support/postgres.ts";
import type { Random } from "../../../tests/support/random.ts";
import { type Fault, type Step, times, type World } from "../fault.ts";

/** Debian's libfaketime; it gives a process another wall clock, and leaves the monotonic one alone. */
const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
const library = `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`;

/** Both shorter than an access token lives. */
const mostMinutes = 10;
/** The offset is read from its file once a second, and the machine may be busy. */
const takeEffectMs = 15_000;
/** The Date header has whole seconds, and is remembered for one. */
const toleranceMs = 10_000;

export const clockOfInstances: Fault = {
  id: "clock-of-instances",
  title: "the servers' clocks jump forwards and back",
  recoveryMs: 15_000,
  missing: whyNot,
  prepare: async (folder) => ({ env: await fakeTime(folder) }),
  plan: (random, seconds) =>
    jumps(random, seconds, ({ instances }) => Promise.all(instances.map(({ url }) => timeOfInstance(url)))),
};

export const clockOfPostgres: Fault = {
  id: "clock-of-postgres",
  title: "Postgres' clock jumps forwards and back",
  recoveryMs: 15_000,
  missing: whyNot,
  prepare: async (folder) => ({ postgres: { env: await fakeTime(folder) } }),
  plan: (random, seconds) =>
    jumps(random, seconds, async ({ postgres }) => [await timeOfPostgres(postgres.url)]),
};

/** Each to a time that is neither ours nor the one before. `ask` gives what time it is there, in ms. */
function jumps(random: Random, seconds: number, ask: (world: World) => Promise<number[]>): Step[] {
  let before = 0;
  return times(Math.max(3, seconds / 3)).map((index) => {
    const choice = times(2 * mostMinutes + 1)
      .map((number) => number - mostMinutes)
      .filter((minutes) => minutes !== 0 && minutes !== before);
    const minutes = random.pick(choice);
    before = minutes;
    return {
      atMs: index * 3_000,
      what: `the clock is ${minutes} minutes off`,
      act: async (world) => {
        await writeFile(clockIn(world.folder), offset(minutes));
        return (await isEventuallyOff(() => ask(world), minutes * 60_000)) ? 1 : 0;
      },
    };
  });
}

async function isEventuallyOff(ask: () => Promise<number[]>, ms: number): Promise<boolean> {
  const until = performance.now() + takeEffectMs;
  while (performance.now() < until) {
    const clocks = await ask();
    if (clocks.every((clock) => Math.abs(clock - (Date.now() + ms)) < toleranceMs)) return true;
    await sleep(100);
  }
  return false;
}

async function timeOfPostgres(url: string): Promise<number> {
  const [{ ms }] = await query(url, "SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms");
  return Number(ms);
}

async function timeOfInstance(url: string): Promise<number> {
  const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) });
  await response.body?.cancel();
  return Date.parse(response.headers.get("date") ?? "");
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
