import { z } from "zod";
import { type Database, sql } from "./database.ts";

/** Where the bytes of an attachment are; see server/storage. */
export const storageName = z.enum(["database", "folder", "bucket"]);
export type StorageName = z.infer<typeof storageName>;

const idRow = z.object({ id: z.uuid() });
const countRow = z.object({ count: z.number() });

/**
 * Gives the id of a new upload, and notes that its bytes are to be removed in so many minutes unless it has
 * come to its end.
 */
export async function beginUpload(db: Database, storage: StorageName, minutes: number): Promise<string> {
  return db.oneFirst(sql.type(idRow)`
    INSERT INTO attachment_removals (attachment_id, storage, due_at, uploading)
    VALUES (uuid7(), ${storage}, now() + ${minutes} * interval '1 minute', true)
    RETURNING attachment_id AS id
  `);
}

/** Takes back what beginUpload() noted; false if the bytes are being removed already. */
export async function keepUpload(db: Database, id: string): Promise<boolean> {
  const result = await db.query(sql.unsafe`
    DELETE FROM attachment_removals WHERE attachment_id = ${id}::uuid AND uploading
  `);
  return result.rowCount > 0;
}

/** An upload that is whole, of one user. Width and height are those of an image that can be shown. */
export interface NewAttachment {
  id: string;
  user_id: string;
  name: string;
  media_type: string;
  size: number;
  width: number | null;
  height: number | null;
  storage: StorageName;
}

/** Adds an attachment that is not sent yet, and gives its JSON text. */
export async function insertAttachment(db: Database, attachment: NewAttachment): Promise<string> {
  const { id, user_id, name, media_type, size, width, height, storage } = attachment;
  return db.oneFirst(sql.type(z.object({ json: z.string() }))`
    INSERT INTO attachments (id, user_id, name, media_type, size, width, height, storage)
    VALUES (${id}::uuid, ${user_id}::uuid, ${name}, ${media_type}, ${size}::bigint, ${width}::int,
      ${height}::int, ${storage})
    RETURNING attachment_json(attachments) AS json
  `);
}

export async function insertThumbnail(db: Database, id: string, image: Buffer): Promise<void> {
  await db.query(sql.unsafe`
    INSERT INTO attachment_thumbnails (attachment_id, image) VALUES (${id}::uuid, ${sql.binary(image)})
  `);
}

/** How many attachments a user has that were not sent yet, and of how many bytes. */
export async function countUnsent(db: Database, userId: string) {
  return db.one(sql.type(countRow.extend({ bytes: z.number() }))`
    SELECT count(*) AS count, coalesce(sum(size), 0)::bigint AS bytes FROM attachments
    WHERE user_id = ${userId}::uuid AND discussion_id IS NULL
  `);
}

const foundRow = z.object({
  id: z.uuid(),
  name: z.string(),
  media_type: z.string(),
  size: z.number(),
  width: z.number().nullable(),
  storage: storageName,
});
export type FoundAttachment = z.infer<typeof foundRow>;

/**
 * Whether `reader` may have an attachment: one's own, unless its discussion is deleted, or of a discussion
 * that one is a member of.
 */
function isReadable(readerId: string) {
  return sql.fragment`(
    (a.user_id = ${readerId}::uuid AND NOT EXISTS (
      SELECT FROM discussion_removals AS r WHERE r.discussion_id = a.discussion_id))
    OR EXISTS (
      SELECT FROM members AS m WHERE m.discussion_id = a.discussion_id AND m.user_id = ${readerId}::uuid)
  )`;
}

/** What the reader may see. */
export async function findAttachment(
  db: Database,
  id: string,
  readerId: string,
): Promise<FoundAttachment | null> {
  return db.maybeOne(sql.type(foundRow)`
    SELECT a.id, a.name, a.media_type, a.size, a.width, a.storage FROM attachments AS a
    WHERE a.id = ${id}::uuid AND ${isReadable(readerId)}
  `);
}

/** The thumbnail, as WebP, of what the reader may see; `image` is null if it has none. */
export async function findThumbnail(db: Database, id: string, readerId: string) {
  const row = z.object({ name: z.string(), image: z.instanceof(Buffer).nullable() });
  return db.maybeOne(sql.type(row)`
    SELECT a.name, t.image
    FROM attachments AS a LEFT JOIN attachment_thumbnails AS t ON t.attachment_id = a.id
    WHERE a.id = ${id}::uuid AND ${isReadable(readerId)}
  `);
}

/** Removes attachments that were not sent within so many hours; gives their number. */
export async function deleteOrphans(db: Database, hours: number, limit: number): Promise<number> {
  const result = await db.query(sql.unsafe`
    DELETE FROM attachments WHERE id IN (
      SELECT id FROM attachments
      WHERE discussion_id IS NULL AND created_at < now() - ${hours} * interval '1 hour'
      ORDER BY id LIMIT ${limit} FOR UPDATE SKIP LOCKED
    )
  `);
  return result.rowCount;
}

const removalRow = z.object({ id: z.uuid(), storage: storageName });
export type Removal = z.infer<typeof removalRow>;

/**
 * Removals that are due. They are due again in so many minutes, for somebody else, if they are not ended by
 * then.
 */
export async function takeRemovals(
  db: Database,
  minutes: number,
  limit: number,
): Promise<readonly Removal[]> {
  return db.any(sql.type(removalRow)`
    UPDATE attachment_removals SET due_at = now() + ${minutes} * interval '1 minute', uploading = false
    WHERE attachment_id IN (
      SELECT attachment_id FROM attachment_removals WHERE due_at <= now()
      ORDER BY due_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
    )
    RETURNING attachment_id AS id, storage
  `);
}

/** The bytes are gone. */
export async function endRemoval(db: Database, id: string): Promise<void> {
  await db.query(sql.unsafe`DELETE FROM attachment_removals WHERE attachment_id = ${id}::uuid`);
}
