import type { LogRow, Subscription } from "./history.ts";

const internal = new Set(["member.enrolled", "session.revoked", "event.erased"]);
const joining = new Set(["member.enrolled", "member.added"]);
export const leaving = new Set(["member.removed", "discussion.deleted"]);
/** With a user_id they are for that person alone. */
const personal = new Set(["read.updated", "discussion.deleted"]);

/** A row of the log that a subscription has to hear. */
export interface ExpectedRow extends LogRow {
  /**
   * It tells of a message that was edited when the person was no member any more. The log tells messages as
   * they are now, and what was written then is not for a former member, so a replay may leave it out.
   */
  mayBeWithheld: boolean;
}

/**
 * What a subscription has to hear of the log after a position: the rules of the contract, once more. `log`
 * begins with the first event that ever was, as only so is it known who was a member when.
 */
export function expectedOf(
  log: readonly LogRow[],
  { user_id, discussion_id }: Pick<Subscription, "user_id" | "discussion_id">,
  after: number,
): ExpectedRow[] {
  const inside = new Set<string>();
  const expected: ExpectedRow[] = [];
  const told = new Map<string, ExpectedRow[]>();
  for (const row of log) {
    const isOwn = row.user_id === user_id;
    if (isOwn && joining.has(row.type)) inside.add(row.discussion_id);
    const isCovered = discussion_id === null || discussion_id === row.discussion_id;
    const isTold = !internal.has(row.type) && (isOwn || row.user_id === "" || !personal.has(row.type));
    const message = `${row.discussion_id} ${row.seq}`;
    if (row.type === "message.updated" && !inside.has(row.discussion_id)) {
      for (const earlier of told.get(message) ?? []) earlier.mayBeWithheld = true;
    }
    if (isCovered && isTold && inside.has(row.discussion_id) && row.position > after) {
      const seen = { ...row, mayBeWithheld: false };
      expected.push(seen);
      if (row.type.startsWith("message.")) told.set(message, [...(told.get(message) ?? []), seen]);
    }
    if (isOwn && leaving.has(row.type)) inside.delete(row.discussion_id);
  }
  return expected;
}

export function positionOf(cursor: string): number {
  return Number(cursor.slice(cursor.lastIndexOf(".") + 1));
}

export function epochOf(cursor: string): string {
  return cursor.slice(0, cursor.lastIndexOf("."));
}
