import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { type Page, pageOf, pageRow } from "./page.ts";

/** Blocks a user for another; false if there is no such user. What is so already stays so. */
export async function insertBlock(db: Database, blockerId: string, blockedId: string): Promise<boolean> {
  return db.oneFirst(sql.type(z.object({ is_there: z.boolean() }))`
    WITH blocked AS (
      SELECT id FROM users WHERE id = ${blockedId}::uuid AND erased_at IS NULL
    ), added AS (
      INSERT INTO blocks (blocker_id, blocked_id) SELECT ${blockerId}::uuid, id FROM blocked
      ON CONFLICT DO NOTHING
    )
    SELECT EXISTS (SELECT FROM blocked) AS is_there
  `);
}

export async function deleteBlock(db: Database, blockerId: string, blockedId: string): Promise<void> {
  await db.query(sql.unsafe`
    DELETE FROM blocks WHERE blocker_id = ${blockerId}::uuid AND blocked_id = ${blockedId}::uuid
  `);
}

/** Blocks by and of a user. */
export async function deleteBlocksOf(db: Database, userId: string): Promise<void> {
  await db.query(sql.unsafe`
    DELETE FROM blocks WHERE blocker_id = ${userId}::uuid OR blocked_id = ${userId}::uuid
  `);
}

/** Whom a user has blocked, the latest first. Key: [created_at, blocked_id]. */
export async function listBlocks(
  db: Database,
  filter: { blocker_id: string; after: readonly [string, string] | undefined; limit: number },
): Promise<Page> {
  const [createdAt, blockedId] = filter.after ?? [null, null];
  const row = await db.one(sql.type(pageRow)`
    WITH page AS (
      SELECT b.*, row_number() OVER (ORDER BY b.created_at DESC, b.blocked_id DESC) AS place
      FROM blocks AS b
      WHERE b.blocker_id = ${filter.blocker_id}::uuid
        AND (${createdAt}::timestamptz IS NULL
          OR (b.created_at, b.blocked_id) < (${createdAt}::timestamptz, ${blockedId}::uuid))
      ORDER BY b.created_at DESC, b.blocked_id DESC LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      coalesce(string_agg(user_json(u)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(
        max(p.created_at::text) FILTER (WHERE place = ${filter.limit}),
        max(p.blocked_id::text) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page AS p JOIN users AS u ON u.id = p.blocked_id
  `);
  return pageOf(row);
}
