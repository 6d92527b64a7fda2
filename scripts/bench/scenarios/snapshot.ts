import { withClient } from "../postgres.ts";
import { parley } from "../systems/parley.ts";
import { type Beside, describeRooms, measureRooms, roomColumns } from "./rooms.ts";
import type { Scenario } from "./scenario.ts";

export const snapshot: Scenario = {
  id: "snapshot",
  title: "Rooms while an old snapshot is open",
  description: ({ sizes }) =>
    `${describeRooms(sizes)} Sent by socket for ${sizes.snapshotMs / 1_000} s, beside a REPEATABLE READ ` +
    "transaction that is open all the time, as that of a backup is.",
  runs: 1,
  columns: [
    ...roomColumns,
    { title: "first quarter", metric: "first_quarter", digits: 0 },
    { title: "last quarter", metric: "last_quarter", digits: 0 },
  ],
  variants: () => [
    {
      id: "without",
      title: "Parley",
      system: parley.id,
      measure: (bench) => measureRooms(bench, parley, "socket", { windowMs: bench.sizes.snapshotMs }),
    },
    {
      id: "beside",
      title: "Parley, beside an old snapshot",
      system: parley.id,
      measure: (bench) =>
        measureRooms(bench, parley, "socket", { windowMs: bench.sizes.snapshotMs, beside: besideSnapshot }),
    },
  ],
};

const besideSnapshot: Beside = ({ databaseUrl }, act) =>
  withClient(databaseUrl, async (client) => {
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    // The snapshot is taken by the first statement.
    await client.query("SELECT 1 FROM messages LIMIT 1");
    return act();
  });
