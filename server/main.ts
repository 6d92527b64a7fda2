import { pino } from "pino";
import { startWorkers, workersEndMs } from "./cluster.ts";
import { complain, endOnMistakes } from "./complaint.ts";
import { readConfig } from "./config.ts";
import { endOnSignals } from "./ending.ts";
import { prepareGround } from "./ground.ts";
import { limits } from "./limits.ts";
import { createLog } from "./log.ts";
import { startParley } from "./parley.ts";

/** The program: starts everything, says where, and stops in order on SIGTERM or SIGINT. */
async function main(): Promise<void> {
  endOnMistakes();
  const config = readConfig(process.env);
  const log = createLog(config.logLevel, pino.destination({ fd: 2, sync: false }));
  const ground = await prepareGround(config, log);
  const alone = config.webConcurrency === 1;
  const parley = await (alone ? startParley : startWorkers)(config, ground, log);
  endOnSignals(log, alone ? limits.shutdownMs : workersEndMs, async () => {
    await parley.close();
    await ground.stop();
  });
  // Last: whoever reads it may send a signal.
  console.log(`Parley listens on ${parley.url}`);
}

main().catch(complain);
