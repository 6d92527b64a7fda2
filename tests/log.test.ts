import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import pg from "pg";
import { test } from "uvu";
import { openDatabase, type Pool } from "../sql/database.ts";
import { pruneEvents, readEvents, readEventsFor } from "../sql/log.ts";
import type { Json } from "./support/client.ts";
import { createTestDatabase } from "./support/database.ts";
import { query } from "./support/postgres.ts";

interface Log {
  url: string;
  pool: Pool;
  userId: string;
  discussionIds: string[];
}

/** A database with one user in three groups and nothing said yet. */
async function withLog(act: (log: Log) => Promise<void>): Promise<void> {
  const database = await createTestDatabase();
  const { url } = database;
  const pool = await openDatabase({ url, maxConnections: 2 });
  try {
    const [{ id: userId }] = await query(
      url,
      "INSERT INTO users (username, display_name, password_hash) VALUES ('ann', 'Ann', '-') RETURNING id",
    );
    const discussions = await query(
      url,
      `INSERT INTO discussions (kind, name, created_by)
       SELECT 'group', n, $1 FROM unnest($2::text[]) AS n RETURNING id`,
      [userId, ["a", "b", "c"]],
    );
    const discussionIds = discussions.map(({ id }) => id as string);
    await query(url, "INSERT INTO members (discussion_id, user_id) SELECT unnest($1::uuid[]), $2", [
      discussionIds,
      userId,
    ]);
    await act({ url, pool, userId, discussionIds });
  } finally {
    await pool.end();
    await database.drop();
  }
}

/** Messages in turn in all discussions, one statement each; `age` is theirs. */
async function say({ url, userId, discussionIds }: Log, count: number, age = "0 days"): Promise<void> {
  for (let index = 0; index < count; index++) {
    await query(
      url,
      `INSERT INTO messages (discussion_id, sender_id, content, created_at)
       VALUES ($1, $2, 'x', now() - $3::interval)`,
      [discussionIds[(index * index) % discussionIds.length], userId, age],
    );
  }
}

const sayInEach = `INSERT INTO messages (discussion_id, sender_id, content)
  SELECT discussion_id, user_id, 'x' FROM members`;

const all = { limit: 1_000, maxBytes: 1_000_000 };

test("a discussion's messages after a position are found, beside holes and messages out of the log", () =>
  withLog(async (log) => {
    await say(log, 60);
    // What nobody should do by hand, and what was pruned before positions stood in the messages.
    await query(log.url, "DELETE FROM messages WHERE seq % 7 = 3");
    await query(log.url, "UPDATE messages SET position = NULL WHERE seq < 3");
    const rows = await query(
      log.url,
      `SELECT d.id, after, first_seq_after(d.id, after)::int AS found,
         (SELECT min(m.position) FROM messages AS m
           WHERE m.discussion_id = d.id AND m.position > after) AS first,
         (SELECT min(m.position) FROM messages AS m
           WHERE m.discussion_id = d.id AND m.seq >= first_seq_after(d.id, after)) AS first_found
       FROM discussions AS d, generate_series(0, 80) AS after`,
    );
    assert.ok(rows.length > 200);
    for (const row of rows) assert.equal(row.first_found, row.first, JSON.stringify(row));
  }));

test("of a discussion that is being removed, what has gone is not looked through", () =>
  withLog(async ({ url, userId, discussionIds }) => {
    const [id] = discussionIds;
    await query(
      url,
      `INSERT INTO messages (discussion_id, sender_id, content)
       SELECT $1, $2, 'x' FROM generate_series(1, 3000)`,
      [id, userId],
    );
    const backup = new pg.Client({ connectionString: url });
    await backup.connect();
    try {
      // While somebody may still see them, what was removed stays in tables and indexes.
      await backup.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
      await backup.query("SELECT count(*) FROM messages");
      await query(url, "SELECT empty_discussion($1, 2500)", [id]);
      const [{ left }] = await query(url, "SELECT count(*)::int AS left FROM messages WHERE seq < 2900");
      assert.ok(left > 0 && left < 1_000, `${left}`);
      const text = `SELECT first_seq_after('${id}', 0) AS first`;
      const [{ "QUERY PLAN": plan }] = await query(url, `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${text}`);
      const buffers = plan[0].Plan["Shared Hit Blocks"] + plan[0].Plan["Shared Read Blocks"];
      assert.ok(buffers < 1_500, `${buffers} blocks, of which the catalogs have some hundreds`);
      const [{ first }] = await query(url, text);
      const [{ seq }] = await query(url, "SELECT min(seq) AS seq FROM messages WHERE discussion_id = $1", [
        id,
      ]);
      assert.equal(first, seq);
    } finally {
      await backup.end();
    }
  }));

test("the log reads the same as a whole and by its discussions, in pages of any size", () =>
  withLog(async (log) => {
    await say(log, 40);
    await query(log.url, "UPDATE members SET last_read_seq = 2");
    await say(log, 10);
    const { events } = await readEvents(log.pool, 0, all);
    assert.deepEqual(
      events.map(({ position }) => position),
      events.map((_, index) => index + 1),
    );
    const newest = events.length;
    for (const limit of [1, 7, 1_000]) {
      for (const start of [0, 3, 20, newest]) {
        const filter = { discussion_ids: log.discussionIds, user_id: log.userId, to: newest };
        const found: Json[] = [];
        for (let after = start, complete = false; !complete; after = found.at(-1)?.position ?? after) {
          const page = await readEventsFor(log.pool, { ...filter, after }, { ...all, limit });
          found.push(...page.events);
          ({ complete } = page);
        }
        assert.deepEqual(
          found.map(({ position, type, data, at }) => ({ position, type, data, at })),
          events.slice(start).map(({ position, type, data, at }) => ({ position, type, data, at })),
        );
      }
    }
  }));

test("a transaction that may not see the log's newest events cannot append to it", () =>
  withLog(async (log) => {
    await say(log, 3);
    const before = await query(log.url, "SELECT count(*) FROM log_events");
    for (const level of ["REPEATABLE READ", "SERIALIZABLE"]) {
      for (const change of ["UPDATE discussions SET name = 'new'", sayInEach]) {
        const all = `BEGIN ISOLATION LEVEL ${level}; SELECT FROM messages; ${change}; COMMIT`;
        await assert.rejects(query(log.url, all), { code: "25000" });
      }
    }
    assert.deepEqual(await query(log.url, "SELECT count(*) FROM log_events"), before);
    assert.deepEqual(await query(log.url, "SELECT FROM discussions WHERE name = 'new'"), []);
  }));

test("pruning goes on step by step to the first event to keep, side by side too, and keeps the newest", () =>
  withLog(async (log) => {
    await query(log.url, "UPDATE events SET at = now() - interval '9 days'");
    await say(log, 10, "9 days");
    const [{ count: old }] = await query(log.url, "SELECT count(*)::int AS count FROM log_events");
    await say(log, 5);
    const prunedTo = async () =>
      Number((await query(log.url, "SELECT pruned_to FROM log_epoch"))[0].pruned_to);
    assert.equal(await pruneEvents(log.pool, 7, 4), 4);
    assert.equal(await prunedTo(), 4);
    assert.equal((await readEvents(log.pool, 4, all)).oldest, 5);
    await Promise.all([pruneEvents(log.pool, 7, 1_000), pruneEvents(log.pool, 7, 1_000)]);
    assert.equal(await prunedTo(), old);
    assert.equal(await pruneEvents(log.pool, 7, 1_000), 0);
    assert.deepEqual(await query(log.url, "SELECT FROM events WHERE position <= $1", [old]), []);
    assert.equal((await query(log.url, "SELECT FROM messages")).length, 15, "messages stay");
    await query(log.url, "UPDATE members SET role = 'admin' WHERE discussion_id = $1", [
      log.discussionIds[0],
    ]);
    const { events } = await readEvents(log.pool, old, all);
    assert.equal(await pruneEvents(log.pool, -1, 1_000), events.length - 1);
    assert.equal(await prunedTo(), (events.at(-1)?.position ?? 0) - 1);
    assert.equal((await query(log.url, "SELECT FROM events")).length, 1);
  }));

test("a database of before is brought over: messages take the positions of their events", async () => {
  const database = await createTestDatabase();
  const { url } = database;
  try {
    await query(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    const names = ["0001_users", "0002_discussions", "0003_messages", "0004_events", "0005_lean_sending"];
    const text = (name: string) => readFile(new URL(`../migrations/${name}.sql`, import.meta.url), "utf8");
    for (const name of names) await query(url, await text(name));
    await query(
      url,
      `INSERT INTO users (username, display_name, password_hash) VALUES ('ann', 'Ann', '-');
       INSERT INTO discussions (kind, name, created_by) SELECT 'group', 'a', id FROM users;
       INSERT INTO messages (discussion_id, seq, sender_id, content)
         SELECT d.id, n, u.id, 'm' || n FROM discussions AS d, users AS u, generate_series(1, 6) AS n;
       -- Two messages' events are pruned; one event of another type is between the others.
       INSERT INTO events (position, discussion_id, type, data, at)
         SELECT CASE WHEN m.seq < 5 THEN 7 + m.seq ELSE 8 + m.seq END, m.discussion_id, 'message.new',
           json_build_object('message', json_build_object('seq', m.seq))::text, m.created_at
         FROM messages AS m WHERE m.seq > 2;
       INSERT INTO events SELECT 12, id, NULL, 'discussion.updated', '{}', now() FROM discussions;`,
    );
    await query(url, await text("0006_one_copy"));
    assert.deepEqual(
      (await query(url, "SELECT seq::int, position::int FROM messages ORDER BY seq")).map(
        ({ seq, position }) => [seq, position],
      ),
      [
        [1, null],
        [2, null],
        [3, 10],
        [4, 11],
        [5, 13],
        [6, 14],
      ],
    );
    assert.deepEqual(await query(url, "SELECT position::int, type FROM events"), [
      { position: 12, type: "discussion.updated" },
    ]);
    assert.deepEqual(await query(url, "SELECT pruned_to::int FROM log_epoch"), [{ pruned_to: 9 }]);
  } finally {
    await database.drop();
  }
});

test.run();
