import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { standingRow } from "./members.ts";

const changedRow = z.object({ notifications: z.number(), still_waiting: z.array(z.uuid()) });
const renewedRow = z.object({
  is_new: z.boolean(),
  present: z.number(),
  ended: z.array(z.uuid()),
  next_end_ms: z.number().nullable(),
});

/**
 * Stores who came to an instance and who left it, and announces who by that came or went over all instances,
 * together with those who wait to be announced. Gives the number of NOTIFYs and who still waits; null, having
 * done nothing, if the instance is not known. See change_presences().
 */
export async function changePresences(
  db: Database,
  instanceId: string,
  change: { arrived: readonly string[]; departed: readonly string[]; waiting: readonly string[] },
  most: { users: number; notifications: number },
): Promise<z.infer<typeof changedRow> | null> {
  return db.maybeOne(sql.type(changedRow)`
    SELECT notifications, still_waiting FROM change_presences(${instanceId}::uuid,
      ${sql.array(change.arrived, "uuid")}, ${sql.array(change.departed, "uuid")},
      ${sql.array(change.waiting, "uuid")}, ${most.users}::int, ${most.notifications}::int)
  `);
}

/** Makes these the presences of an instance, and announces nothing. */
export async function restorePresences(
  db: Database,
  instanceId: string,
  userIds: readonly string[],
): Promise<void> {
  await db.query(sql.unsafe`
    SELECT restore_presences(${instanceId}::uuid, ${sql.array(userIds, "uuid")})
  `);
}

/**
 * An instance's sign of life, for the next `leaseMs` milliseconds; with `mayEnd`, ends those whose lease ran
 * out. Gives whether it `is_new` (or was ended by others), how many presences it has, who `ended` with
 * others, and when the next lease of another ends. See renew_instance().
 */
export async function renewInstance(
  db: Database,
  instanceId: string,
  leaseMs: number,
  mayEnd: boolean,
): Promise<z.infer<typeof renewedRow>> {
  return db.one(sql.type(renewedRow)`
    SELECT is_new, present, ended, next_end_ms
    FROM renew_instance(${instanceId}::uuid, ${leaseMs}::int, ${mayEnd}::boolean)
  `);
}

/** The instance ends; its presences end after `graceMs` milliseconds. */
export async function leaveInstance(db: Database, instanceId: string, graceMs: number): Promise<void> {
  await db.query(sql.unsafe`SELECT leave_instance(${instanceId}::uuid, ${graceMs}::int)`);
}

/**
 * A person's presence for a reader, as JSON text: as if never seen unless `shown`, and unless the reader
 * shares it. Null if there is no such user.
 */
export async function findPresence(
  db: Database,
  filter: { user_id: string; reader_id: string; shown: boolean },
): Promise<string | null> {
  return db.maybeOneFirst(sql.type(z.object({ json: z.string() }))`
    SELECT row_to_json(ROW(coalesce(p.status, 'offline'), wire_time(p.at))::presence_shape) AS json
    FROM users AS u LEFT JOIN LATERAL presence_of(u.id) AS p
      ON ${filter.shown} AND shares_presence(u.id, ${filter.reader_id}::uuid)
    WHERE u.id = ${filter.user_id}::uuid
  `);
}

/**
 * What a reader is to a discussion, and the presences of its members, by joining, as JSON texts joined by
 * commas; null if they are too many. Whom the other has blocked there sees nothing but their own.
 */
export async function listPresences(
  db: Database,
  filter: { discussion_id: string; reader_id: string; shown: boolean },
) {
  const row = standingRow.extend({ items: z.string().nullable() });
  return db.one(sql.type(row)`
    SELECT standing(${filter.discussion_id}::uuid, ${filter.reader_id}::uuid) AS standing,
      CASE WHEN shows_presence(${filter.discussion_id}::uuid) THEN (
        SELECT coalesce(string_agg(
          row_to_json(ROW(m.user_id, coalesce(p.status, 'offline'), wire_time(p.at))::member_presence_shape)
            ::text, ',' ORDER BY m.joined_at, m.user_id), '')
        FROM members AS m LEFT JOIN LATERAL presence_of(m.user_id) AS p ON ${filter.shown}
          AND (m.user_id = ${filter.reader_id}::uuid
            OR NOT is_blocked(m.discussion_id, ${filter.reader_id}::uuid))
        WHERE m.discussion_id = ${filter.discussion_id}::uuid
      ) END AS items
  `);
}
