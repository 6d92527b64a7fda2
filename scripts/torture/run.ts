import { rmSync } from "node:fs";
import { chmod, mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { within } from "../../server/within.ts";
import { withPostgres } from "../../tests/support/postgres.ts";
import { type Random, randomOf } from "../../tests/support/random.ts";
import { type Road, withRoad } from "../../tests/support/road.ts";
import { eventually } from "../../tests/support/server.ts";
import { check } from "./checker.ts";
import { describePlan, type Fault, type Special, type Step, type World } from "./fault.ts";
import type { History } from "./history.ts";
import { Instance } from "./instance.ts";
import { Load, type LoadSize, usualLoad } from "./load.ts";
import { Archive } from "./truth.ts";
import { describeViolations, type Violation } from "./violation.ts";

export interface RunOptions {
  seed: number;
  /** About how long the fault goes on. */
  seconds: number;
  size?: LoadSize;
  print(line: string): void;
}

/** How one fault went. It went well if nothing is in `violations` and `complaints`. */
export interface Outcome {
  fault: string;
  /** Why it was left out; null if it was not. */
  skipped: string | null;
  violations: Violation[];
  /**
   * What went wrong besides: a bound on recovery that was not kept, an error in a server's log, a fault that
   * did not take hold.
   */
  complaints: string[];
  acknowledged: number;
  heard: number;
  connections: number;
  /** Who listens from the beginning to the end: all but the guest who comes and goes. */
  listeners: number;
  repeats: number;
  resets: number;
  /** How often the steps took hold, together. */
  held: number;
  recoveryMs: number;
}

const instanceCount = 2;
const warmUpMessages = 100;
const warmUpMs = 60_000;
const afterMs = 1_000;
/** Besides the time that a fault goes on. */
const stepLimitMs = 60_000;
const truthMs = 30_000;

/** Torments one fresh world with one fault, and judges what came of it. */
export async function runFault(fault: Fault, options: RunOptions): Promise<Outcome> {
  const outcome = emptyOutcome(fault);
  const missing = (await fault.missing?.()) ?? null;
  if (missing !== null) return { ...outcome, skipped: missing };
  const random = randomOf(options.seed).fork(fault.id);
  const plan = fault.plan(random.fork("plan"), options.seconds);
  options.print(`${fault.id}: ${fault.title}\n${describePlan(plan)}`);
  const complain = (error: unknown) =>
    void outcome.complaints.push(error instanceof Error ? error.message : String(error));
  await withWorld(fault, random, options, async (world) => {
    let isQuiescent = false;
    try {
      await begin(world.load);
      await torment(fault, plan, world, options.seconds, outcome);
      outcome.recoveryMs = await recover(fault, world);
      await sleep(afterMs);
      await world.load.quiesce();
      isQuiescent = true;
    } catch (error) {
      complain(error);
      complain("not quiescent: what was still to come is not judged");
    }
    await judge(world, fault, outcome, isQuiescent).catch(complain);
  });
  return outcome;
}

async function begin(load: Load): Promise<void> {
  await within(warmUpMs, load.start(), () => new Error("the load does not start"));
  const deadline = performance.now() + warmUpMs;
  while (load.acknowledged() < warmUpMessages) {
    if (performance.now() > deadline) throw new Error("the load does not get going");
    await sleep(20);
  }
}

/** A step that does not take hold is a complaint. */
async function torment(
  fault: Fault,
  plan: readonly Step[],
  world: World,
  seconds: number,
  outcome: Outcome,
): Promise<void> {
  const startedAt = performance.now();
  for (const { atMs, what, act } of plan) {
    await sleep(Math.max(0, startedAt + atMs - performance.now()));
    const limitMs = seconds * 1_000 + stepLimitMs;
    const late = () => new Error(`not within ${limitMs} ms: ${what}`);
    const count = await within(limitMs, Promise.resolve(act(world)), late);
    outcome.held += count;
    if (count === 0 && !fault.mayMiss) outcome.complaints.push(`it did not take hold: ${what}`);
  }
  if (outcome.held === 0) outcome.complaints.push("nothing took hold");
}

/** Milliseconds until all works again. Throws when that takes longer than the fault allows. */
async function recover(fault: Fault, { instances, load }: World): Promise<number> {
  const startedAt = performance.now();
  const left = () => fault.recoveryMs - (performance.now() - startedAt);
  for (const { url, name } of instances) {
    while (!(await isReady(url))) {
      if (left() < 0) throw new Error(`${name} was not ready within ${fault.recoveryMs} ms`);
      await sleep(20);
    }
  }
  for (const place of instances.keys()) {
    await load.probe(place, Math.max(0, left())).catch((error) => {
      throw new Error(`within ${fault.recoveryMs} ms: ${error.message}`);
    });
  }
  return performance.now() - startedAt;
}

async function isReady(url: string): Promise<boolean> {
  const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(5_000) }).catch(() => null);
  await response?.body?.cancel();
  return response?.status === 200;
}

async function judge(
  { postgres, instances, load, archive }: World,
  fault: Fault,
  outcome: Outcome,
  isQuiescent: boolean,
): Promise<void> {
  load.close();
  for (const instance of instances) {
    const wasRunning = (await instance.stop()) > 0;
    if (!wasRunning) outcome.complaints.push(`${instance.name} did not run in the end`);
  }
  const logged = instances.flatMap(({ complaints }) => complaints);
  outcome.complaints.push(...logged.filter((line) => !fault.logged?.test(line)));
  const history = load.history();
  outcome.acknowledged = load.acknowledged();
  outcome.heard = history.subscriptions.reduce((sum, { heard }) => sum + heard.length, 0);
  outcome.connections = load.connections();
  outcome.listeners = load.listeners();
  outcome.repeats = load.repeats();
  outcome.resets = load.resets();
  if (!postgres.isRunning()) await postgres.start();
  // It may still recover from a crash.
  const eras = await eventually(() => archive.read(postgres.url), truthMs);
  const violations = check(isQuiescent ? history : brokenOff(history), eras, {
    resets: fault.resets ?? [],
  });
  outcome.violations = violations.filter((one) => !fault.known?.test(describeViolations([one])));
}

/** Up to the last that each subscriber heard nothing may lack. */
function brokenOff({ attempts, subscriptions }: History): History {
  return { attempts, subscriptions: subscriptions.map((one) => ({ ...one, isBrokenOff: true })) };
}

async function withWorld(
  fault: Fault,
  random: Random,
  options: RunOptions,
  act: (world: World) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "parley-torture-"));
  let special: Special = {};
  const remove = () => {
    try {
      special.end?.();
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    } catch (error) {
      // What went wrong before is worth more.
      options.print(`  ${folder} could not be removed: ${error}`);
    }
  };
  process.once("exit", remove);
  try {
    // Postgres runs as somebody else.
    await chmod(folder, 0o755);
    special = (await fault.prepare?.(folder)) ?? {};
    const home = special.postgres?.home ?? join(folder, "postgres");
    await mkdir(home, { recursive: true });
    await withPostgres(
      (postgres) =>
        withRoads(postgres.url, instanceCount, (roads) =>
          withInstances({ postgres, folder, roads, special, random, ...options }, act),
        ),
      { ...special.postgres, home },
    );
  } finally {
    process.off("exit", remove);
    remove();
  }
}

interface Ground extends RunOptions, Pick<World, "postgres" | "folder" | "roads"> {
  special: Special;
  random: Random;
}

async function withInstances(
  { postgres, folder, roads, special, random, size = usualLoad, print }: Ground,
  act: (world: World) => Promise<void>,
): Promise<void> {
  const instances = roads.map(
    (road, index) => new Instance(`instance ${index + 1}`, { ...special.env, DATABASE_URL: road.url }),
  );
  const service = { urls: [] as string[] };
  const load = new Load(service, random, size);
  try {
    await special.begin?.({ postgres, instances });
    for (const instance of instances) await instance.start();
    service.urls.push(...instances.map(({ url }) => url));
    const note = (text: string) => print(`  ${text}`);
    await act({ postgres, folder, instances, roads, load, archive: new Archive(), note });
  } finally {
    load.close();
    for (const instance of instances) await instance.kill();
  }
}

async function withRoads(to: string, count: number, act: (roads: Road[]) => Promise<void>): Promise<void> {
  const add = (roads: Road[]): Promise<void> =>
    roads.length === count ? act(roads) : withRoad(to, (road) => add([...roads, road]));
  await add([]);
}

function emptyOutcome(fault: Fault): Outcome {
  return {
    fault: fault.id,
    skipped: null,
    violations: [],
    complaints: [],
    acknowledged: 0,
    heard: 0,
    connections: 0,
    listeners: 0,
    repeats: 0,
    resets: 0,
    held: 0,
    recoveryMs: 0,
  };
}
