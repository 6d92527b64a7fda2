import { pino } from "pino";
import { complain } from "./complaint.ts";
import { readConfig } from "./config.ts";
import { prepareGround } from "./ground.ts";
import { limits } from "./limits.ts";
import { startParley } from "./parley.ts";

/** The program: starts everything, says where, and stops in order on SIGTERM or SIGINT. */
async function main(): Promise<void> {
  const config = readConfig(process.env);
  const log = pino({ level: config.logLevel }, pino.destination({ fd: 2, sync: false }));
  const ground = await prepareGround(config, log);
  const parley = await startParley(config, ground, log);
  console.log(`Parley listens on ${parley.url}`);

  let stopping = false;
  const stop = async (signal: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, "stopping");
    setTimeout(() => process.exit(1), limits.shutdownMs).unref();
    await parley.close();
    await ground.stop();
    log.flush();
    process.exit(0);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

main().catch(complain);
