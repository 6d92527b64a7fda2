import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { type Page, pageOf, pageRow } from "./page.ts";

export type Role = "owner" | "admin" | "member";

/**
 * What a user is to a discussion: its role, "visitor" to a public group, or null: there is nothing to see.
 */
export type Standing = Role | "visitor";

export const standingRow = z.object({ standing: z.enum(["owner", "admin", "member", "visitor"]).nullable() });

/**
 * Adds those who are not members yet; what was said before counts as read: nothing may be said between the
 * look at the last message and the joining. Violates members_user_id_fkey for an unknown user.
 */
export async function insertMembers(
  db: Database,
  discussionId: string,
  userIds: readonly string[],
): Promise<void> {
  await db.query(sql.unsafe`SELECT lock_discussions(array[${discussionId}::uuid])`);
  await db.query(sql.unsafe`
    INSERT INTO members (discussion_id, user_id, last_read_seq)
    SELECT ${discussionId}::uuid, id, last_seq(${discussionId}::uuid) FROM (
      SELECT DISTINCT unnest(${sql.array(userIds, "uuid")}) AS id ORDER BY id
    ) AS given
    -- Who is a member is left out here already: ON CONFLICT would wait for whoever moves that member's read
    -- mark, with the lock in hand that all sends to the discussion wait for.
    WHERE NOT EXISTS (
      SELECT FROM members AS m WHERE m.discussion_id = ${discussionId}::uuid AND m.user_id = id)
    ON CONFLICT DO NOTHING
  `);
}

export async function findRole(db: Database, discussionId: string, userId: string): Promise<Role | null> {
  return db.maybeOneFirst(sql.type(z.object({ role: z.enum(["owner", "admin", "member"]) }))`
    SELECT role FROM members WHERE discussion_id = ${discussionId}::uuid AND user_id = ${userId}::uuid
  `);
}

/** How many members and owners a discussion has besides this one. */
export async function countOthers(db: Database, discussionId: string, userId: string) {
  return db.one(sql.type(z.object({ members: z.number(), owners: z.number() }))`
    SELECT count(*) AS members, count(*) FILTER (WHERE role = 'owner') AS owners
    FROM members WHERE discussion_id = ${discussionId}::uuid AND user_id <> ${userId}::uuid
  `);
}

export async function updateRole(
  db: Database,
  discussionId: string,
  userId: string,
  role: Role,
): Promise<void> {
  await db.query(sql.unsafe`
    UPDATE members SET role = ${role}
    WHERE discussion_id = ${discussionId}::uuid AND user_id = ${userId}::uuid
  `);
}

export async function deleteMember(db: Database, discussionId: string, userId: string): Promise<void> {
  await db.query(sql.unsafe`
    DELETE FROM members WHERE discussion_id = ${discussionId}::uuid AND user_id = ${userId}::uuid
  `);
}

/**
 * Moves a member's read mark forward, never back and never beyond the last message. Null if not a member.
 */
export async function markRead(db: Database, discussionId: string, userId: string, seq: number) {
  const row = z.object({ last_read_seq: z.number(), unread_count: z.number() });
  const member = sql.fragment`discussion_id = ${discussionId}::uuid AND user_id = ${userId}::uuid`;
  await db.query(sql.unsafe`
    UPDATE members SET last_read_seq = least(${seq}::bigint, last_seq(discussion_id))
    WHERE ${member} AND least(${seq}::bigint, last_seq(discussion_id)) > effective_last_read_seq(members)
  `);
  return db.maybeOne(sql.type(row)`
    SELECT effective_last_read_seq(m) AS last_read_seq, unread_count(m) AS unread_count FROM members AS m
    WHERE ${member}
  `);
}

/** The members in the order of their joining. Key: [joined_at, user_id]. */
export async function listMembers(
  db: Database,
  filter: { discussion_id: string; after: readonly [string, string] | undefined; limit: number },
): Promise<Page> {
  const row = await db.one(sql.type(pageRow)`
    WITH page AS (
      SELECT m.*, row_number() OVER (ORDER BY m.joined_at, m.user_id) AS place FROM members AS m
      WHERE m.discussion_id = ${filter.discussion_id}::uuid
        AND (${filter.after?.[0] ?? null}::timestamptz IS NULL OR (m.joined_at, m.user_id)
          > (${filter.after?.[0] ?? null}::timestamptz, ${filter.after?.[1] ?? null}::uuid))
      ORDER BY m.joined_at, m.user_id LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      coalesce(string_agg(member_json(m)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(
        max(p.joined_at::text) FILTER (WHERE place = ${filter.limit}),
        max(p.user_id::text) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page AS p JOIN members AS m USING (discussion_id, user_id)
  `);
  return pageOf(row);
}

/** What the user is to the discussion. */
export async function findStanding(
  db: Database,
  discussionId: string,
  userId: string,
): Promise<Standing | null> {
  return db.oneFirst(
    sql.type(standingRow)`SELECT standing(${discussionId}::uuid, ${userId}::uuid) AS standing`,
  );
}
