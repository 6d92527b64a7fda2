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

/** How far somebody has read, and the session that says so. */
export interface ReadMark {
  session_id: string;
  user_id: string;
  discussion_id: string;
  seq: number;
}

/** The mark and what is left unread as JSON text, or why it was refused. */
export type ReadAnswer = { json: string } | { code: z.infer<typeof readRefusal> };

const readRefusal = z.enum(["session_revoked", "discussion_not_found", "not_a_member"]);

/** Moves read marks; an answer for each, in order: JSON text or the code of a refusal. See mark_read(). */
export async function markRead(db: Database, marks: readonly ReadMark[]): Promise<ReadAnswer[]> {
  const column = (read: (mark: ReadMark) => string | number, type: string) =>
    sql.array(marks.map(read), type);
  const answers = await db.anyFirst(sql.type(z.object({ answer: z.string() }))`
    SELECT answer FROM mark_read(
      ${column((mark) => mark.session_id, "uuid")}, ${column((mark) => mark.user_id, "uuid")},
      ${column((mark) => mark.discussion_id, "uuid")}, ${column((mark) => mark.seq, "int8")})
  `);
  return answers.map((answer) =>
    answer.startsWith("{") ? { json: answer } : { code: readRefusal.parse(answer) },
  );
}

/** Sets until when a member does not want to be notified. False if not a member. */
export async function updateMute(
  db: Database,
  discussionId: string,
  userId: string,
  until: string | null,
): Promise<boolean> {
  const result = await db.query(sql.unsafe`
    UPDATE members SET muted_until = ${until}::timestamptz
    WHERE discussion_id = ${discussionId}::uuid AND user_id = ${userId}::uuid
  `);
  return result.rowCount > 0;
}

/** The members in the order of their joining, with the reader's standing. Key: [joined_at, user_id]. */
export async function listMembers(
  db: Database,
  filter: {
    discussion_id: string;
    reader_id: string;
    after: readonly [string, string] | undefined;
    limit: number;
  },
): Promise<{ standing: Standing | null; page: Page }> {
  const row = await db.one(sql.type(pageRow.extend(standingRow.shape))`
    WITH page AS (
      SELECT m.*, row_number() OVER (ORDER BY m.joined_at, m.user_id) AS place FROM members AS m
      WHERE m.discussion_id = ${filter.discussion_id}::uuid
        AND (${filter.after?.[0] ?? null}::timestamptz IS NULL OR (m.joined_at, m.user_id)
          > (${filter.after?.[0] ?? null}::timestamptz, ${filter.after?.[1] ?? null}::uuid))
      ORDER BY m.joined_at, m.user_id LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      standing(${filter.discussion_id}::uuid, ${filter.reader_id}::uuid) AS standing,
      coalesce(string_agg(member_json(m)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(
        max(p.joined_at::text) FILTER (WHERE place = ${filter.limit}),
        max(p.user_id::text) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page AS p JOIN members AS m USING (discussion_id, user_id)
  `);
  return { standing: row.standing, page: pageOf(row) };
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
