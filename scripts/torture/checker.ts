/**
 * Judges what happened: was every promise kept, and did each subscriber hear exactly what the log holds for
 * it? Pure, and written without a look at how the server decides what a stream hears.
 */
import { Evidence } from "./evidence.ts";
import type { History, Truth } from "./history.ts";
import { Listening } from "./listening.ts";
import { checkPromises, checkStored } from "./stored.ts";
import type { Allowance, Violation } from "./violation.ts";

/** `eras`: all histories, in their order; more than one where backups were restored. */
export function check(
  history: History,
  eras: readonly Truth[],
  allowance: Allowance = { resets: [] },
): Violation[] {
  const evidence = new Evidence(history, eras, allowance);
  return [
    ...checkPromises(evidence),
    ...checkStored(evidence),
    ...history.subscriptions.flatMap((subscription) => new Listening(subscription, evidence).judge()),
  ];
}
