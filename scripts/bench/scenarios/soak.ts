import { manyRooms, range } from "../population.ts";
import { query } from "../postgres.ts";
import { type Stage, withStage } from "../stage.ts";
import { parley } from "../systems/parley.ts";
import { readPrivateBytes, readResidentBytes } from "../usage.ts";
import { describeRooms, measureRooms } from "./rooms.ts";
import { type Bench, type Column, loadOutcome, type Outcome, type Scenario } from "./scenario.ts";

/** So that the log is pruned for two thirds of the time. */
const retentionPart = 1 / 3;
const samples = 60;
const megabyte = 1024 * 1024;

const columns: Column[] = [
  { title: "messages/s", metric: "messages_per_second", digits: 0 },
  { title: "answer p99 ms", metric: "p99_ms", digits: 1 },
  { title: "Node MB", metric: "node_megabytes", digits: 0 },
  { title: "last", metric: "node_megabytes_last", digits: 0 },
  { title: "Postgres MB", metric: "postgres_megabytes", digits: 0 },
  { title: "last", metric: "postgres_megabytes_last", digits: 0 },
  { title: "bytes per message", metric: "message_bytes", digits: 0 },
  { title: "last", metric: "message_bytes_last", digits: 0 },
];

export const soak: Scenario = {
  id: "soak",
  title: "Soak",
  description: ({ sizes }) =>
    `${describeRooms(sizes)} Sent by socket for ${sizes.soakMs / 60_000} minutes at half of what a short ` +
    "run reached, while the log is pruned of what is older than a third of that time. Means over the " +
    "second and the last third: resident memory of Node, private memory of all of Postgres, and what a " +
    "message takes on disk with its indexes.",
  onDemand: true,
  runs: 1,
  columns,
  variants: () => [{ id: "parley", title: parley.title, system: parley.id, measure: measureSoak }],
};

async function measureSoak(bench: Bench): Promise<Outcome> {
  const short = await measureRooms(bench, parley, "socket");
  const rate = Math.max(1, (short.metrics.messages_per_second ?? 0) / 2);
  const { rooms, inFlight } = bench.sizes.rooms;
  const population = manyRooms(rooms, 2);
  const members = range(population.people);
  const retentionDays = (bench.sizes.soakMs * retentionPart) / 86_400_000;
  const env = { EVENT_RETENTION_DAYS: `${retentionDays}` };
  return withStage(bench.postgres, parley, population, { env }, async (stage) => {
    await stage.open({
      connections: members.map((person) => ({ person, room: null, format: "ws" })),
      senders: members.map((person) => {
        return { person, room: Math.floor(person / 2), connection: person, heardBy: person };
      }),
    });
    const { warmUpMs, sizes } = bench;
    const sampling = sample(bench, stage);
    const result = await stage.load({
      inFlight,
      rate,
      timed: "answer",
      restPorts: [],
      warmUpMs,
      windowMs: sizes.soakMs,
    });
    const outcome = loadOutcome(result, await stage.judge(), true);
    outcome.problems.push(...short.problems);
    Object.assign(outcome.metrics, summarize(await sampling));
    return outcome;
  });
}

type Sample = Record<"node_megabytes" | "postgres_megabytes" | "message_bytes", number>;

/** Looks at memory and tables, equally often in each third of the time. */
async function sample(
  { postgres, sizes, warmUpMs }: Bench,
  { running, databaseUrl }: Stage,
): Promise<Sample[]> {
  const taken: Sample[] = [];
  await wait(warmUpMs);
  for (let count = 0; count < samples; count++) {
    await wait(sizes.soakMs / samples);
    const [root = 0] = postgres.processes;
    const [disk] = await query<{ message: number }>(
      databaseUrl,
      `SELECT pg_total_relation_size('messages') / greatest(1, (SELECT sum(last.seq) FROM discussions AS d
           CROSS JOIN LATERAL (SELECT m.seq FROM messages AS m WHERE m.discussion_id = d.id
             ORDER BY m.seq DESC LIMIT 1) AS last))::float8 AS message`,
    );
    taken.push({
      node_megabytes: readResidentBytes(running.pids[0] ?? 0) / megabyte,
      postgres_megabytes: readPrivateBytes(root) / megabyte,
      message_bytes: disk?.message ?? Number.NaN,
    });
  }
  return taken;
}

function summarize(taken: Sample[]): Record<string, number> {
  const third = Math.floor(taken.length / 3);
  const metrics: Record<string, number> = {};
  for (const name of Object.keys(taken[0] ?? {}) as (keyof Sample)[]) {
    metrics[name] = mean(taken.slice(third, 2 * third).map((one) => one[name]));
    metrics[`${name}_last`] = mean(taken.slice(-third).map((one) => one[name]));
  }
  return metrics;
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
