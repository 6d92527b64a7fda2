import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { type Page, pageOf, pageRow } from "./page.ts";

/** A live session: who it is, and until when. */
export interface Session {
  session_id: string;
  user_id: string;
  expires_at: string;
}

const sessionRow = z.object({ session_id: z.uuid(), user_id: z.uuid(), expires_at: z.string() });

/** Adds a session with its first refresh token, and gives the session's id. */
export async function insertSession(
  db: Database,
  session: {
    user_id: string;
    refresh_hash: Buffer;
    cookie_hash: Buffer | null;
    user_agent: string;
    days: number;
  },
): Promise<string> {
  return db.oneFirst(sql.type(z.object({ session_id: z.uuid() }))`
    WITH added AS (
      INSERT INTO sessions (user_id, cookie_hash, user_agent, expires_at)
      VALUES (${session.user_id}::uuid, ${binary(session.cookie_hash)}, ${session.user_agent},
        now() + ${session.days} * interval '1 day')
      RETURNING id, expires_at
    )
    INSERT INTO refresh_tokens (token_hash, session_id, expires_at)
    SELECT ${binary(session.refresh_hash)}, id, expires_at FROM added
    RETURNING session_id
  `);
}

/** Ends the oldest sessions of a user beyond `most`. */
export async function revokeOldestSessions(db: Database, userId: string, most: number): Promise<void> {
  await db.query(sql.unsafe`
    UPDATE sessions SET revoked_at = now() WHERE id IN (
      SELECT id FROM sessions WHERE user_id = ${userId}::uuid AND revoked_at IS NULL
      ORDER BY used_at DESC, id DESC OFFSET ${most}
    )
  `);
}

export async function findLiveSession(
  db: Database,
  sessionId: string,
  userId: string,
): Promise<Session | null> {
  return db.maybeOne(sql.type(sessionRow)`
    SELECT id AS session_id, user_id, expires_at FROM sessions
    WHERE id = ${sessionId}::uuid AND user_id = ${userId}::uuid AND revoked_at IS NULL AND expires_at > now()
  `);
}

export async function findSessionByCookie(db: Database, cookieHash: Buffer): Promise<Session | null> {
  return db.maybeOne(sql.type(sessionRow)`
    SELECT id AS session_id, user_id, expires_at FROM sessions
    WHERE cookie_hash = ${binary(cookieHash)} AND revoked_at IS NULL AND expires_at > now()
  `);
}

/**
 * Marks a refresh token as used and tells what it was. The row lock makes one of two concurrent users the
 * second, who sees `used_before`.
 */
export async function useRefreshToken(db: Database, tokenHash: Buffer) {
  const row = z.object({
    session_id: z.uuid(),
    user_id: z.uuid(),
    used_before: z.boolean(),
    live: z.boolean(),
  });
  return db.maybeOne(sql.type(row)`
    WITH token AS (
      SELECT token_hash, used_at FROM refresh_tokens WHERE token_hash = ${binary(tokenHash)} FOR UPDATE
    ), used AS (
      UPDATE refresh_tokens AS r SET used_at = coalesce(r.used_at, now())
      FROM token WHERE r.token_hash = token.token_hash
      RETURNING r.session_id, token.used_at IS NOT NULL AS used_before, r.expires_at
    )
    SELECT s.id AS session_id, s.user_id, used.used_before,
      s.revoked_at IS NULL AND s.expires_at > now() AND used.expires_at > now() AS live
    FROM used JOIN sessions AS s ON s.id = used.session_id
  `);
}

/** Gives a session its next refresh token and moves its end to `days` from now. */
export async function renewSession(
  db: Database,
  sessionId: string,
  tokenHash: Buffer,
  days: number,
): Promise<void> {
  await db.query(sql.unsafe`
    WITH renewed AS (
      UPDATE sessions SET used_at = now(), expires_at = now() + ${days} * interval '1 day'
      WHERE id = ${sessionId}::uuid RETURNING id, expires_at
    )
    INSERT INTO refresh_tokens (token_hash, session_id, expires_at)
    SELECT ${binary(tokenHash)}, id, expires_at FROM renewed
  `);
}

/** Ends one session of a user; false if there is no such live one. */
export async function revokeSession(db: Database, sessionId: string, userId: string): Promise<boolean> {
  const result = await db.query(sql.unsafe`
    UPDATE sessions SET revoked_at = now()
    WHERE id = ${sessionId}::uuid AND user_id = ${userId}::uuid AND revoked_at IS NULL
  `);
  return result.rowCount > 0;
}

export async function revokeOtherSessions(db: Database, keptId: string, userId: string): Promise<void> {
  await db.query(sql.unsafe`
    UPDATE sessions SET revoked_at = now()
    WHERE user_id = ${userId}::uuid AND id <> ${keptId}::uuid AND revoked_at IS NULL
  `);
}

/** A user's live sessions, the newest first. Key: [id]. */
export async function listSessions(
  db: Database,
  filter: { user_id: string; current_id: string; after: string | undefined; limit: number },
): Promise<Page> {
  const row = await db.one(sql.type(pageRow)`
    WITH page AS (
      SELECT *, row_number() OVER (ORDER BY id DESC) AS place FROM sessions
      WHERE user_id = ${filter.user_id}::uuid AND revoked_at IS NULL AND expires_at > now()
        AND (${filter.after ?? null}::uuid IS NULL OR id < ${filter.after ?? null}::uuid)
      ORDER BY id DESC LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      coalesce(string_agg(session_json(s, ${filter.current_id}::uuid)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(max(p.id::text) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page AS p JOIN sessions AS s USING (id)
  `);
  return pageOf(row);
}

/** Adds a ticket; a session keeps the newest `most` of them. */
export async function insertTicket(
  db: Database,
  ticket: { session_id: string; ticket_hash: Buffer; seconds: number; most: number },
): Promise<void> {
  await db.query(sql.unsafe`
    WITH dropped AS (
      DELETE FROM tickets WHERE ticket_hash IN (
        SELECT ticket_hash FROM tickets WHERE session_id = ${ticket.session_id}::uuid
        ORDER BY expires_at DESC OFFSET ${ticket.most - 1}
      )
    )
    INSERT INTO tickets (ticket_hash, session_id, expires_at)
    VALUES (${binary(ticket.ticket_hash)}, ${ticket.session_id}::uuid,
      now() + ${ticket.seconds} * interval '1 second')
  `);
}

/** Uses a ticket up: of any number of concurrent users the row's deletion lets one through. */
export async function takeTicket(db: Database, ticketHash: Buffer): Promise<Session | null> {
  return db.maybeOne(sql.type(sessionRow)`
    WITH taken AS (
      DELETE FROM tickets WHERE ticket_hash = ${binary(ticketHash)} RETURNING session_id, expires_at
    )
    SELECT s.id AS session_id, s.user_id, s.expires_at
    FROM taken JOIN sessions AS s ON s.id = taken.session_id
    WHERE taken.expires_at > now() AND s.revoked_at IS NULL AND s.expires_at > now()
  `);
}

/** Of these sessions, those that are over, whether by time or by revocation. */
export async function findEndedSessions(
  db: Database,
  sessionIds: readonly string[],
): Promise<readonly string[]> {
  return db.anyFirst(sql.type(z.object({ id: z.uuid() }))`
    SELECT given.id FROM unnest(${sql.array(sessionIds, "uuid")}) AS given (id)
    LEFT JOIN sessions AS s ON s.id = given.id AND s.revoked_at IS NULL AND s.expires_at > now()
    WHERE s.id IS NULL
  `);
}

/**
 * Removes what can no longer be used, at most `limit` rows of each kind, and tells how many rows went. Ended
 * sessions are kept for a day, so that a stolen token that comes back is still recognised.
 */
export async function pruneSessions(db: Database, limit: number): Promise<number> {
  const result = await db.query(sql.unsafe`
    WITH old_tickets AS (
      DELETE FROM tickets WHERE ticket_hash IN (
        SELECT ticket_hash FROM tickets WHERE expires_at < now() LIMIT ${limit}) RETURNING 1
    ), old_tokens AS (
      DELETE FROM refresh_tokens WHERE token_hash IN (
        SELECT token_hash FROM refresh_tokens WHERE expires_at < now() LIMIT ${limit}) RETURNING 1
    ), old_sessions AS (
      DELETE FROM sessions WHERE id IN (
        (SELECT id FROM sessions WHERE expires_at < now() LIMIT ${limit})
        UNION (SELECT id FROM sessions WHERE revoked_at < now() - interval '1 day' LIMIT ${limit}))
      RETURNING 1
    )
    SELECT FROM old_tickets UNION ALL SELECT FROM old_tokens UNION ALL SELECT FROM old_sessions
  `);
  return result.rowCount;
}

function binary(value: Buffer | null) {
  return value === null ? null : sql.binary(value);
}
