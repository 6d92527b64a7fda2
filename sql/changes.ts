import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { type Standing, standingRow } from "./members.ts";
import { type Page, pageOf, pageRow } from "./page.ts";

/** Who acts on which message. */
export interface Act {
  session_id: string;
  user_id: string;
  discussion_id: string;
  seq: number;
}

const refusalCode = z.enum([
  "session_revoked",
  "discussion_not_found",
  "not_a_member",
  "message_not_found",
  "message_deleted",
  "forbidden",
  "blocked",
  "content_required",
  "too_many_reactions",
]);

/** What became of an act: JSON text, empty where there is nothing to tell, or the code of its refusal. */
export type ActResult = { json: string } | { code: z.infer<typeof refusalCode> };

const answerRow = z.object({ answer: z.string() });

function toResult(answer: string): ActResult {
  return answer === "" || answer.startsWith("{") ? { json: answer } : { code: refusalCode.parse(answer) };
}

/** Replaces the content of one's own message; gives the message. See edit_message(). */
export async function editMessage(db: Database, act: Act, content: string): Promise<ActResult> {
  const answer = await db.oneFirst(sql.type(answerRow)`
    SELECT edit_message(${act.session_id}::uuid, ${act.user_id}::uuid, ${act.discussion_id}::uuid,
      ${act.seq}::bigint, ${content}) AS answer
  `);
  return toResult(answer);
}

/** See delete_message(). */
export async function deleteMessage(db: Database, act: Act): Promise<ActResult> {
  const answer = await db.oneFirst(sql.type(answerRow)`
    SELECT delete_message(${act.session_id}::uuid, ${act.user_id}::uuid, ${act.discussion_id}::uuid,
      ${act.seq}::bigint) AS answer
  `);
  return toResult(answer);
}

/** Adds a reaction or removes it; a message has at most so many, and kinds of them. See change_reaction(). */
export async function setReaction(
  db: Database,
  act: Act,
  reaction: { emoji: string; present: boolean },
  most: { kinds: number; all: number },
): Promise<ActResult> {
  const answer = await db.oneFirst(sql.type(answerRow)`
    SELECT change_reaction(${act.session_id}::uuid, ${act.user_id}::uuid, ${act.discussion_id}::uuid,
      ${act.seq}::bigint, ${reaction.emoji}, ${reaction.present}, ${most.kinds}, ${most.all}) AS answer
  `);
  return toResult(answer);
}

/**
 * The earlier versions of a message, oldest first, with the reader's standing. Key: [version]. The page is
 * null if there is no such message.
 */
export async function listEdits(
  db: Database,
  filter: { discussion_id: string; seq: number; reader_id: string; after: number | undefined; limit: number },
): Promise<{ standing: Standing | null; page: Page | null }> {
  const row = await db.one(sql.type(pageRow.extend({ ...standingRow.shape, is_there: z.boolean() }))`
    WITH page AS (
      SELECT e AS edit, e.version, row_number() OVER (ORDER BY e.version) AS place FROM message_edits AS e
      WHERE e.discussion_id = ${filter.discussion_id}::uuid AND e.seq = ${filter.seq}::bigint
        AND e.version > ${filter.after ?? 0}::int
      ORDER BY e.version LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      standing(${filter.discussion_id}::uuid, ${filter.reader_id}::uuid) AS standing,
      EXISTS (SELECT FROM messages AS m
        WHERE m.discussion_id = ${filter.discussion_id}::uuid AND m.seq = ${filter.seq}::bigint) AS is_there,
      coalesce(string_agg(edit_json(p.edit)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(max(p.version) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page AS p
  `);
  return { standing: row.standing, page: row.is_there ? pageOf(row) : null };
}
