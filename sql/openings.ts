import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { newestPosition } from "./log.ts";

/** Who asks for a stream, for what and from where: a session by its id and user, or by its cookie. */
export interface OpeningRequest {
  session_id: string | null;
  user_id: string | null;
  cookie_hash: Buffer | null;
  discussion_id: string | null;
  since: { epoch: string; position: number } | null;
}

const openingRow = z.object({
  epoch: z.string(),
  newest: z.number(),
  start: z.number(),
  reset_reason: z.enum(["cursor_expired", "epoch_changed", "cursor_ahead"]).nullable(),
  /** Null, as are the next two, if there is no such live session. */
  session_id: z.uuid().nullable(),
  user_id: z.uuid().nullable(),
  expires_at: z.string().nullable(),
  standing: z.enum(["owner", "admin", "member", "visitor"]).nullable(),
  discussion_ids: z.array(z.uuid()),
  /** JSON: of which of them no longer, and where each membership ended. Null: of all of them still. */
  left: z.string().nullable(),
});

export type Opening = z.infer<typeof openingRow>;

/**
 * All that streams need to begin, one opening per request, in order, from one snapshot: whether its session
 * lives, where in the log the stream starts (at its cursor, or at the newest position), and of which
 * discussions the user was a member at that point: the first change of a membership after it tells what was
 * before; without one, what is now was then. A hundred in one statement cost what five cost alone.
 */
export async function readOpenings(
  db: Database,
  requests: readonly OpeningRequest[],
): Promise<readonly Opening[]> {
  return db.any(sql.type(openingRow)`
    WITH ends AS MATERIALIZED (
      SELECT l.epoch, l.pruned_to + 1 AS oldest, ${newestPosition} AS newest FROM log_epoch AS l
    )
    SELECT ends.epoch, ends.newest, began.start, judged.reset_reason,
      s.id AS session_id, s.user_id, s.expires_at,
      standing(r.discussion_id, s.user_id) AS standing,
      array(
        WITH changed AS (
          SELECT DISTINCT ON (e.discussion_id) e.discussion_id, e.type
          FROM events AS e
          WHERE e.user_id = s.user_id AND e.position > began.start
            AND e.type IN ('member.enrolled', 'member.added', 'member.removed', 'discussion.deleted')
          ORDER BY e.discussion_id, e.position
        ), mine AS (
          SELECT m.discussion_id FROM members AS m WHERE m.user_id = s.user_id
            AND NOT EXISTS (
              SELECT FROM changed AS c
              WHERE c.discussion_id = m.discussion_id AND c.type IN ('member.enrolled', 'member.added'))
          UNION
          SELECT c.discussion_id FROM changed AS c WHERE c.type IN ('member.removed', 'discussion.deleted')
        )
        SELECT discussion_id FROM mine WHERE r.discussion_id IS NULL OR discussion_id = r.discussion_id
      ) AS discussion_ids,
      (
        SELECT json_object_agg(ended.discussion_id,
          json_build_object('position', ended.position, 'at', ended.at)) FROM (
          SELECT e.discussion_id, max(e.position) AS position, wire_time(max(e.at)) AS at FROM events AS e
          WHERE e.user_id = s.user_id AND e.position > began.start AND e.type = 'member.removed'
            AND NOT EXISTS (
              SELECT FROM members AS m WHERE m.discussion_id = e.discussion_id AND m.user_id = s.user_id)
          GROUP BY e.discussion_id
        ) AS ended
      ) AS "left"
    FROM ${openingRequests(requests)} CROSS JOIN ends
    CROSS JOIN LATERAL (
      SELECT CASE
        WHEN r.epoch <> ends.epoch THEN 'epoch_changed'
        WHEN r.position > ends.newest THEN 'cursor_ahead'
        WHEN r.position < ends.oldest - 1 THEN 'cursor_expired'
      END AS reset_reason
    ) AS judged
    CROSS JOIN LATERAL (
      SELECT CASE WHEN judged.reset_reason IS NULL THEN coalesce(r.position, ends.newest) ELSE ends.newest
      END AS start
    ) AS began
    LEFT JOIN LATERAL (
      SELECT * FROM sessions AS given WHERE given.id = r.session_id AND given.user_id = r.user_id
      UNION ALL
      SELECT * FROM sessions AS given WHERE given.cookie_hash = decode(r.cookie_hash, 'hex')
    ) AS s ON s.revoked_at IS NULL AND s.expires_at > now()
    ORDER BY r.place
  `);
}

function openingRequests(requests: readonly OpeningRequest[]) {
  const column = (read: (request: OpeningRequest) => string | number | null, type: string) =>
    sql.array(requests.map(read), type);
  return sql.fragment`unnest(
    ${column((request) => request.session_id, "uuid")},
    ${column((request) => request.user_id, "uuid")},
    ${column((request) => request.cookie_hash?.toString("hex") ?? null, "text")},
    ${column((request) => request.discussion_id, "uuid")},
    ${column((request) => request.since?.epoch ?? null, "text")},
    ${column((request) => request.since?.position ?? null, "int8")}
  ) WITH ORDINALITY AS r (session_id, user_id, cookie_hash, discussion_id, epoch, position, place)`;
}
