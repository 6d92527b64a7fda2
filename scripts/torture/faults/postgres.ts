import { query } from "../../../tests/support/postgres.ts";
import { type Fault, times, type World } from "../fault.ts";

export const postgresCrash: Fault = {
  id: "postgres-crash",
  title: "Postgres is stopped at once (-m immediate) and is away for ten seconds",
  // Listeners come back at the latest after listenerRetryMostMs.
  recoveryMs: 15_000,
  plan: (random, seconds) => {
    const awayMs = Math.min(10, seconds) * 1_000;
    return times(Math.max(1, seconds / 20)).flatMap((index) => {
      const atMs = index * (awayMs + 5_000) + random.between(0, 1_000);
      return [
        { atMs, what: "stop Postgres", act: ({ postgres }: World) => postgres.crash() },
        { atMs: atMs + awayMs, what: "start it again", act: ({ postgres }: World) => postgres.start() },
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

export const slowDisk: Fault = {
  id: "slow-disk",
  title: "each flush of Postgres' log takes 100 ms",
  recoveryMs: 15_000,
  prepare: () => ({ postgres: { settings: { fsync: "on", commit_siblings: "0" } } }),
  plan: (_random, seconds) => [
    { atMs: 0, what: "flushes take 100 ms", act: (world) => configure(world, "commit_delay", "100000") },
    {
      atMs: seconds * 1_000,
      what: "flushes are quick",
      act: (world) => configure(world, "commit_delay", "0"),
    },
  ],
};

export const poolExhausted: Fault = {
  id: "pool-exhausted",
  title: "all connections of the pools wait for a lock that somebody holds, then Postgres has none left",
  recoveryMs: 20_000,
  prepare: () => ({ env: { DATABASE_POOL_SIZE: "3" } }),
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
        act: ({ postgres }) => takeConnections(postgres.url, 3_000),
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
      act: ({ roads }) => roads[index]?.swallow(),
    })),
};

async function killSending({ postgres, note }: World): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const [found] = await query(
      postgres.url,
      `SELECT pid FROM pg_stat_activity
       WHERE datname = current_database() AND state = 'active' AND query LIKE '%send_message%'
         AND pid <> pg_backend_pid() LIMIT 1`,
    ).catch(() => []);
    if (!found) continue;
    process.kill(found.pid, "SIGKILL");
    note(`killed backend ${found.pid}`);
    return;
  }
  throw new Error("no backend was sending");
}

async function configure({ postgres }: World, name: string, value: string): Promise<void> {
  await query(postgres.url, `ALTER SYSTEM SET ${name} = '${value}'`);
  await query(postgres.url, "SELECT pg_reload_conf()");
}

/** For so long nobody reads or writes a membership. */
async function holdLock(url: string, ms: number): Promise<void> {
  await query(
    url,
    `BEGIN; LOCK TABLE members IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(${ms / 1_000}); COMMIT`,
  );
}

/** Connects until Postgres refuses, ends everybody else's connections, and takes those too. */
async function takeConnections(url: string, ms: number): Promise<void> {
  const until = Date.now() + ms;
  const taken: Promise<unknown>[] = [];
  while (Date.now() < until) {
    const left = (until - Date.now()) / 1_000;
    const others = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid <> pg_backend_pid() AND query NOT LIKE '%pg_sleep%' AND backend_type = 'client backend'`;
    const batch = times(20).map(() => query(url, `SELECT pg_sleep(${left})`).catch(() => null));
    taken.push(...batch);
    await query(url, others).catch(() => null);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await Promise.all(taken);
}
