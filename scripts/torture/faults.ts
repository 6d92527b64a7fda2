import type { Fault } from "./fault.ts";
import { instanceKilled, instancePaused, rollingRestart } from "./faults/instances.ts";
import {
  listenerBlackHoled,
  listenerStopped,
  listenerTerminated,
  listenerUnlistened,
} from "./faults/listener.ts";
import {
  connectionsSilent,
  killedAtCommit,
  poolExhausted,
  postgresCrash,
  slowDisk,
} from "./faults/postgres.ts";

/** Everything that `npm run torture` does to the server. */
export const faults: readonly Fault[] = [
  listenerTerminated,
  listenerUnlistened,
  listenerBlackHoled,
  listenerStopped,
  postgresCrash,
  killedAtCommit,
  slowDisk,
  poolExhausted,
  connectionsSilent,
  instanceKilled,
  rollingRestart,
  instancePaused,
];
