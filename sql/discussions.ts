import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { type Page, pageOf, pageRow } from "./page.ts";

/**
 * Creates a discussion with its first members, or finds the same one; see open_discussion() in sql/functions.
 */
export async function openDiscussion(
  db: Database,
  discussion: {
    kind: "direct" | "group";
    name: string | null;
    visibility: "private" | "public";
    creator_id: string;
    member_ids: readonly string[];
  },
) {
  return db.one(sql.type(z.object({ id: z.uuid(), created: z.boolean() }))`
    SELECT id, created FROM open_discussion(
      ${discussion.kind}, ${discussion.name}, ${discussion.visibility}, ${discussion.creator_id}::uuid,
      ${sql.array(discussion.member_ids, "uuid")})
  `);
}

/** A discussion for a reader, as JSON text; null if there is none or the reader may not see it. */
export async function findDiscussion(db: Database, id: string, readerId: string): Promise<string | null> {
  return db.maybeOneFirst(sql.type(z.object({ json: z.string() }))`
    SELECT discussion_json(d, ${readerId}::uuid) AS json FROM discussions AS d
    WHERE d.id = ${id}::uuid AND (d.visibility = 'public' OR EXISTS (
      SELECT FROM members AS m WHERE m.discussion_id = d.id AND m.user_id = ${readerId}::uuid))
  `);
}

/** A user's discussions, latest activity first: the last message, else the creation. Key: [activity, id]. */
export async function listDiscussions(
  db: Database,
  filter: { reader_id: string; after: readonly [string, string] | undefined; limit: number },
): Promise<Page> {
  const row = await db.one(sql.type(pageRow)`
    WITH page AS (
      SELECT id, active_at, row_number() OVER (ORDER BY active_at DESC, id DESC) AS place
      FROM (
        SELECT d.id, greatest(d.created_at, last.created_at) AS active_at
        FROM members AS m JOIN discussions AS d ON d.id = m.discussion_id
        LEFT JOIN LATERAL (
          SELECT x.created_at FROM messages AS x WHERE x.discussion_id = d.id ORDER BY x.seq DESC LIMIT 1
        ) AS last ON true
        WHERE m.user_id = ${filter.reader_id}::uuid
      ) AS mine
      WHERE ${filter.after?.[0] ?? null}::timestamptz IS NULL
        OR (active_at, id) < (${filter.after?.[0] ?? null}::timestamptz, ${filter.after?.[1] ?? null}::uuid)
      ORDER BY active_at DESC, id DESC LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      coalesce(string_agg(discussion_json(d, ${filter.reader_id}::uuid)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(
        max(active_at::text) FILTER (WHERE place = ${filter.limit}),
        max(id::text) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page JOIN discussions AS d USING (id)
  `);
  return pageOf(row);
}

/** Public groups by name; `query` is a part of the name. Key: [name, id]. */
export async function listPublicDiscussions(
  db: Database,
  filter: {
    reader_id: string;
    query: string | undefined;
    after: readonly [string, string] | undefined;
    limit: number;
  },
): Promise<Page> {
  const query = filter.query?.toLowerCase().replace(/[\\%_]/g, "\\$&") ?? "";
  const row = await db.one(sql.type(pageRow)`
    WITH page AS (
      SELECT id, sort_name, row_number() OVER (ORDER BY sort_name, id) AS place
      FROM (
        SELECT d.id, lower(coalesce(d.name, '')) COLLATE "C" AS sort_name
        FROM discussions AS d WHERE d.visibility = 'public'
      ) AS public
      WHERE sort_name LIKE ${`%${query}%`}
        AND (${filter.after?.[0] ?? null}::text IS NULL
          OR (sort_name, id)
            > (${filter.after?.[0] ?? null}::text COLLATE "C", ${filter.after?.[1] ?? null}::uuid))
      ORDER BY sort_name, id LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      coalesce(string_agg(discussion_json(d, ${filter.reader_id}::uuid)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(
        max(sort_name) FILTER (WHERE place = ${filter.limit}),
        max(id::text) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page JOIN discussions AS d USING (id)
  `);
  return pageOf(row);
}

const lockedRow = z.object({
  /** Whether the session of who wants the change still lives. */
  is_live: z.boolean(),
  kind: z.enum(["direct", "group"]),
  name: z.string().nullable(),
  visibility: z.enum(["private", "public"]),
  my_role: z.enum(["owner", "admin", "member"]).nullable(),
});

/**
 * Locks a discussion for a change by a session's user, before anything else of the transaction, and then, in
 * a statement of its own, reads what the right to the change depends on: the locking one sees the roles of
 * before its wait. Sends go on until lock_discussions().
 */
export async function lockDiscussion(
  db: Database,
  id: string,
  { user_id, session_id }: { user_id: string; session_id: string },
) {
  await db.query(sql.unsafe`SELECT FROM discussions WHERE id = ${id}::uuid FOR NO KEY UPDATE`);
  return db.maybeOne(sql.type(lockedRow)`
    SELECT d.kind, d.name, d.visibility, is_live(${session_id}::uuid, ${user_id}::uuid), (
      SELECT m.role FROM members AS m
      WHERE m.discussion_id = d.id AND m.user_id = ${user_id}::uuid) AS my_role
    FROM discussions AS d WHERE d.id = ${id}::uuid
  `);
}

/** Before a group changes: `added` and `removed` members, and the name that it will have. */
export async function setGroupIdentity(
  db: Database,
  id: string,
  change: { name: string | null; added?: readonly string[]; removed?: readonly string[] },
): Promise<void> {
  await db.query(sql.unsafe`
    SELECT set_group_identity(${id}::uuid, ${change.name}, ${sql.array(change.added ?? [], "uuid")},
      ${sql.array(change.removed ?? [], "uuid")})
  `);
}

export async function updateDiscussion(
  db: Database,
  id: string,
  discussion: { name: string | null; visibility: "private" | "public" },
): Promise<void> {
  await db.query(sql.unsafe`
    UPDATE discussions SET name = ${discussion.name}, visibility = ${discussion.visibility}
    WHERE id = ${id}::uuid
  `);
}

/**
 * Removes a discussion and its members, and tells them. Of its messages, and of what the log holds of it, at
 * most `most` rows go here, before the locks that others wait for; the rest is left to removeDeleted().
 */
export async function deleteDiscussion(db: Database, id: string, most: number): Promise<void> {
  await db.query(sql.unsafe`SELECT lock_discussions(array[${id}::uuid])`);
  await db.query(sql.unsafe`SELECT empty_discussion(${id}::uuid, ${most})`);
  await db.query(sql.unsafe`DELETE FROM discussions WHERE id = ${id}::uuid`);
}
