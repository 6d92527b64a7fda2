import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { standingRow } from "./members.ts";
import { type Page, pageOf, pageRow } from "./page.ts";

/** One message to be stored, and the session that sends it. */
export interface Send {
  session_id: string;
  sender_id: string;
  discussion_id: string;
  content: string;
  client_id: string | null;
  reply_to_seq: number | null;
}

const sendResultRow = z.object({
  code: z.enum([
    "created",
    "stored",
    "session_revoked",
    "not_a_member",
    "discussion_not_found",
    "client_id_reused",
    "reply_not_found",
  ]),
  /** JSON text, when created or stored. */
  message: z.string().nullable(),
});

export type SendResult = z.infer<typeof sendResultRow>;

/** Stores a batch in one statement and transaction; one result per send, in order. See send_messages(). */
export async function sendMessages(db: Database, sends: readonly Send[]): Promise<readonly SendResult[]> {
  return db.any(sql.type(sendResultRow)`
    SELECT code, message FROM send_messages(
      ${sql.array(
        sends.map((send) => send.session_id),
        "uuid",
      )},
      ${sql.array(
        sends.map((send) => send.sender_id),
        "uuid",
      )},
      ${sql.array(
        sends.map((send) => send.discussion_id),
        "uuid",
      )},
      ${sql.array(
        sends.map((send) => send.content),
        "text",
      )},
      ${sql.array(
        sends.map((send) => send.client_id),
        "text",
      )},
      ${sql.array(
        sends.map((send) => send.reply_to_seq),
        "int8",
      )})
  `);
}

/**
 * Which part of a history: at most `older` messages below seq `before`, at most `newer` above seq `after`.
 */
export interface HistoryWindow {
  before: number;
  older: number;
  after: number;
  newer: number;
}

const historyRow = standingRow.extend({
  cursor: z.string(),
  items: z.string(),
  first_seq: z.number().nullable(),
  last_item_seq: z.number().nullable(),
  last_seq: z.number(),
});

/** A stretch of a discussion's messages by rising seq, with the reader's standing and the log's cursor. */
export async function readHistory(
  db: Database,
  discussionId: string,
  readerId: string,
  window: HistoryWindow,
) {
  return db.one(sql.type(historyRow)`
    WITH page AS (
      (SELECT * FROM messages AS m
        WHERE m.discussion_id = ${discussionId}::uuid AND m.seq < ${window.before}::bigint
        ORDER BY m.seq DESC LIMIT ${window.older})
      UNION ALL
      (SELECT * FROM messages AS m
        WHERE m.discussion_id = ${discussionId}::uuid AND m.seq > ${window.after}::bigint
        ORDER BY m.seq LIMIT ${window.newer})
    )
    SELECT standing(${discussionId}::uuid, ${readerId}::uuid) AS standing, log_cursor() AS cursor,
      coalesce(string_agg(message_json(ROW(page.*)::messages)::text, ',' ORDER BY seq), '') AS items,
      min(seq) AS first_seq, max(seq) AS last_item_seq, last_seq(${discussionId}::uuid) AS last_seq
    FROM page
  `);
}

/** Messages of all of a user's discussions, newest first. Key: [created_at, discussion_id, seq]. */
export async function listMessages(
  db: Database,
  filter: {
    reader_id: string;
    discussion_id: string | undefined;
    sender_id: string | undefined;
    after: readonly [string, string, number] | undefined;
    limit: number;
  },
): Promise<Page> {
  const [createdAt, discussionId, seq] = filter.after ?? [null, null, null];
  const row = await db.one(sql.type(pageRow)`
    WITH page AS (
      SELECT x.*, row_number() OVER (ORDER BY x.created_at DESC, x.discussion_id DESC, x.seq DESC) AS place
      FROM members AS me CROSS JOIN LATERAL (
        SELECT * FROM messages AS m
        WHERE m.discussion_id = me.discussion_id
          AND (${filter.sender_id ?? null}::uuid IS NULL OR m.sender_id = ${filter.sender_id ?? null}::uuid)
          AND (${createdAt}::timestamptz IS NULL OR (m.created_at, m.discussion_id, m.seq)
            < (${createdAt}::timestamptz, ${discussionId}::uuid, ${seq}::bigint))
        ORDER BY m.seq DESC LIMIT ${filter.limit + 1}
      ) AS x
      WHERE me.user_id = ${filter.reader_id}::uuid
        AND (${filter.discussion_id ?? null}::uuid IS NULL
          OR me.discussion_id = ${filter.discussion_id ?? null}::uuid)
      ORDER BY x.created_at DESC, x.discussion_id DESC, x.seq DESC LIMIT ${filter.limit + 1}
    )
    SELECT log_cursor() AS cursor, count(*) > ${filter.limit} AS has_more,
      coalesce(string_agg(message_json(m)::text, ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(
        max(p.created_at::text) FILTER (WHERE place = ${filter.limit}),
        max(p.discussion_id::text) FILTER (WHERE place = ${filter.limit}),
        max(p.seq) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page AS p JOIN messages AS m USING (discussion_id, seq)
  `);
  return pageOf(row);
}
