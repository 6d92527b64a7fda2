import { manyRooms, range } from "../population.ts";
import { type Stage, withStage } from "../stage.ts";
import { parley } from "../systems/parley.ts";
import { httpPlain, wsTick } from "../systems/plain.ts";
import { socketio } from "../systems/socketio.ts";
import type { System } from "../systems/system.ts";
import { readResidentBytes } from "../usage.ts";
import type { Bench, Outcome, Scenario } from "./scenario.ts";

/** Of the connections: opened before the measurement, so that what is made once is there already. */
const firstPart = 0.1;
const settleLimitMs = 10_000;
const settleStepMs = 200;
/** Memory has settled when so many looks in a row found no less of it. */
const settledLooks = 5;

export const idle: Scenario = {
  id: "idle",
  title: "Idle connections",
  description: ({ sizes: { idle } }) =>
    `${idle.sockets} WebSockets, or ${idle.streams} event streams, on which nothing happens: resident ` +
    "memory of the server after garbage collection, for each of them beyond the first tenth. Each belongs " +
    "to another person, in a discussion of 2.",
  columns: [
    { title: "KB per connection", metric: "kilobytes_per_connection", digits: 1, range: true },
    { title: "MB with a tenth", metric: "megabytes_before", digits: 1 },
    { title: "MB with all", metric: "megabytes_after", digits: 1 },
    { title: "connections", metric: "connections", digits: 0 },
  ],
  variants: ({ idle }) => [
    variant(parley, "ws", idle.sockets),
    variant(wsTick, "ws", idle.sockets),
    variant(socketio, "ws", idle.sockets),
    variant(parley, "sse", idle.streams),
    variant(httpPlain, "sse", idle.streams),
  ],
};

function variant(system: System, format: "ws" | "sse", count: number) {
  const title = system === wsTick ? "ws alone" : system.title;
  return {
    id: `${system.id}-${format}`,
    title: `${title}, ${format === "ws" ? "WebSocket" : "event stream"}`,
    system: system.id,
    measure: (bench: Bench) => measure(bench, system, format, count),
  };
}

function measure({ postgres }: Bench, system: System, format: "ws" | "sse", count: number): Promise<Outcome> {
  return withStage(postgres, system, manyRooms(count / 2, 2), { collectable: true }, async (stage) => {
    const first = Math.ceil(count * firstPart);
    await open(stage, format, 0, first);
    const before = await settledBytes(stage);
    await open(stage, format, first, count);
    const after = await settledBytes(stage);
    const { problems } = await stage.judge();
    return {
      metrics: {
        kilobytes_per_connection: (after - before) / (count - first) / 1_024,
        megabytes_before: before / 2 ** 20,
        megabytes_after: after / 2 ** 20,
        connections: count,
      },
      problems,
    };
  });
}

async function open(stage: Stage, format: "ws" | "sse", from: number, to: number): Promise<void> {
  const people = range(to).slice(from);
  const connections = people.map((person) => ({ person, room: null, format }));
  await stage.open({ connections, senders: [] });
}

/** The server's resident memory once garbage collection finds no more to free. */
async function settledBytes({ running }: Stage): Promise<number> {
  const [pid = 0] = running.pids;
  let lowest = Number.POSITIVE_INFINITY;
  let looks = 0;
  for (const deadline = Date.now() + settleLimitMs; looks < settledLooks && Date.now() < deadline; ) {
    process.kill(pid, "SIGUSR2");
    await new Promise((resolve) => setTimeout(resolve, settleStepMs));
    const bytes = readResidentBytes(pid);
    looks = bytes < lowest * 0.998 ? 0 : looks + 1;
    lowest = Math.min(lowest, bytes);
  }
  return lowest;
}
