import { type Act, type ActResult, deleteMessage, editMessage, setReaction } from "../../sql/changes.ts";
import type { Pool } from "../../sql/database.ts";
import { Failure, fail } from "../errors.ts";
import { limits } from "../limits.ts";

/**
 * Replaces the content of one's own message and gives it as JSON text. Throws session_revoked,
 * discussion_not_found, not_a_member, message_not_found, forbidden, message_deleted, blocked.
 */
export async function edit(pool: Pool, act: Act, content: string): Promise<string> {
  return accepted(await editMessage(pool, act, content));
}

/**
 * Deletes a message: its sender, admins and owners may. Throws session_revoked, discussion_not_found,
 * not_a_member, message_not_found, forbidden.
 */
export async function remove(pool: Pool, act: Act): Promise<void> {
  accepted(await deleteMessage(pool, act));
}

/**
 * Adds one's reaction or takes it back. Throws session_revoked, discussion_not_found, not_a_member,
 * message_not_found, message_deleted, blocked, too_many_reactions.
 */
export async function react(pool: Pool, act: Act, emoji: string, present: boolean): Promise<void> {
  const most = { kinds: limits.reactionKinds, all: limits.reactionsPerMessage };
  accepted(await setReaction(pool, act, { emoji, present }, most));
}

function accepted(result: ActResult): string {
  if ("json" in result) return result.json;
  if (result.code === "content_required") {
    const fields = [{ path: "content", message: "may be empty only with attachments" }];
    throw new Failure("invalid_request", "content: may be empty only with attachments", { fields });
  }
  return fail(result.code);
}
