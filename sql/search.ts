import { z } from "zod";
import { type Database, sql } from "./database.ts";
import { standingRow } from "./members.ts";

/** A stretch of the log, from position `newest` down to `oldest`, both included. */
export interface SearchRange {
  newest: number;
  oldest: number;
}

export interface SearchQuestion {
  reader_id: string;
  /** Each is found as a part of words, too. */
  words: readonly string[];
  /** Each is found as whole words, one after the other. */
  phrases: readonly string[];
  discussion_id: string | undefined;
  sender_id: string | undefined;
  range: SearchRange;
  /** The place of the last item of the page before, in order of rank and position. */
  after: { rank: number; position: number } | undefined;
  limit: number;
}

/** How much is looked at; see search_messages(). */
export interface SearchBounds {
  /** How many matches are ranked together. */
  candidates: number;
  /** So many documents are read one by one, without the index. */
  read: number;
  /** So many messages are read that have no document yet. */
  unindexed: number;
}

/** Of a message only what is needed here: it is handed on whole. */
const foundSchema = z.array(
  z.object({
    rank: z.number(),
    position: z.number(),
    message: z.looseObject({ content: z.string() }),
  }),
);

const searchRow = standingRow.extend({
  patterns: z.array(z.string()),
  newest: z.number().nullable(),
  oldest: z.number().nullable(),
  items: z.string().transform((text) => foundSchema.parse(JSON.parse(text))),
});

/**
 * The newest matches within the range, at most `candidates`, and of these, by falling rank, a page: one item
 * more than `limit` if more follow. `newest` and `oldest` are the positions of the newest and the last
 * candidate; `oldest` is null if there is no match before it. `patterns` are what was looked for; see
 * search_patterns(). `standing` is the reader's in the discussion that was asked for.
 */
export async function searchMessages(db: Database, question: SearchQuestion, bounds: SearchBounds) {
  const { range, after } = question;
  return db.one(sql.type(searchRow)`
    WITH asked AS MATERIALIZED (
      SELECT search_patterns(${sql.array(question.words, "text")}, ${sql.array(question.phrases, "text")})
        AS patterns
    ), found AS MATERIALIZED (
      SELECT f.*, row_number() OVER (ORDER BY f.position DESC) AS nth
      FROM asked CROSS JOIN LATERAL search_messages(
        ${question.reader_id}::uuid, asked.patterns, ${question.discussion_id ?? null}::uuid,
        ${question.sender_id ?? null}::uuid, ${range.oldest}::bigint, ${range.newest}::bigint,
        ${bounds.candidates} + 1, ${bounds.read}, ${bounds.unindexed}) AS f
    ), ranked AS (
      SELECT f.discussion_id, f.seq, f.position, search_rank(f.words, asked.patterns) AS rank
      FROM found AS f CROSS JOIN asked WHERE f.nth <= ${bounds.candidates}
    ), page AS (
      SELECT * FROM ranked
      WHERE ${after?.rank ?? null}::int IS NULL
        OR (rank, position) < (${after?.rank ?? null}::int, ${after?.position ?? null}::bigint)
      ORDER BY rank DESC, position DESC LIMIT ${question.limit + 1}
    )
    SELECT standing(${question.discussion_id ?? null}::uuid, ${question.reader_id}::uuid) AS standing,
      (SELECT patterns FROM asked) AS patterns,
      (SELECT max(position) FROM found) AS newest,
      (SELECT position FROM found WHERE nth = ${bounds.candidates}
        AND EXISTS (SELECT FROM found WHERE nth > ${bounds.candidates})) AS oldest,
      '[' || coalesce(string_agg(
        concat('{"rank":', p.rank, ',"position":', p.position, ',"message":',
          message_json(ROW(m.*)::messages), '}'),
        ',' ORDER BY p.rank DESC, p.position DESC), '') || ']' AS items
    FROM page AS p JOIN messages AS m ON m.discussion_id = p.discussion_id AND m.seq = p.seq
  `);
}

/**
 * Makes search documents of at most `messages` messages, of little more than `bytes` in all. Gives how many
 * it was, or null if another instance is at it.
 */
export async function indexMessages(
  db: Database,
  most: { messages: number; bytes: number },
): Promise<number | null> {
  return db.oneFirst(sql.type(z.object({ made: z.number().nullable() }))`
    SELECT index_messages(${most.messages}, ${most.bytes}) AS made
  `);
}
