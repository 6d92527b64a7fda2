import { manyRooms, range } from "../population.ts";
import { query } from "../postgres.ts";
import { type Stage, withStage } from "../stage.ts";
import { parley } from "../systems/parley.ts";
import { socketio } from "../systems/socketio.ts";
import type { System } from "../systems/system.ts";
import { wsNotify } from "../systems/ws-notify.ts";
import { insertLimit } from "./insert-limit.ts";
import { type Bench, type Column, cpuColumns, loadOutcome, type Outcome, type Scenario } from "./scenario.ts";

export const roomColumns: Column[] = [
  { title: "messages/s", metric: "messages_per_second", digits: 0, range: true },
  { title: "answer p50 ms", metric: "p50_ms", digits: 1 },
  { title: "answer p99 ms", metric: "p99_ms", digits: 1 },
  { title: "messages per commit", metric: "batch", digits: 1 },
  { title: "server µs per message", metric: "server_us_per_message", digits: 0 },
  { title: "Postgres µs per message", metric: "postgres_us_per_message", digits: 0 },
  ...cpuColumns,
];

export const rooms: Scenario = {
  id: "rooms",
  title: "Rooms",
  description: ({ sizes }) =>
    `${describeRooms(sizes)} All listen over WebSockets; durable messages per second, acknowledged.`,
  columns: roomColumns,
  variants: () => [
    roomVariant(parley, "socket"),
    roomVariant(parley, "rest"),
    roomVariant(socketio, "socket"),
    roomVariant(wsNotify, "socket"),
    insertLimit,
  ],
};

export function describeRooms({ rooms: { rooms, inFlight } }: Bench["sizes"]): string {
  return `${rooms} discussions of 2 members; ${inFlight} messages in flight in all, at most one per sender.`;
}

export type Way = "socket" | "rest";

function roomVariant(system: System, way: Way) {
  const sent = way === "rest" ? "sent by REST" : "sent by socket";
  return {
    id: way === "rest" ? `${system.id}-rest` : system.id,
    title: system === parley ? `${system.title}, ${sent}` : system.title,
    system: system.id,
    measure: (bench: Bench) => measureRooms(bench, system, way),
  };
}

/** What differs from the scenario's own load. */
interface RoomOptions {
  instances?: number;
  windowMs?: number;
  /** Runs something next to the load. */
  beside?: Beside;
  /** Connections of one more person, who is in some of the rooms. */
  watchers?: number;
}

export type Beside = <T>(stage: Stage, act: () => Promise<T>) => Promise<T>;

/** Few enough that hearing them costs nothing beside the rest. */
const watchedRooms = 20;

/** The load of this scenario on a fresh database. */
export function measureRooms(
  bench: Bench,
  system: System,
  way: Way,
  { instances = 1, windowMs = bench.windowMs, beside = (_, act) => act(), watchers = 0 }: RoomOptions = {},
): Promise<Outcome> {
  const { rooms, inFlight } = bench.sizes.rooms;
  const population = manyRooms(rooms, 2);
  const members = range(population.people);
  if (watchers > 0) {
    for (const room of population.rooms.slice(0, watchedRooms)) room.push(population.people);
    population.people++;
  }
  return withStage(bench.postgres, system, population, { instances }, async (stage) => {
    const listening = [...members, ...Array<number>(watchers).fill(members.length)];
    await stage.open({
      connections: listening.map((person) => ({ person, room: null, format: "ws" })),
      senders: members.map((person) => {
        return {
          person,
          room: Math.floor(person / 2),
          connection: way === "rest" ? null : person,
          heardBy: person,
        };
      }),
    });
    const restPorts = way === "rest" ? stage.running.ports : [];
    const { warmUpMs } = bench;
    const result = await beside(stage, () =>
      stage.load({ inFlight, timed: "answer", restPorts, warmUpMs, windowMs }),
    );
    const outcome = loadOutcome(result, await stage.judge(), system === parley);
    const quarter = Math.max(1, Math.floor(result.perSecond.length / 4));
    outcome.metrics.first_quarter = mean(result.perSecond.slice(0, quarter));
    outcome.metrics.last_quarter = mean(result.perSecond.slice(-quarter));
    outcome.metrics.batch = await readBatchSize(stage);
    await checkStored(stage, result.messagesInAll, outcome);
    return outcome;
  });
}

/**
 * How many messages a commit stored: rows by their inserting transaction, which every row carries. That is
 * exact, where Postgres' statistics lag behind and count other transactions too.
 */
async function readBatchSize({ databaseUrl }: Stage): Promise<number> {
  const [row] = await query<{ batch: number }>(
    databaseUrl,
    "SELECT count(*)::float8 / nullif(count(DISTINCT xmin::text), 0) AS batch FROM messages",
  );
  return row?.batch ?? Number.NaN;
}

/** What was acknowledged is there, and nothing else. */
async function checkStored({ databaseUrl }: Stage, acknowledged: number, outcome: Outcome): Promise<void> {
  const [row] = await query<{ count: number }>(databaseUrl, "SELECT count(*)::int AS count FROM messages");
  if (row?.count !== acknowledged) {
    outcome.problems.push(`${acknowledged} messages were acknowledged and ${row?.count} are stored`);
  }
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
