import type { FragmentSqlToken } from "slonik";
import { z } from "zod";
import { type Database, sql } from "./database.ts";

/** One event of the log: a message, or a row of `events`. */
export interface LogEvent {
  position: number;
  /** Empty for events of no discussion. */
  discussion_id: string;
  /** Empty, or the one person whom the event concerns by name. */
  user_id: string;
  type: string;
  /** RFC 3339, UTC, milliseconds. */
  at: string;
  /** A JSON object as text. */
  data: string;
}

/** Reads a line as event_line() writes it, the event's fields between tabs. Throws on anything else. */
export function parseEventLine(line: string): LogEvent {
  const [digits, discussion_id, user_id, type, at, data] = line.split("\t");
  const position = Number(digits);
  if (!(position >= 1) || discussion_id === undefined || user_id === undefined) {
    throw new Error("not an event line");
  }
  if (!type || !at || !data?.startsWith("{")) throw new Error("not an event line");
  return { position, discussion_id, user_id, type, at, data };
}

const eventColumns = sql.fragment`
  e.position, coalesce(e.discussion_id::text, '') AS discussion_id, coalesce(e.user_id::text, '') AS user_id,
  e.type, wire_time(e.at) AS at, e.data
`;

const logEndRow = z.object({
  epoch: z.string(),
  /** 1 and 0 when the log is empty. */
  oldest: z.number(),
  newest: z.number(),
  at: z.string().nullable(),
  /** Whether it is somewhere else than when it last served; see settle_log(). */
  has_moved: z.boolean(),
});

export const newestPosition = sql.fragment`
  greatest((SELECT max(position) FROM messages), (SELECT max(position) FROM events), 0)
`;

/** The log's epoch, its oldest and newest positions, and when the event at `position`, if any, happened. */
export async function readLogEnd(db: Database, position: number): Promise<z.infer<typeof logEndRow>> {
  return db.one(sql.type(logEndRow)`
    SELECT epoch, pruned_to + 1 AS oldest, ${newestPosition} AS newest,
      ${timeOf(position)} AS at,
      here.place <> '' AND coalesce((SELECT home <> here.place FROM log_home), true) AS has_moved
    FROM log_epoch, log_place() AS here (place)
  `);
}

function timeOf(position: number) {
  return sql.fragment`
    (SELECT wire_time(e.at) FROM log_events AS e WHERE e.position = ${position}::bigint)
  `;
}

/** How much of the log to read at once. The first event comes however large it is. */
export interface PageBounds {
  limit: number;
  maxBytes: number;
}

/**
 * A stretch of the log; `complete` if nothing followed it. What is before `oldest` has been pruned. With its
 * epoch, and when the event happened after which the stretch begins: whether it is the same log still.
 */
export interface LogPage {
  events: readonly LogEvent[];
  complete: boolean;
  oldest: number;
  epoch: string;
  at: string | null;
}

/** A row of a page; an empty page is one row without an event. */
const foundRow = z.object({
  position: z.number().nullable(),
  discussion_id: z.string(),
  user_id: z.string(),
  type: z.string().nullable(),
  at: z.string().nullable(),
  data: z.string().nullable(),
  oldest: z.number(),
  epoch: z.string(),
  before_at: z.string().nullable(),
  rows_found: z.number(),
});
type FoundEvent = z.infer<typeof foundRow> & LogEvent;

/** Of an event that tells of a message, the text stands with the message. */
const eventBytes = sql.fragment`
  CASE WHEN e.seq IS NULL THEN octet_length(e.data) ELSE coalesce((
    SELECT octet_length(m.content) FROM messages AS m
    WHERE m.discussion_id = e.discussion_id AND m.seq = e.seq
  ), 0) END
`;

/** Events after a position, in order. */
export async function readEvents(db: Database, after: number, bounds: PageBounds): Promise<LogPage> {
  const next = sql.fragment`position > ${after}::bigint ORDER BY position LIMIT ${bounds.limit}`;
  const found = sql.fragment`
    (SELECT position, ${eventBytes} AS bytes FROM events AS e WHERE ${next})
    UNION ALL
    (SELECT position, octet_length(content) AS bytes FROM messages WHERE ${next})
  `;
  return readPage(db, found, after, bounds);
}

/**
 * Events after a position, up to another, of these discussions or concerning this user by name, in order. A
 * few index probes per discussion, however long the log is.
 */
export async function readEventsFor(
  db: Database,
  filter: { discussion_ids: readonly string[]; user_id: string; after: number; to: number },
  bounds: PageBounds,
): Promise<LogPage> {
  const range = sql.fragment`e.position > ${filter.after}::bigint AND e.position <= ${filter.to}::bigint`;
  const found = sql.fragment`
    SELECT x.* FROM unnest(${sql.array(filter.discussion_ids, "uuid")}) AS given (id)
    CROSS JOIN LATERAL (
      (SELECT e.position, ${eventBytes} AS bytes FROM events AS e
        WHERE e.discussion_id = given.id AND ${range}
        ORDER BY e.position LIMIT ${bounds.limit})
      UNION ALL
      (SELECT m.position, octet_length(m.content) FROM messages AS m
        WHERE m.discussion_id = given.id AND m.seq >= first_seq_after(given.id, ${filter.after}::bigint)
          AND m.seq < first_seq_after(given.id, ${filter.to}::bigint)
        ORDER BY m.seq LIMIT ${bounds.limit})
    ) AS x
    UNION ALL
    (SELECT e.position, ${eventBytes} FROM events AS e
      WHERE e.user_id = ${filter.user_id}::uuid AND ${range}
        AND (e.discussion_id = ANY (${sql.array(filter.discussion_ids, "uuid")})) IS NOT TRUE
      ORDER BY e.position LIMIT ${bounds.limit})
  `;
  return readPage(db, found, filter.after, bounds);
}

/**
 * Reads the first of the positions that were found, cut where their bytes exceed the bound. Their events are
 * made only then: some may be large. (Of messages, the bytes of the text are counted.)
 */
async function readPage(
  db: Database,
  found: FragmentSqlToken,
  after: number,
  bounds: PageBounds,
): Promise<LogPage> {
  const rows = await db.any(sql.type(foundRow)`
    SELECT ends.*, coalesce(e.rows_found, 0) AS rows_found, ${eventColumns}
    FROM (
      SELECT pruned_to + 1 AS oldest, epoch, ${timeOf(after)} AS before_at FROM log_epoch
    ) AS ends
    LEFT JOIN (
      SELECT x.*, place.rows_found
      FROM (
        SELECT position, count(*) OVER () AS rows_found,
          sum(bytes) OVER (ORDER BY position) - bytes AS bytes_before
        FROM (SELECT * FROM (${found}) AS f ORDER BY position LIMIT ${bounds.limit}) AS first
      ) AS place
      CROSS JOIN LATERAL (SELECT * FROM log_events AS l WHERE l.position = place.position LIMIT 1) AS x
      WHERE place.bytes_before <= ${bounds.maxBytes}
    ) AS e ON true
    ORDER BY e.position
  `);
  const rowsFound = rows[0]?.rows_found ?? 0;
  const events = rows.filter((row): row is FoundEvent => row.position !== null);
  const complete = events.length === rowsFound && rowsFound < bounds.limit;
  const { oldest = 1, epoch = "", before_at: at = null } = rows[0] ?? {};
  return { events, complete, oldest, epoch, at };
}

/**
 * Removes what is older than `days` from the log, at most `limit` positions, and gives how many it was.
 * Messages stay, and so does the newest event, as the next position follows it.
 */
export async function pruneEvents(db: Database, days: number, limit: number): Promise<number> {
  const oldest = sql.fragment`now() - ${days} * interval '1 day'`;
  return db.oneFirst(sql.type(z.object({ count: z.number() }))`
    WITH ends AS MATERIALIZED (
      SELECT pruned_to, least(pruned_to + ${limit} + 1, ${newestPosition}) AS most FROM log_epoch
    ), kept AS MATERIALIZED (
      -- The walk from the old end stops at the first event to keep: at once, if there is nothing to prune.
      SELECT pruned_to, least(most,
        (SELECT position FROM events WHERE position > pruned_to AND position < most
          AND at >= ${oldest} ORDER BY position LIMIT 1),
        (SELECT position FROM messages WHERE position > pruned_to AND position < most
          AND created_at >= ${oldest} ORDER BY position LIMIT 1)) AS first
      FROM ends
    ), moved AS (
      UPDATE log_epoch AS l SET pruned_to = kept.first - 1 FROM kept WHERE l.pruned_to < kept.first - 1
    ), deleted AS (
      DELETE FROM events AS e USING kept WHERE e.position < kept.first
    )
    SELECT greatest(first - 1 - pruned_to, 0) AS count FROM kept
  `);
}

/**
 * Begins a new history: all cursors given out before answer with a reset. With `from`, only if that is still
 * the epoch.
 */
export async function renewEpoch(db: Database, from?: string): Promise<void> {
  await db.query(sql.unsafe`SELECT renew_epoch(${from ?? null}::text)`);
}

/**
 * Renews the epoch if the database is a copy of the one that served last, restored from a backup; tells
 * whether it did. See settle_log().
 */
export async function settleLog(db: Database): Promise<boolean> {
  return db.oneFirst(sql.type(z.object({ renewed: z.boolean() }))`
    SELECT settle_log() AS renewed
  `);
}
