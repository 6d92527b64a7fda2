import { parley } from "../systems/parley.ts";
import { describeRooms, measureRooms, roomColumns } from "./rooms.ts";
import type { Scenario } from "./scenario.ts";

export const instances: Scenario = {
  id: "instances",
  title: "Instances",
  description: ({ sizes }) =>
    `${describeRooms(sizes)} Sent by socket; connections are spread over processes on one database, the ` +
    "two members of a discussion on different ones. Connections of one person to all of them must hear one " +
    "order.",
  columns: roomColumns,
  variants: (sizes) =>
    sizes.instances.map((count) => ({
      id: `parley-${count}`,
      title: `Parley, ${count} ${count === 1 ? "process" : "processes"}`,
      system: parley.id,
      measure: (bench) =>
        measureRooms(bench, parley, "socket", { instances: count, watchers: Math.max(...sizes.instances) }),
    })),
};
