import { oneRoom, range } from "../population.ts";
import { withStage } from "../stage.ts";
import { parley } from "../systems/parley.ts";
import { wsFrame, wsTick } from "../systems/plain.ts";
import { socketio } from "../systems/socketio.ts";
import type { System } from "../systems/system.ts";
import { wsNotify } from "../systems/ws-notify.ts";
import { type Bench, cpuColumns, loadOutcome, type Outcome, type Scenario } from "./scenario.ts";

export const fanOut: Scenario = {
  id: "fan-out",
  title: "Fan-out",
  description: ({ sizes: { fanOut } }) =>
    `One discussion of ${fanOut.subscribers} subscribers and ${fanOut.senders} senders; each sender has ` +
    "one message in flight, sends over a WebSocket, and hears what the others hear.",
  columns: [
    { title: "deliveries/s", metric: "deliveries_per_second", digits: 0, range: true },
    { title: "messages/s", metric: "messages_per_second", digits: 0 },
    { title: "server µs per delivery", metric: "server_us_per_delivery", digits: 2 },
    ...cpuColumns,
    { title: "generator µs per delivery", metric: "generator_us_per_delivery", digits: 2 },
  ],
  variants: () => [
    variant(parley, "ws"),
    variant(parley, "sse"),
    variant(socketio, "ws"),
    variant(wsNotify, "ws"),
    variant(wsFrame, "ws"),
    variant(wsTick, "ws"),
  ],
};

function variant(system: System, format: "ws" | "sse") {
  return {
    id: format === "ws" ? system.id : `${system.id}-${format}`,
    title: system === parley ? `${system.title}, ${format === "ws" ? "WebSocket" : "SSE"}` : system.title,
    system: system.id,
    measure: (bench: Bench) => measure(bench, system, format),
  };
}

function measure(bench: Bench, system: System, format: "ws" | "sse"): Promise<Outcome> {
  const { subscribers, senders } = bench.sizes.fanOut;
  const population = oneRoom(senders + subscribers);
  return withStage(bench.postgres, system, population, {}, async (stage) => {
    const connections = range(senders + subscribers).map((person) => {
      return { person, room: 0, format: person < senders ? ("ws" as const) : format };
    });
    await stage.open({
      connections,
      senders: range(senders).map((person) => ({ person, room: 0, connection: person, heardBy: person })),
    });
    const { warmUpMs, windowMs } = bench;
    const result = await stage.load({
      inFlight: senders,
      timed: "answer",
      restPorts: [],
      warmUpMs,
      windowMs,
    });
    return loadOutcome(result, await stage.judge(), system === parley);
  });
}
