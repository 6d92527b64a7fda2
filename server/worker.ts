import cluster, { type Worker } from "node:cluster";
import { once } from "node:events";
import { pino } from "pino";
import type { Complaining, Task } from "./cluster.ts";
import { complaintOf, endOnMistakes } from "./complaint.ts";
import { endOnSignals } from "./ending.ts";
import { limits } from "./limits.ts";
import { createLog } from "./log.ts";
import { startParley } from "./parley.ts";
import { createPeers } from "./peers.ts";

/** A write of so much (PIPE_BUF) to a pipe is never torn by what another process writes to it. */
const wholeWriteBytes = 4_096;

/**
 * The program of one of several equal processes; cluster.ts starts it. It reads no settings: all workers,
 * also those that come later, have those of the first process.
 */
async function main(worker: Worker): Promise<void> {
  endOnMistakes();
  const [{ config, ground }] = (await once(process, "message")) as [Task];
  const output = pino.destination({ fd: 2, sync: false, maxWrite: wholeWriteBytes });
  const log = createLog(config.logLevel, output);
  const parley = await startParley(config, ground, log, createPeers(worker));
  const end = endOnSignals(log, limits.shutdownMs, parley.close);
  worker.once("disconnect", () => {
    // The first process is gone. Unless this is said to be expected, Node exits at once, with all streams.
    worker.exitedAfterDisconnect = true;
    void end("the first process ended");
  });
}

if (!cluster.worker) throw new Error("worker.ts is started by cluster.ts");
const { worker } = cluster;
main(worker).catch((error) => {
  const complaining: Complaining = { complaint: complaintOf(error) };
  worker.send(complaining, () => process.exit(1));
});
