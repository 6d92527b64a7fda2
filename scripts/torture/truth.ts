import { query } from "../../tests/support/postgres.ts";
import type { LogRow, StoredMessage, Truth } from "./history.ts";
import { hashOf } from "./load/notebook.ts";

/** What Postgres holds, asked past all instances. The log must not have been pruned. */
export async function readTruth(databaseUrl: string): Promise<Truth> {
  const [{ epoch }] = await query(databaseUrl, "SELECT epoch FROM log_epoch");
  const rows = await query(
    databaseUrl,
    `SELECT l.position, l.discussion_id, l.user_id, l.type,
       coalesce(m.seq, e.seq, (e.data::json ->> 'seq')::bigint) AS seq
     FROM (SELECT position, discussion_id, user_id, type FROM log_events) AS l
     LEFT JOIN messages AS m ON m.position = l.position
     LEFT JOIN events AS e ON e.position = l.position
     ORDER BY l.position`,
  );
  const log: LogRow[] = rows.map(({ position, discussion_id, user_id, type, seq }) => ({
    position: Number(position),
    discussion_id: discussion_id ?? "",
    user_id: user_id ?? "",
    type,
    seq: seq === null ? null : Number(seq),
  }));
  return { epoch, log, messages: await readMessages(databaseUrl) };
}

async function readMessages(databaseUrl: string): Promise<StoredMessage[]> {
  const rows = await query(
    databaseUrl,
    `SELECT m.discussion_id, m.seq, m.client_id, m.deleted_at IS NOT NULL AS is_deleted,
       array(SELECT e.content FROM message_edits AS e
         WHERE (e.discussion_id, e.seq) = (m.discussion_id, m.seq) ORDER BY e.version
       ) || m.content AS contents
     FROM messages AS m`,
  );
  return rows.map(({ contents, seq, ...message }) => ({
    ...message,
    seq: Number(seq),
    hashes: contents.map(hashOf),
  }));
}
