import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { type Page, pageOf, pageRow } from "./page.ts";

const jsonRow = z.object({ json: z.string() });

/** Adds a user and gives its id. Violates users_username_key or users_email_key when taken. */
export async function insertUser(
  db: Database,
  user: { username: string; display_name: string; email: string | null; password_hash: string },
): Promise<string> {
  return db.oneFirst(sql.type(z.object({ id: z.uuid() }))`
    INSERT INTO users (username, display_name, email, password_hash)
    VALUES (${user.username}, ${user.display_name}, ${user.email}, ${user.password_hash})
    RETURNING id
  `);
}

/** By username or, as no username has an @, by e-mail address. */
export async function findCredentials(db: Database, login: string) {
  const row = z.object({ id: z.uuid(), password_hash: z.string() });
  return db.maybeOne(sql.type(row)`
    SELECT id, password_hash FROM users
    WHERE (username = ${login.toLowerCase()} OR lower(email) = lower(${login})) AND erased_at IS NULL
  `);
}

/**
 * Whether this is still the user's password hash, and keeps it so until the end of the transaction: a change
 * of the password waits, and then sees what the transaction did.
 */
export async function holdPassword(db: Database, id: string, passwordHash: string): Promise<boolean> {
  const held = await db.maybeOne(sql.type(z.object({ id: z.uuid() }))`
    SELECT id FROM users WHERE id = ${id}::uuid AND password_hash = ${passwordHash} FOR SHARE
  `);
  return held !== null;
}

/** Until the end of the transaction, the account is not erased, and nobody else holds this lock. */
export async function lockUser(db: Database, id: string): Promise<void> {
  await db.query(sql.unsafe`SELECT FROM users WHERE id = ${id}::uuid FOR NO KEY UPDATE`);
}

export async function findPasswordHash(db: Database, id: string): Promise<string | null> {
  return db.maybeOneFirst(sql.type(z.object({ password_hash: z.string() }))`
    SELECT password_hash FROM users WHERE id = ${id}::uuid AND erased_at IS NULL
  `);
}

/** Leaves what a user who goes has to leave, at most `most` discussions; gives how many it was. */
export async function leaveDiscussions(db: Database, id: string, most: number): Promise<number> {
  return db.oneFirst(sql.type(z.object({ count: z.number() }))`
    SELECT leave_discussions(${id}::uuid, ${most}) AS count
  `);
}

/** Erases an account that has left its discussions, if that is still its password hash. See erase_user(). */
export async function eraseUser(db: Database, id: string, currentHash: string) {
  return db.oneFirst(sql.type(z.object({ outcome: z.enum(["erased", "wrong", "again"]) }))`
    SELECT erase_user(${id}::uuid, ${currentHash}) AS outcome
  `);
}

/** What others see of a user, as JSON text. */
export async function findUser(db: Database, id: string): Promise<string | null> {
  return db.maybeOneFirst(
    sql.type(jsonRow)`SELECT user_json(u) AS json FROM users AS u WHERE id = ${id}::uuid`,
  );
}

/** What users see of themselves, as JSON text. */
export async function findMe(db: Database, id: string): Promise<string> {
  return db.oneFirst(sql.type(jsonRow)`SELECT me_json(u) AS json FROM users AS u WHERE id = ${id}::uuid`);
}

/**
 * Changes what is not undefined; an e-mail address of null removes it. With `current_hash`, only while that
 * is the user's password hash; tells whether it was. Violates users_email_key when taken.
 */
export async function updateUser(
  db: Database,
  id: string,
  changes: {
    display_name?: string | undefined;
    email?: string | null | undefined;
    status_text?: string | undefined;
    password_hash?: string | undefined;
    current_hash?: string | undefined;
  },
): Promise<boolean> {
  const result = await db.query(sql.unsafe`
    UPDATE users SET
      display_name = coalesce(${changes.display_name ?? null}::text, display_name),
      email = CASE WHEN ${changes.email !== undefined} THEN ${changes.email ?? null}::text ELSE email END,
      status_text = coalesce(${changes.status_text ?? null}::text, status_text),
      password_hash = coalesce(${changes.password_hash ?? null}::text, password_hash)
    WHERE id = ${id}::uuid
      AND (${changes.current_hash ?? null}::text IS NULL
        OR password_hash = ${changes.current_hash ?? null}::text)
  `);
  return result.rowCount > 0;
}

/** People by username. `query` is the start of a username or of any word of a display name. */
export async function listUsers(
  db: Database,
  filter: { query: string | undefined; email: string | undefined; after: string | undefined; limit: number },
): Promise<Page> {
  const query = filter.query?.toLowerCase().replace(/[\\%_]/g, "\\$&");
  const row = await db.one(sql.type(pageRow)`
    WITH page AS (
      SELECT u.*, row_number() OVER (ORDER BY u.username USING ~<~) AS place FROM users AS u
      WHERE (${query ?? null}::text IS NULL OR u.username LIKE ${`${query}%`}
          OR lower(u.display_name) LIKE ${`${query}%`} OR lower(u.display_name) LIKE ${`% ${query}%`})
        AND (${filter.email ?? null}::text IS NULL OR lower(u.email) = lower(${filter.email ?? null}::text))
        AND (${filter.after ?? null}::text IS NULL OR u.username ~>~ ${filter.after ?? null}::text)
        AND u.erased_at IS NULL
      ORDER BY u.username USING ~<~ LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      coalesce(string_agg(user_json(users)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(max(p.username) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page AS p JOIN users USING (id)
  `);
  return pageOf(row);
}
