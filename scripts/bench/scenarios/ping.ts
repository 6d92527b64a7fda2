import { oneRoom } from "../population.ts";
import { withStage } from "../stage.ts";
import { parley } from "../systems/parley.ts";
import { socketio } from "../systems/socketio.ts";
import type { System } from "../systems/system.ts";
import { wsNotify } from "../systems/ws-notify.ts";
import {
  type Bench,
  cpuColumns,
  loadOutcome,
  type Outcome,
  type Scenario,
  variantPerSystem,
} from "./scenario.ts";

export const ping: Scenario = {
  id: "ping",
  title: "Ping",
  description: () =>
    "One sender and one listener over WebSockets, one message at a time: from writing it to reading it at " +
    "the other end.",
  columns: [
    { title: "p50 ms", metric: "p50_ms", digits: 2, range: true },
    { title: "p99 ms", metric: "p99_ms", digits: 2, range: true },
    { title: "messages/s", metric: "messages_per_second", digits: 0 },
    ...cpuColumns,
  ],
  variants: () => variantPerSystem([parley, socketio, wsNotify], measure),
};

function measure({ postgres, warmUpMs, windowMs }: Bench, system: System): Promise<Outcome> {
  return withStage(postgres, system, oneRoom(2), {}, async (stage) => {
    await stage.open({
      connections: [0, 1].map((person) => ({ person, room: null, format: "ws" })),
      senders: [{ person: 0, room: 0, connection: 0, heardBy: 1 }],
    });
    const result = await stage.load({ inFlight: 1, timed: "hearing", restPorts: [], warmUpMs, windowMs });
    return loadOutcome(result, await stage.judge(), system === parley);
  });
}
