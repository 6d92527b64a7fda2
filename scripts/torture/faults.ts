import type { Fault } from "./fault.ts";
import { clientsInAndOut, everybodyCut, framesCut } from "./faults/clients.ts";
import { clockOfInstances, clockOfPostgres } from "./faults/clock.ts";
import { diskFull } from "./faults/disk.ts";
import { diskFailing } from "./faults/disk-errors.ts";
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
import { logPruned } from "./faults/pruned.ts";
import { readersStalled } from "./faults/readers.ts";
import { backupRestored } from "./faults/restored.ts";
import { migrated, twoVersions } from "./faults/upgrades.ts";

/** Everything that `npm run torture` does to the server. */
export const faults: readonly Fault[] = [
  listenerTerminated,
  listenerUnlistened,
  listenerBlackHoled,
  listenerStopped,
  postgresCrash,
  killedAtCommit,
  slowDisk,
  diskFull,
  diskFailing,
  poolExhausted,
  connectionsSilent,
  instanceKilled,
  rollingRestart,
  instancePaused,
  clockOfInstances,
  clockOfPostgres,
  clientsInAndOut,
  everybodyCut,
  framesCut,
  readersStalled,
  logPruned,
  backupRestored,
  migrated,
  twoVersions,
];
