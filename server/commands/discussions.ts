import { type Database, inTransaction, type Pool } from "../../sql/database.ts";
import {
  deleteDiscussion,
  lockDiscussion,
  openDiscussion,
  setGroupIdentity,
  updateDiscussion,
} from "../../sql/discussions.ts";
import { fail } from "../errors.ts";
import { limits } from "../limits.ts";
import type { Removals } from "./removals.ts";

/**
 * Creates a one-to-one discussion (with oneself too), or finds the existing one. Throws user_not_found,
 * blocked.
 */
export async function createDirect(pool: Pool, creatorId: string, userId: string) {
  return inTransaction(pool, (transaction) =>
    openDiscussion(transaction, {
      kind: "direct",
      name: null,
      visibility: "private",
      creator_id: creatorId,
      member_ids: [userId],
    }),
  );
}

/** Creates a group, or finds the one of the same name and members. Throws user_not_found. */
export async function createGroup(
  pool: Pool,
  creatorId: string,
  group: { name: string | null; member_ids: readonly string[]; visibility: "private" | "public" },
) {
  return inTransaction(pool, (transaction) =>
    openDiscussion(transaction, { kind: "group", ...group, creator_id: creatorId }),
  );
}

/** Who acts: a user, by a session. */
export interface Actor {
  user_id: string;
  session_id: string;
}

/**
 * Changes a group's name or visibility. Throws session_revoked, discussion_not_found, not_a_member,
 * forbidden, direct_discussion.
 */
export async function changeDiscussion(
  pool: Pool,
  actor: Actor,
  id: string,
  changes: { name?: string | null | undefined; visibility?: "private" | "public" | undefined },
): Promise<void> {
  await inTransaction(pool, async (transaction) => {
    const discussion = await holdDiscussion(transaction, id, actor);
    const role = requireMember(discussion);
    if (role === "member" && discussion?.kind === "group")
      fail("forbidden", "Only owners and admins may do this");
    if (discussion?.kind !== "group")
      return fail("direct_discussion", "A direct discussion cannot be changed");
    const name = changes.name === undefined ? discussion.name : changes.name;
    const visibility = changes.visibility ?? discussion.visibility;
    if (name !== discussion.name) await setGroupIdentity(transaction, id, { name });
    await updateDiscussion(transaction, id, { name, visibility });
  });
}

/**
 * Deletes a group. Its messages are gone for everybody; those of a large one leave the database some time
 * later. Throws session_revoked, discussion_not_found, not_a_member, forbidden, direct_discussion.
 */
export async function removeDiscussion(
  { pool, removals }: { pool: Pool; removals: Removals },
  actor: Actor,
  id: string,
): Promise<void> {
  await inTransaction(pool, async (transaction) => {
    const discussion = await holdDiscussion(transaction, id, actor);
    const role = requireMember(discussion);
    if (discussion?.kind === "direct") fail("direct_discussion", "A direct discussion cannot be deleted");
    if (role !== "owner") fail("forbidden", "Only an owner may delete a discussion");
    await deleteDiscussion(transaction, id, limits.removalStep);
  });
  removals.begin();
}

type Locked = Awaited<ReturnType<typeof lockDiscussion>>;

/**
 * Locks a discussion for a change; null if there is none. That may take seconds, in which the session may
 * have been revoked: it is looked at again, with the role. Throws session_revoked.
 */
export async function holdDiscussion(db: Database, id: string, actor: Actor): Promise<Locked> {
  const discussion = await lockDiscussion(db, id, actor);
  return discussion?.is_live === false ? fail("session_revoked") : discussion;
}

/**
 * The role in a locked discussion. Throws discussion_not_found where there is nothing to see, else
 * not_a_member.
 */
export function requireMember(discussion: Locked): "owner" | "admin" | "member" {
  if (discussion?.my_role) return discussion.my_role;
  return fail(discussion?.visibility === "public" ? "not_a_member" : "discussion_not_found");
}
