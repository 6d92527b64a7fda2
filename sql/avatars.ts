import { z } from "zod";
import { type Database, sql } from "./database.ts";

/** What a user's avatar is made of; `image`, as WebP, is null until one is uploaded. */
export async function findAvatar(db: Database, userId: string) {
  const row = z.object({ display_name: z.string(), image: z.instanceof(Buffer).nullable() });
  return db.maybeOne(sql.type(row)`
    SELECT u.display_name, v.image FROM users AS u LEFT JOIN avatars AS v ON v.user_id = u.id
    WHERE u.id = ${userId}::uuid
  `);
}

export async function putAvatar(db: Database, userId: string, image: Buffer): Promise<void> {
  await db.query(sql.unsafe`
    INSERT INTO avatars (user_id, image) VALUES (${userId}::uuid, ${sql.binary(image)})
    ON CONFLICT (user_id) DO UPDATE SET image = excluded.image
  `);
}

export async function deleteAvatar(db: Database, userId: string): Promise<void> {
  await db.query(sql.unsafe`DELETE FROM avatars WHERE user_id = ${userId}::uuid`);
}
