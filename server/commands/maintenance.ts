import type { Logger } from "pino";
import type { Pool } from "../../sql/database.ts";
import { pruneEvents } from "../../sql/log.ts";
import { pruneRateLimits } from "../../sql/rate-limits.ts";
import { pruneSessions } from "../../sql/sessions.ts";
import { limits } from "../limits.ts";
import { type AttachmentParts, removeForgotten, removeOrphans } from "./attachments.ts";
import type { Removals } from "./removals.ts";

/**
 * Removes, about once a minute, what nobody may use any more: old events, ended sessions, used-up tokens,
 * attachments that were never sent and the bytes of those that are gone, what deleted discussions left.
 * Every instance does it; the statements are harmless side by side. Stops when told.
 */
export function startMaintenance(
  {
    pool,
    log,
    attachments,
    removals,
  }: { pool: Pool; log: Logger; attachments: AttachmentParts; removals: Removals },
  retentionDays: number,
): { stop(): void } {
  let timer: NodeJS.Timeout;
  const schedule = () => {
    timer = setTimeout(run, limits.maintenanceMs * (0.5 + Math.random()));
    timer.unref();
  };
  const prune = async (what: string, step: () => Promise<number>, full: number = limits.pruneRows) => {
    try {
      while ((await step()) >= full);
    } catch (error) {
      log.warn({ err: error, what }, "pruning failed");
    }
  };
  const run = async () => {
    removals.begin();
    await prune("sessions", () => pruneSessions(pool, limits.pruneRows));
    await prune("events", () => pruneEvents(pool, retentionDays, limits.pruneRows));
    await prune("rate limits", () => pruneRateLimits(pool, limits.pruneRows));
    await prune("orphans", () => removeOrphans(attachments), limits.removalsAtOnce);
    await prune("attachments", () => removeForgotten(attachments), limits.removalsAtOnce);
    schedule();
  };
  removals.begin();
  schedule();
  return { stop: () => clearTimeout(timer) };
}
