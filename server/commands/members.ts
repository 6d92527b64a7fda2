import type { DatabaseTransactionConnection } from "slonik";
import { inTransaction, type Pool } from "../../sql/database.ts";
import { deleteDiscussion, setGroupIdentity } from "../../sql/discussions.ts";
import {
  countOthers,
  deleteMember,
  findRole,
  findStanding,
  insertMembers,
  type Role,
  updateMute,
  updateRole,
} from "../../sql/members.ts";
import { fail } from "../errors.ts";
import { limits } from "../limits.ts";
import { type Actor, holdDiscussion, requireMember } from "./discussions.ts";
import type { Removals } from "./removals.ts";

/**
 * Joins a public group; nothing happens to who is a member. Throws session_revoked, discussion_not_found.
 */
export async function joinDiscussion(pool: Pool, actor: Actor, id: string): Promise<void> {
  await inTransaction(pool, async (transaction) => {
    const discussion = await holdDiscussion(transaction, id, actor);
    if (discussion?.my_role) return;
    if (discussion?.visibility !== "public") return fail("discussion_not_found");
    await setGroupIdentity(transaction, id, { name: discussion.name, added: [actor.user_id] });
    await insertMembers(transaction, id, [actor.user_id]);
  });
}

/**
 * Adds people to a group; every member may. Throws session_revoked, discussion_not_found, not_a_member,
 * direct_discussion, user_not_found.
 */
export async function addMembers(
  pool: Pool,
  actor: Actor,
  id: string,
  userIds: readonly string[],
): Promise<void> {
  await inTransaction(pool, async (transaction) => {
    const discussion = await lockGroup(transaction, id, actor);
    await setGroupIdentity(transaction, id, { name: discussion.name, added: userIds });
    await insertMembers(transaction, id, userIds);
  });
}

/**
 * Changes a role; owners may. Throws session_revoked, discussion_not_found, member_not_found, forbidden,
 * last_owner.
 */
export async function changeRole(
  pool: Pool,
  actor: Actor,
  id: string,
  userId: string,
  role: Role,
): Promise<void> {
  await inTransaction(pool, async (transaction) => {
    const discussion = await lockGroup(transaction, id, actor);
    const current = await findRole(transaction, id, userId);
    if (!current) return fail("member_not_found");
    if (discussion.my_role !== "owner") return fail("forbidden", "Only an owner may change roles");
    if (current === "owner" && role !== "owner") {
      const others = await countOthers(transaction, id, userId);
      if (others.owners === 0) fail("last_owner", "Make somebody else an owner first");
    }
    await updateRole(transaction, id, userId, role);
  });
}

/**
 * Removes a member, or lets a user leave; the last one to leave takes the group along. Admins may remove
 * members, owners everybody. Throws session_revoked, discussion_not_found, member_not_found, forbidden,
 * last_owner.
 */
export async function removeMember(
  { pool, removals }: { pool: Pool; removals: Removals },
  actor: Actor,
  id: string,
  userId: string,
): Promise<void> {
  const isDeleted = await inTransaction(pool, async (transaction) => {
    const discussion = await lockGroup(transaction, id, actor);
    const isOneself = actor.user_id === userId;
    const role = isOneself ? discussion.my_role : await findRole(transaction, id, userId);
    if (!role) return fail("member_not_found");
    if (!isOneself && !mayRemove(discussion.my_role, role)) {
      fail("forbidden", "Admins may remove members; owners may remove everybody");
    }
    const others = await countOthers(transaction, id, userId);
    if (others.members === 0) {
      await deleteDiscussion(transaction, id, limits.removalStep);
      return true;
    }
    if (role === "owner" && others.owners === 0) fail("last_owner", "Make somebody else an owner first");
    await setGroupIdentity(transaction, id, { name: discussion.name, removed: [userId] });
    await deleteMember(transaction, id, userId);
    return false;
  });
  if (isDeleted) removals.begin();
}

/** Asks for no notifications until then; null: for all again. Throws discussion_not_found, not_a_member. */
export async function mute(pool: Pool, userId: string, id: string, until: string | null): Promise<void> {
  if (await updateMute(pool, id, userId, until)) return;
  const standing = await findStanding(pool, id, userId);
  fail(standing === "visitor" ? "not_a_member" : "discussion_not_found");
}

function mayRemove(actor: Role, target: Role): boolean {
  return actor === "owner" || (actor === "admin" && target === "member");
}

async function lockGroup(transaction: DatabaseTransactionConnection, id: string, actor: Actor) {
  const discussion = await holdDiscussion(transaction, id, actor);
  const role = requireMember(discussion);
  if (discussion?.kind !== "group")
    return fail("direct_discussion", "The members of a direct discussion never change");
  return { ...discussion, my_role: role };
}
