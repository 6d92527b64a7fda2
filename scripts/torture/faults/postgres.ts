import { setTimeout as sleep } from "node:timers/promises";
import { query } from "../../../tests/support/postgres.ts";
import { at, type Fault, times, type World } from "../fault.ts";

export const postgresCrash: Fault = {
  id: "postgres-crash",
  title: "Postgres is stopped at once (-m immediate) and is away for ten seconds",
  // Listeners come back at the latest after listenerRetryMostMs.
  recoveryMs: 15_000,
  plan: (random, seconds) => {
    const awayMs = Math.min(10, seconds) * 1_000;
    let repeatsBefore = 0;
    const crash = async ({ postgres, load }: World) => {
      repeatsBefore = load.repeats();
      if (!postgres.isRunning()) return 0;
      await postgres.crash();
      return 1;
    };
    const start = async ({ postgres, load }: World) => {
      const repeats = load.repeats() - repeatsBefore;
      await postgres.start();
      return repeats;
    };
    return times(Math.max(1, seconds / 20)).flatMap((index) => {
      const atMs = index * (awayMs + 5_000) + random.between(0, 1_000);
      return [
        { atMs, what: "stop Postgres", act: crash },
        { atMs: atMs + awayMs, what: "start it again", act: start },
      ];
    });
  },
};

/** A commit takes so long that nearly every moment is inside one. */
const commitDelay = { fsync: "on", commit_delay: "50000", commit_siblings: "0" };

export const killedAtCommit: Fault = {
  id: "killed-at-commit",
  title: "a backend that stores messages is killed by SIGKILL in the middle of its commit",
  recoveryMs: 15_000,
  prepare: () => ({ postgres: { settings: commitDelay } }),
  plan: (random, seconds) =>
    times(Math.max(2, seconds / 4)).map((index) => ({
      atMs: index * 4_000 + random.between(0, 1_000),
      what: "kill a backend that sends",
      act: killSending,
    })),
};

/** So long what has to come about may take: a backend that sends, a setting that is in force. */
const findMs = 15_000;

const slowCommitMs = 100;
const commitsTimed = 10;

export const slowDisk: Fault = {
  id: "slow-disk",
  title: `each flush of Postgres' log takes ${slowCommitMs} ms`,
  recoveryMs: 15_000,
  prepare: () => ({ postgres: { settings: { fsync: "on", commit_siblings: "0" } } }),
  plan: (_random, seconds) => [
    { atMs: 0, what: `flushes take ${slowCommitMs} ms`, act: (world) => delayCommits(world, slowCommitMs) },
    {
      atMs: seconds * 1_000,
      what: "flushes are quick",
      act: (world) => delayCommits(world, 0),
    },
  ],
};

const poolSize = 3;
/** On a busy machine it takes a while to connect a hundred times. */
const takeMs = 20_000;

export const poolExhausted: Fault = {
  id: "pool-exhausted",
  title: "all connections of the pools wait for a lock that somebody holds, then Postgres has none left",
  recoveryMs: 20_000,
  prepare: () => ({ env: { DATABASE_POOL_SIZE: String(poolSize) } }),
  plan: (random, seconds) => {
    const holdMs = Math.min(8, seconds) * 1_000;
    return [
      {
        atMs: random.between(0, 500),
        what: `lock the members for ${holdMs} ms`,
        act: ({ postgres }) => holdLock(postgres.url, holdMs),
      },
      {
        atMs: holdMs + 1_000,
        what: "take every connection that Postgres has, and end the pools' own",
        act: (world) => takeConnections(world, 3_000),
      },
    ];
  },
};

export const connectionsSilent: Fault = {
  id: "connections-silent",
  title: "all connections of an instance to Postgres lead nowhere, and stay open",
  // A connection is given up after some twelve seconds; see sql/driver.ts.
  recoveryMs: 40_000,
  plan: (random) =>
    times(2).map((index) => ({
      atMs: index * 14_000 + random.between(0, 1_000),
      what: `black-hole all connections of instance ${index + 1}`,
      act: ({ roads }) => at(roads, index).swallow(),
    })),
};

/** Gives 1 once it has found one: Postgres may still recover from the last time. */
async function killSending({ postgres, note }: World): Promise<number> {
  const until = performance.now() + findMs;
  while (performance.now() < until) {
    await sleep(2);
    const [found] = await query(
      postgres.url,
      `SELECT pid FROM pg_stat_activity
       WHERE datname = current_database() AND state = 'active' AND query LIKE '%send_message%'
         AND pid <> pg_backend_pid() LIMIT 1`,
    ).catch(() => []);
    if (!found) continue;
    process.kill(found.pid, "SIGKILL");
    note(`killed backend ${found.pid}`);
    return 1;
  }
  return 0;
}

/** Gives 1 once commits are as slow, or as quick, as they were told to be. */
async function delayCommits({ postgres: { url }, note }: World, ms: number): Promise<number> {
  await query(url, `ALTER SYSTEM SET commit_delay = ${ms * 1_000}`);
  await query(url, "SELECT pg_reload_conf()");
  const until = performance.now() + findMs;
  while (performance.now() < until) {
    const took = await timeOfCommit(url);
    // A flush that another has begun may serve for ours: then it takes only the rest of its time.
    if (took >= slowCommitMs / 2 === ms > 0) {
      note(`a commit takes ${Math.round(took)} ms`);
      return 1;
    }
    await sleep(20);
  }
  return 0;
}

/** Milliseconds until something small is in Postgres' log and flushed: the mean of several. */
async function timeOfCommit(url: string): Promise<number> {
  const startedAt = performance.now();
  await query(
    url,
    `DO $$ BEGIN
       FOR number IN 1..${commitsTimed} LOOP
         PERFORM pg_logical_emit_message(true, 'torture', 'a commit');
         COMMIT;
       END LOOP;
     END $$`,
  );
  return (performance.now() - startedAt) / commitsTimed;
}

/** For so long nobody reads or writes a membership. Gives how many connections waited for that at once. */
async function holdLock(url: string, ms: number): Promise<number> {
  let isHeld = true;
  const lock = `BEGIN; LOCK TABLE members IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(${ms / 1_000}); COMMIT`;
  const held = query(url, lock).finally(() => {
    isHeld = false;
  });
  held.catch(() => {}); // Told below.
  let most = 0;
  while (isHeld) {
    const [{ waiting }] = await query(
      url,
      "SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    );
    most = Math.max(most, waiting);
    await sleep(50);
  }
  await held;
  return most >= poolSize ? most : 0;
}

/**
 * Connects until Postgres refuses, ends everybody else's connections, takes those too, and keeps all of them
 * for some milliseconds. Gives how often Postgres had none left.
 */
async function takeConnections({ postgres: { url }, load, note }: World, ms: number): Promise<number> {
  let until = performance.now() + takeMs;
  const repeatsBefore = load.repeats();
  const taken: Promise<unknown>[] = [];
  let refused = 0;
  const unforeseen: Error[] = [];
  const refuse = (error: Error & { code?: string }) => {
    if (error.code === tooManyConnections) {
      if (refused++ === 0) until = performance.now() + ms;
    } else if (error.code !== terminated && !isLost.test(error.message)) unforeseen.push(error);
  };
  while (performance.now() < until && unforeseen.length === 0) {
    taken.push(...times(20).map(() => query(url, `SELECT pg_sleep(${ms / 1_000})`).catch(refuse)));
    await query(url, endOthers).catch(refuse);
    await sleep(200);
  }
  await Promise.all(taken);
  if (unforeseen.length > 0) throw unforeseen[0];
  const repeats = load.repeats() - repeatsBefore;
  note(`Postgres refused ${refused} connections; ${repeats} requests were repeated`);
  return Math.min(refused, repeats);
}

const endOthers = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE pid <> pg_backend_pid() AND query NOT LIKE '%pg_sleep%' AND backend_type = 'client backend'`;
const tooManyConnections = "53300";
/** Ended by the statement above, before or while it slept. */
const terminated = "57P01";
const isLost = /connection terminated|not queryable/i;
