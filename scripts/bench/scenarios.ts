import { fanOut } from "./scenarios/fan-out.ts";
import { history } from "./scenarios/history.ts";
import { idle } from "./scenarios/idle.ts";
import { instances } from "./scenarios/instances.ts";
import { ping } from "./scenarios/ping.ts";
import { rooms } from "./scenarios/rooms.ts";
import type { Scenario } from "./scenarios/scenario.ts";
import { search } from "./scenarios/search.ts";
import { slowDisk } from "./scenarios/slow-disk.ts";
import { snapshot } from "./scenarios/snapshot.ts";
import { soak } from "./scenarios/soak.ts";
import { storm } from "./scenarios/storm.ts";

/** All scenarios, in the order in which they are run. */
export const scenarios: Scenario[] = [
  fanOut,
  rooms,
  snapshot,
  slowDisk,
  ping,
  idle,
  storm,
  history,
  search,
  instances,
  soak,
];
