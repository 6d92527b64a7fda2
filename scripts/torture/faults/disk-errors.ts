import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type OwnPostgres, query } from "../../../tests/support/postgres.ts";
import type { Random } from "../../../tests/support/random.ts";
import { breakCalls, whyNotBreakCalls } from "../broken-calls.ts";
import { at, type Fault, times, type World } from "../fault.ts";

/** Flushes that are real, and so little memory that tables are read and written all the time. */
const settings = { fsync: "on", full_page_writes: "on", shared_buffers: "1MB" };
const everyMs = 2_500;
/** After that, whoever runs Postgres starts it again. */
const patienceMs = 10_000;
const checkpointPauseMs = 50;

/** One way in which a disk fails. */
interface Failure {
  what: string;
  calls: readonly string[];
  /** Not of all of Postgres' processes, but of the one that writes the tables at a checkpoint. */
  isCheckpointer?: boolean;
}

/** Those of tables cost one statement or one checkpoint, but for the flush, after which nothing is known. */
const failuresOfTables: readonly Failure[] = [
  { what: "tables cannot be read", calls: ["pread64", "preadv"] },
  { what: "tables cannot be written at a checkpoint", calls: ["pwrite64", "pwritev"], isCheckpointer: true },
  { what: "tables cannot be flushed at a checkpoint", calls: ["fsync"], isCheckpointer: true },
];

/** After each of these Postgres ends all its processes and recovers, if the disk lets it; see mend(). */
const failuresOfLog: readonly Failure[] = [
  { what: "the log cannot be flushed", calls: ["fdatasync"] },
  { what: "nothing can be flushed", calls: ["fsync", "fdatasync"] },
  { what: "nothing can be written", calls: ["pwrite64", "pwritev"] },
];

export const diskFailing: Fault = {
  id: "disk-failing",
  title: "Postgres' disk gives I/O errors, then does not",
  recoveryMs: 20_000,
  missing: whyNotBreakCalls,
  prepare: () => ({ postgres: { settings } }),
  plan: (random, seconds) => {
    const kinds = [shuffled(failuresOfTables, random), shuffled(failuresOfLog, random)];
    return times(Math.max(2, (seconds * 1_000) / everyMs)).map((index) => {
      const failures = at(kinds, index % kinds.length);
      const failure = at(failures, Math.floor(index / kinds.length) % failures.length);
      const every = random.pick([1, 2, 5]);
      const ms = random.integer(800, 2_500);
      return {
        atMs: index * everyMs,
        what: `${failure.what}: ${every === 1 ? "all calls" : `one call of ${every}`} for ${ms} ms`,
        act: (world) => fail(world, failure, every, ms),
      };
    });
  },
};

/** Gives how many calls failed; 0 if nobody but Postgres noticed. */
async function fail(world: World, failure: Failure, every: number, ms: number): Promise<number> {
  const { postgres, folder, load, note } = world;
  const repeatsBefore = load.repeats();
  const pids = failure.isCheckpointer ? [await checkpointerOf(postgres.url)] : await processesOf(postgres);
  const broken = await breakCalls({ pids, calls: failure.calls, every }, join(folder, "calls"));
  let [refused, failed] = [0, 0];
  try {
    refused = await (failure.isCheckpointer ? checkpoint(postgres.url, ms) : sleep(ms, 0));
  } finally {
    failed = await broken.end();
  }
  const repeats = load.repeats() - repeatsBefore;
  const met = `${failed} calls failed, ${refused} checkpoints were refused, ${repeats} requests repeated`;
  note(`${met}; Postgres ${await mend(postgres)}`);
  return Math.min(failed, failure.isCheckpointer ? refused : repeats);
}

/** Asks for one checkpoint after the other; gives how many failed. */
async function checkpoint(url: string, ms: number): Promise<number> {
  const until = performance.now() + ms;
  let failed = 0;
  while (performance.now() < until) {
    await query(url, "CHECKPOINT").catch(() => failed++);
    await sleep(checkpointPauseMs);
  }
  return failed;
}

/**
 * Resolves, with what it took, once Postgres is well. Mostly it recovers by itself. If the disk did not even
 * let it recover, it ends or, as 18 at times, stays in recovery for ever.
 */
async function mend(postgres: OwnPostgres): Promise<string> {
  const startedAt = performance.now();
  const past = () => performance.now() - startedAt;
  while (postgres.isRunning() && past() < patienceMs) {
    if (await answers(postgres.url)) return `was well after ${Math.round(past())} ms`;
    await sleep(50);
  }
  const reason = postgres.isRunning() ? "did not come back" : "had ended";
  await postgres.crash();
  await postgres.start();
  return `${reason}, and was started again`;
}

async function answers(url: string): Promise<boolean> {
  return query(url, "SELECT").then(
    () => true,
    () => false,
  );
}

async function checkpointerOf(url: string): Promise<number> {
  const [{ pid }] = await query(url, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
  return pid;
}

/** The first starts all others. */
async function processesOf({ home }: OwnPostgres): Promise<number[]> {
  const [first] = (await readFile(join(home, "data", "postmaster.pid"), "utf8")).split("\n");
  const children = await readFile(`/proc/${first}/task/${first}/children`, "utf8");
  return [Number(first), ...children.trim().split(" ").map(Number)];
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return items
    .map((item) => ({ item, rank: random.between(0, 1) }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}
