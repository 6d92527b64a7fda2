import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type OwnPostgres, withPostgres } from "../../tests/support/postgres.ts";
import { type Random, randomOf } from "../../tests/support/random.ts";
import { type Road, withRoad } from "../../tests/support/road.ts";
import { check, type Violation } from "./checker.ts";
import { describePlan, type Fault, type World } from "./fault.ts";
import { Instance } from "./instance.ts";
import { Load, type LoadSize, usualLoad } from "./load.ts";
import { readTruth } from "./truth.ts";

export interface RunOptions {
  seed: number;
  /** About how long the fault goes on. */
  seconds: number;
  size?: LoadSize;
  print(line: string): void;
}

/** How one fault went. It went well if nothing is in `violations`. */
export interface Outcome {
  fault: string;
  /** Why it was left out; null if it was not. */
  skipped: string | null;
  violations: Violation[];
  /** What went wrong besides: a bound on recovery that was not kept, an error in a server's log. */
  complaints: string[];
  acknowledged: number;
  heard: number;
  connections: number;
  repeats: number;
  recoveryMs: number;
}

const instanceCount = 2;
const warmUpMessages = 100;
const warmUpMs = 60_000;
const afterMs = 1_000;

/** Torments one fresh world with one fault, and judges what came of it. */
export async function runFault(fault: Fault, options: RunOptions): Promise<Outcome> {
  const outcome = emptyOutcome(fault);
  const missing = (await fault.missing?.()) ?? null;
  if (missing !== null) return { ...outcome, skipped: missing };
  const random = randomOf(options.seed).fork(fault.id);
  const plan = fault.plan(random.fork("plan"), options.seconds);
  options.print(`${fault.id}: ${fault.title}\n${describePlan(plan)}`);
  await withWorld(fault, random, options, async (world) => {
    try {
      await torment(fault, plan, world, outcome);
    } catch (error) {
      outcome.complaints.push(error instanceof Error ? error.message : String(error));
    }
    await judge(world, outcome);
  });
  return outcome;
}

async function torment(fault: Fault, plan: ReturnType<Fault["plan"]>, world: World, outcome: Outcome) {
  const { load } = world;
  await load.start();
  const deadline = performance.now() + warmUpMs;
  while (load.acknowledged() < warmUpMessages) {
    if (performance.now() > deadline) throw new Error("the load does not get going");
    await sleep(20);
  }
  const startedAt = performance.now();
  for (const { atMs, act } of plan) {
    await sleep(Math.max(0, startedAt + atMs - performance.now()));
    await act(world);
  }
  outcome.recoveryMs = await recover(fault, world);
  await sleep(afterMs);
  await load.quiesce();
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

async function judge({ postgres, instances, load }: World, outcome: Outcome): Promise<void> {
  load.close();
  for (const instance of instances) await instance.stop();
  outcome.complaints.push(...instances.flatMap(({ complaints }) => complaints));
  const history = load.history();
  outcome.violations = check(history, await readTruth(postgres.url));
  outcome.acknowledged = load.acknowledged();
  outcome.heard = history.subscriptions.reduce((sum, { heard }) => sum + heard.length, 0);
  outcome.connections = load.connections();
  outcome.repeats = load.repeats();
}

async function withWorld(
  fault: Fault,
  random: Random,
  { size = usualLoad, print }: RunOptions,
  act: (world: World) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "parley-torture-"));
  // Postgres runs as somebody else.
  await chmod(folder, 0o755);
  const special = (await fault.prepare?.(folder)) ?? {};
  const start = async (postgres: OwnPostgres, roads: Road[]) => {
    const instances = roads.map(
      (road, index) => new Instance(`instance ${index + 1}`, { ...special.env, DATABASE_URL: road.url }),
    );
    const service = { urls: [] as string[] };
    const load = new Load(service, random, size);
    try {
      for (const instance of instances) await instance.start();
      service.urls.push(...instances.map(({ url }) => url));
      await act({ postgres, folder, instances, roads, load, note: (text) => print(`  ${text}`) });
    } finally {
      load.close();
      for (const instance of instances) await instance.kill();
    }
  };
  try {
    await withPostgres(
      (postgres) => withRoads(postgres.url, instanceCount, (roads) => start(postgres, roads)),
      special.postgres,
    );
  } finally {
    await special.end?.();
    await rm(folder, { recursive: true, force: true });
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
    repeats: 0,
    recoveryMs: 0,
  };
}
