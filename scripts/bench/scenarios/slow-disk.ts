import { parley } from "../systems/parley.ts";
import { socketio } from "../systems/socketio.ts";
import type { System } from "../systems/system.ts";
import { wsNotify } from "../systems/ws-notify.ts";
import { describeRooms, measureRooms, roomColumns } from "./rooms.ts";
import { type Bench, type Outcome, type Scenario, variantPerSystem } from "./scenario.ts";

/** Each flush of the log waits for a millisecond. */
const slow = { commit_delay: "1000", commit_siblings: "0" };
const usual = { commit_delay: null, commit_siblings: null };

export const slowDisk: Scenario = {
  id: "slow-disk",
  title: "Rooms on a slow disk",
  description: ({ sizes, postgres }) =>
    `${describeRooms(sizes)} Sent by socket, with ${Object.entries(slow)
      .map((setting) => setting.join(" = "))
      .join(", ")}${postgres.own ? "" : " (not here: this Postgres is not ours to set)"}.`,
  columns: roomColumns,
  variants: () => variantPerSystem([parley, socketio, wsNotify], measure),
};

async function measure(bench: Bench, system: System): Promise<Outcome> {
  const { postgres } = bench;
  if (!postgres.own) return measureRooms(bench, system, "socket");
  await postgres.configure(slow);
  try {
    const outcome = await measureRooms(bench, system, "socket");
    // What the goal is judged by: absent where the disk was not slow.
    outcome.metrics.slow_messages_per_second = outcome.metrics.messages_per_second ?? Number.NaN;
    return outcome;
  } finally {
    await postgres.configure(usual);
  }
}
