import { z } from "zod";
import { type Database, sql } from "./database.ts";

export async function insertChunk(
  db: Database,
  attachmentId: string,
  firstByte: number,
  bytes: Buffer,
): Promise<void> {
  await db.query(sql.unsafe`
    INSERT INTO attachment_chunks (attachment_id, first_byte, bytes)
    VALUES (${attachmentId}::uuid, ${firstByte}::bigint, ${sql.binary(bytes)})
  `);
}

/** Bytes from `from` on: of one chunk, and not beyond `to`, which is included. Null if there are none. */
export async function readChunk(
  db: Database,
  attachmentId: string,
  from: number,
  to: number,
): Promise<Buffer | null> {
  return db.maybeOneFirst(sql.type(z.object({ bytes: z.instanceof(Buffer) }))`
    SELECT substring(c.bytes FROM (${from}::bigint - c.first_byte + 1)::int
      FOR least(${to}::bigint - ${from}::bigint + 1, 2147483647)::int) AS bytes
    FROM (
      SELECT * FROM attachment_chunks
      WHERE attachment_id = ${attachmentId}::uuid AND first_byte <= ${from}::bigint
      ORDER BY first_byte DESC LIMIT 1
    ) AS c
    WHERE c.first_byte + octet_length(c.bytes) > ${from}::bigint
  `);
}

/** Removes at most `limit` chunks, as each takes its time; gives their number. */
export async function deleteChunks(db: Database, attachmentId: string, limit: number): Promise<number> {
  const result = await db.query(sql.unsafe`
    DELETE FROM attachment_chunks WHERE attachment_id = ${attachmentId}::uuid AND first_byte IN (
      SELECT first_byte FROM attachment_chunks WHERE attachment_id = ${attachmentId}::uuid LIMIT ${limit}
    )
  `);
  return result.rowCount;
}
