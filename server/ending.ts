import type { Logger } from "pino";

/**
 * Ends the process in good order, once, on SIGTERM or SIGINT or when the returned function is called: with
 * process.exitCode after `close`, or with 1 after `mostMs` milliseconds.
 */
export function endOnSignals(
  log: Logger,
  mostMs: number,
  close: () => Promise<void>,
): (reason: string) => Promise<void> {
  let ending = false;
  const end = async (reason: string) => {
    if (ending) return;
    ending = true;
    log.info({ reason }, "stopping");
    setTimeout(() => process.exit(1), mostMs).unref();
    await close();
    log.flush();
    process.exit();
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  return end;
}
