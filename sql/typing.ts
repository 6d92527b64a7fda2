import { z } from "zod";
import { type Database, sql } from "./database.ts";

/** Who types where. */
export interface Typist {
  session_id: string;
  user_id: string;
  discussion_id: string;
}

/** Whether somebody may be shown as typing, and the seq of what they last said there; 0: nothing. */
const typistRow = z.object({
  refusal: z.enum(["session_revoked", "discussion_not_found", "not_a_member", "blocked"]).nullable(),
  last_said: z.number(),
});

export async function findTypist(db: Database, typist: Typist): Promise<z.infer<typeof typistRow>> {
  const { session_id, user_id, discussion_id } = typist;
  return db.one(sql.type(typistRow)`
    SELECT last_said(${discussion_id}::uuid, ${user_id}::uuid),
      CASE WHEN NOT is_live(${session_id}::uuid, ${user_id}::uuid) THEN 'session_revoked'
        WHEN s.standing IS NULL THEN 'discussion_not_found'
        WHEN s.standing = 'visitor' THEN 'not_a_member'
        WHEN is_blocked(${discussion_id}::uuid, ${user_id}::uuid) THEN 'blocked'
      END AS refusal
    FROM standing(${discussion_id}::uuid, ${user_id}::uuid) AS s (standing)
  `);
}

/** Somebody who typed when what they had last said in the discussion was the message `last_said`. */
export interface Typing extends Typist {
  last_said: number;
}

/**
 * Announces, in one NOTIFY, who types; not those who have sent their message since, nor those who by now may
 * not type there any more.
 */
export async function announceTyping(db: Database, typing: readonly Typing[]): Promise<void> {
  const column = (read: (one: Typing) => string | number, type: string) => sql.array(typing.map(read), type);
  await db.query(sql.unsafe`
    SELECT pg_notify('signals', string_agg(concat_ws(' ', 'typing', t.user_id, t.discussion_id), E'\n'))
    FROM unnest(
      ${column((one) => one.user_id, "uuid")}, ${column((one) => one.discussion_id, "uuid")},
      ${column((one) => one.session_id, "uuid")}, ${column((one) => one.last_said, "int8")}
    ) AS t (user_id, discussion_id, session_id, last_said)
    JOIN members AS m ON m.discussion_id = t.discussion_id AND m.user_id = t.user_id AND NOT m.blocked
    WHERE t.last_said = last_said(t.discussion_id, t.user_id) AND is_live(t.session_id, t.user_id)
    HAVING count(*) > 0
  `);
}
