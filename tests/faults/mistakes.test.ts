// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, register } from "../support/client.ts";
import { createTestDatabase } from "../support/database.ts";
import { newestPosition, pruneLog, query } from "../support/postgres.ts";
import { withRoad } from "../support/road.ts";
import { eventually, withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";

// crossws ends the process when a hook throws, and does not wait for one that throws later.
test("a mistake of ours is shown bare, and ends neither the socket nor the process", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const socket = await openTestStream("ws", ann, { discussionId: id });
    await query(t.databaseUrl, "ALTER FUNCTION send_messages RENAME TO gone");

    const answer = await ann.call("POST", `/discussions/${id}/messages`, { content: "x" });
    assertProblem(answer, 500, "internal_error");
    assert.doesNotMatch(JSON.stringify(answer.body), /send_messages|function|sql/i);
    for (const ref of ["1", "2", "3"]) socket.send({ type: "message.send", ref, content: "x" });
    await socket.until((received) => received.filter(({ type }) => type === "error").length === 3);
    const refused = socket.received.filter(({ type }) => type === "error");
    assert.deepEqual(
      refused.map(({ ref, code }) => [ref, code]),
      ["1", "2", "3"].map((ref) => [ref, "internal_error"]),
    );

    await query(t.databaseUrl, "ALTER FUNCTION gone RENAME TO send_messages");
    socket.send({ type: "message.send", ref: "4", content: "again" });
    await socket.until((received) => received.some(({ type, ref }) => type === "ack" && ref === "4"));
    assert.equal(socket.ended(), undefined);
    socket.cut();
  }));

test("one send that Postgres refuses fails alone, and those around it are stored in their order", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    await query(t.databaseUrl, "ALTER TABLE messages ADD CONSTRAINT no_poison CHECK (content <> 'poison')");
    const socket = await openTestStream("ws", ann, { discussionId: id });
    const contents = Array.from({ length: 100 }, (_, index) => (index === 41 ? "poison" : `${index}`));
    for (const content of contents) socket.send({ type: "message.send", ref: content, content });
    await socket.until((received) => received.filter(({ ref }) => ref !== undefined).length === 100);
    const answers = socket.received.filter(({ ref }) => ref !== undefined);
    assert.deepEqual(
      answers.map(({ ref }) => ref),
      contents,
    );
    assert.deepEqual(
      answers.filter(({ type }) => type !== "ack").map(({ ref, code }) => [ref, code]),
      [["poison", "internal_error"]],
    );
    const { items } = await ann.ok("GET", `/discussions/${id}/messages?limit=200`);
    assert.deepEqual(
      items.map(({ content }: { content: string }) => content),
      contents.filter((content) => content !== "poison"),
    );
    socket.cut();
  }));

test("a Postgres without disk or memory is not our mistake: try again", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const socket = await openTestStream("ws", ann, { discussionId: id });
    for (const state of ["53100", "53200", "58030", "58P01"]) {
      await query(
        t.databaseUrl,
        `CREATE OR REPLACE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '${state}'; END $$;
         CREATE OR REPLACE TRIGGER is_full BEFORE INSERT ON messages EXECUTE FUNCTION is_full()`,
      );
      const answer = await ann.call("POST", `/discussions/${id}/messages`, { content: "x" });
      assertProblem(answer, 503, "unavailable");
      assert.ok(Number(answer.headers.get("retry-after")) >= 1, "Retry-After in seconds");
      socket.send({ type: "message.send", ref: state, content: "x" });
      await socket.until((received) =>
        received.some(({ ref, code }) => ref === state && code === "unavailable"),
      );
    }
    await query(t.databaseUrl, "DROP TRIGGER is_full ON messages");
    socket.send({ type: "message.send", ref: "again", content: "x" });
    await socket.until((received) => received.some(({ type, ref }) => type === "ack" && ref === "again"));
    socket.cut();
  }));

test("a listener whose LISTEN is never answered is replaced", () =>
  withServer((t) =>
    withRoad(t.databaseUrl, async (road) => {
      const other = await t.another({ LISTEN_DATABASE_URL: road.url });
      const isReady = async (status: number) =>
        eventually(async () => assert.equal((await fetch(`${other.url}/readyz`)).status, status), 30_000);
      await isReady(200);
      road.swallowListen(true);
      // Its connection goes; the next one is made, but its LISTEN falls into a hole.
      const listening = "query LIKE 'LISTEN%' AND datname = current_database()";
      await query(t.databaseUrl, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${listening}`);
      await eventually(() => assert.ok(road.swallowedListens() > 0));
      await isReady(503);
      road.swallowListen(false);
      await isReady(200);
    }),
  ));

test("an instance that slept past the retention breaks off its own streams alone", async () => {
  const deaf = await createTestDatabase();
  try {
    await withServer(async (t) => {
      const ann = await register(t.url, "ann");
      const discussion = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
      const { cursor, id } = discussion;
      // It listens where nothing is announced, so what comes and goes between two looks it never sees.
      const sleeper = await t.another({ LISTEN_DATABASE_URL: deaf.url });
      const there = Object.assign(Object.create(ann), { url: sleeper.url });
      const stream = await openTestStream("ws", there, { since: cursor });
      await stream.until((received) => received.some(({ type }) => type === "ready"));
      // Messages stay; of the rest there must be something to miss.
      await query(t.databaseUrl, "UPDATE members SET last_read_seq = 1");
      await query(
        t.databaseUrl,
        `WITH sent AS (
           INSERT INTO messages (discussion_id, seq, sender_id, content)
           SELECT $1, n, $2, 'x' FROM generate_series(1, 20) AS n RETURNING seq)
         SELECT count(*) FROM sent`,
        [id, ann.user.id],
      );
      await pruneLog(t.databaseUrl, (await newestPosition(t.databaseUrl)) - 1);
      await eventually(() => assert.equal(stream.ended(), 1012));
      const now = await ann.ok("GET", `/discussions/${id}`);
      assert.equal(now.cursor.split(".")[0], cursor.split(".")[0], "the epoch is the same");
      const again = await openTestStream("ws", there, { since: cursor });
      await again.until((received) => received.some(({ type }) => type === "ready"));
      assert.equal(again.received[0].reason, "cursor_expired");
      again.cut();
    });
  } finally {
    await deaf.drop();
  }
});

test.run();
