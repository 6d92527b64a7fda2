import { manyRooms, range } from "../population.ts";
import { type BenchPostgres, query } from "../postgres.ts";
import { type Stage, withStage } from "../stage.ts";
import { parley } from "../systems/parley.ts";
import { type Bench, cpuColumns, type Outcome, percentile, type Scenario } from "./scenario.ts";

export const storm: Scenario = {
  id: "storm",
  title: "Reconnect storm",
  description: ({ sizes: { storm } }) =>
    `${storm.rooms * storm.members} clients in ${storm.rooms} discussions connect at once over ` +
    `WebSockets, each ${storm.behind} messages behind: from connect() to having them all and being live.`,
  columns: [
    { title: "p50 ms", metric: "p50_ms", digits: 0 },
    { title: "p99 ms", metric: "p99_ms", digits: 0, range: true },
    { title: "last ms", metric: "last_ms", digits: 0 },
    { title: "reads of the log", metric: "log_queries", digits: 0, range: true },
    { title: "statements in all", metric: "queries", digits: 0 },
    ...cpuColumns,
  ],
  variants: () => [
    { id: "parley", title: "Parley", system: parley.id, measure: (bench) => withStatistics(bench, measure) },
  ],
};

async function measure(bench: Bench, hasStatistics: boolean): Promise<Outcome> {
  const { rooms, members, behind } = bench.sizes.storm;
  return withStage(bench.postgres, parley, manyRooms(rooms, members), {}, async (stage) => {
    const since = await readCursor(stage);
    const written = await fill(stage, behind);
    if (written.length > 0) return { metrics: {}, problems: written };
    if (hasStatistics) await query(stage.databaseUrl, "CREATE EXTENSION pg_stat_statements");
    if (hasStatistics) await query(stage.databaseUrl, "SELECT pg_stat_statements_reset()");
    const { readyMs, seconds, cpu } = await stage.open({
      connections: range(rooms * members).map((person) => ({ person, room: null, format: "ws", since })),
      senders: sendersOf(stage),
      atOnce: Number.POSITIVE_INFINITY,
      backlog: behind,
    });
    const counts = hasStatistics
      ? await countStatements(stage.databaseUrl)
      : { log: Number.NaN, all: Number.NaN };
    const { problems } = await stage.judge();
    readyMs.sort((a, b) => a - b);
    return {
      metrics: {
        p50_ms: percentile(readyMs, 0.5),
        p99_ms: percentile(readyMs, 0.99),
        last_ms: percentile(readyMs, 1),
        server_cores: cpu.server / seconds,
        postgres_cores: cpu.postgres / seconds,
        generator_cores: cpu.generator / seconds,
        log_queries: counts.log,
        queries: counts.all,
      },
      problems,
    };
  });
}

/** The end of the log as everybody saw it before they went away. */
async function readCursor({ running, people, roomIds }: Stage): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${running.ports[0]}/api/v1/discussions/${roomIds[0]}`, {
    headers: { authorization: `Bearer ${people[0]?.token}` },
  });
  return ((await response.json()) as { cursor: string }).cursor;
}

/** One member of each discussion sends through the server while nobody else is there. */
async function fill(stage: Stage, behind: number): Promise<string[]> {
  const senders = sendersOf(stage);
  await stage.open({
    connections: senders.map(({ person }) => ({ person, room: null, format: "ws" })),
    senders: senders.map((sender, connection) => ({ ...sender, connection, heardBy: connection })),
  });
  await stage.fill({ perSender: behind, inFlight: senders.length });
  const { problems } = await stage.judge();
  await stage.close();
  return problems;
}

function sendersOf({ population }: Stage) {
  return population.rooms.map(([person = 0], room) => ({ person, room, connection: null, heardBy: 0 }));
}

/** With statistics of statements, if this Postgres has them or may be told to. */
async function withStatistics(
  bench: Bench,
  act: (bench: Bench, hasStatistics: boolean) => Promise<Outcome>,
): Promise<Outcome> {
  const { postgres } = bench;
  if (!postgres.own) return act(bench, false);
  await preload(postgres, "'pg_stat_statements'");
  try {
    return await act(bench, true);
  } finally {
    await preload(postgres, null);
  }
}

function preload(postgres: BenchPostgres, libraries: string | null): Promise<void> {
  return postgres.configure({ shared_preload_libraries: libraries }, true);
}

/** Reads of the log are those that fetch what happened; where it ends is asked by each stream's opening. */
async function countStatements(url: string): Promise<{ log: number; all: number }> {
  const [row] = await query<{ log: number; all: number }>(
    url,
    `SELECT
       coalesce(sum(calls) FILTER (WHERE query ~ '\\mevents\\M' AND query ~ '\\me\\.data\\M'), 0)::int AS log,
       coalesce(sum(calls), 0)::int AS all
     FROM pg_stat_statements
     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND query NOT LIKE '%pg_stat_statements%'`,
  );
  return row ?? { log: Number.NaN, all: Number.NaN };
}
