import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { type LogEvent, parseEventLine } from "./log.ts";
import { standingRow } from "./members.ts";
import { type Page, pageOf, pageRow } from "./page.ts";
import type { Pipeline } from "./pipeline.ts";

/** One message to be stored, and the session that sends it. */
export interface Send {
  session_id: string;
  sender_id: string;
  discussion_id: string;
  content: string;
  client_id: string | null;
  reply_to_seq: number | null;
  attachment_ids: readonly string[];
}

/** What became of a send; `message` is JSON text. */
export type SendResult =
  | { code: "created" | "stored"; message: string }
  | { code: z.infer<typeof refusalCode>; message: null };

const refusalCode = z.enum([
  "session_revoked",
  "not_a_member",
  "discussion_not_found",
  "blocked",
  "client_id_reused",
  "reply_not_found",
  "attachment_not_found",
]);

/** What became of a batch: a result per send, in order, and the events of what was stored. */
export interface BatchResult {
  results: SendResult[];
  events: LogEvent[];
}

const sentRow = z.object({ lines: z.string() });

const sendStatement = `
  SELECT send_messages($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[])
    AS lines`;

/** Stores a batch in one statement and transaction. See send_messages(). */
export async function sendMessages(pipeline: Pipeline, sends: readonly Send[]): Promise<BatchResult> {
  const rows = await pipeline.query("send_messages", sendStatement, [
    sends.map((send) => send.session_id),
    sends.map((send) => send.sender_id),
    sends.map((send) => send.discussion_id),
    sends.map((send) => send.content),
    sends.map((send) => send.client_id),
    sends.map((send) => send.reply_to_seq),
    sends.some(hasAttachments)
      ? sends.map((send) => (hasAttachments(send) ? `{${send.attachment_ids.join()}}` : null))
      : null,
  ]);
  const [accepted = "", ...lines] = sentRow.parse(rows[0]).lines.split("\n");
  const isAccepted = (index: number) => accepted[index] === "1";
  const count = sends.filter((_, index) => isAccepted(index)).length;
  if (accepted.length !== sends.length || lines.length !== sends.length) {
    throw new Error("send_messages returned too little");
  }
  const events = lines.slice(0, count).map((line) => parseEventLine(line));
  let nextEvent = 0;
  let nextRefused = count;
  const results = sends.map((_, index) =>
    isAccepted(index) ? toCreated(events[nextEvent++]) : toRefused(lines[nextRefused++]),
  );
  return { results, events };
}

function hasAttachments({ attachment_ids }: Send): boolean {
  return attachment_ids.length > 0;
}

/** From the event's data, `{"message":…}`. */
function toCreated(event: LogEvent | undefined): SendResult {
  return { code: "created", message: event?.data.slice('{"message":'.length, -1) ?? "" };
}

function toRefused(line: string | undefined): SendResult {
  if (line?.startsWith("{")) return { code: "stored", message: line };
  return { code: refusalCode.parse(line), message: null };
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
      coalesce(string_agg(message_json(ROW(page.*)::messages), ',' ORDER BY seq), '') AS items,
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
      coalesce(string_agg(message_json(m), ',' ORDER BY place)
        FILTER (WHERE place <= ${filter.limit}), '') AS items,
      json_build_array(
        max(p.created_at::text) FILTER (WHERE place = ${filter.limit}),
        max(p.discussion_id::text) FILTER (WHERE place = ${filter.limit}),
        max(p.seq) FILTER (WHERE place = ${filter.limit})) AS last_key
    FROM page AS p JOIN messages AS m USING (discussion_id, seq)
  `);
  return pageOf(row);
}
