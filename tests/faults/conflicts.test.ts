// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { ask, createPair, env } from "../chat/help.ts";
import { openReady, withSql } from "../delivery/help.ts";
import { type Answer, assertProblem, type Client } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { eventually, withServer } from "../support/server.ts";

/** Keys of advisory locks that nothing else takes. */
const [ours, theirs] = [4_711_001, 4_711_002];

/**
 * An edit now holds one lock and asks for another, which who waits for the first holds. It does so when that
 * one has looked for a deadlock, as Postgres lets each look once: so the edit sees it, and gives way.
 */
const crossing = `
  CREATE FUNCTION cross_locks() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock(${ours});
    WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = ${ours} AND NOT granted
      AND waitstart < clock_timestamp() - 1.2 * current_setting('deadlock_timeout')::interval)
    LOOP
      PERFORM pg_sleep(0.02);
    END LOOP;
    PERFORM pg_advisory_xact_lock(${theirs});
    RETURN NEW;
  END $$;
  CREATE TRIGGER cross_locks BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION cross_locks()`;

test("who gives way in a deadlock is told to try again, and nothing of the act is left", () =>
  withServer(async (t) => {
    const { ann, id, path } = await createPair(t.url);
    await ann.send(id, "before");
    await query(t.databaseUrl, crossing);
    await withSql(t.databaseUrl, async (db) => {
      await db.query("BEGIN");
      await db.query("SELECT pg_advisory_xact_lock($1)", [theirs]);
      const editing = ann.call("PATCH", `${path}/messages/1`, { content: "after" });
      await eventually(async () => {
        const held = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND granted";
        assert.equal((await query(t.databaseUrl, held, [ours])).length, 1);
      });
      const waiting = db.query("SELECT pg_advisory_xact_lock($1)", [ours]);
      waiting.catch(() => {}); // Told below.
      assertLater(await editing);
      await waiting; // It has the lock, as the other transaction is gone.
      await db.query("COMMIT");
    });
    const deadlocks = "SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()";
    await eventually(async () => assert.deepEqual(await query(t.databaseUrl, deadlocks), [{ deadlocks: 1 }]));
    assert.deepEqual(await told(ann, path), { content: "before", edits: [] });
    await query(t.databaseUrl, "DROP TRIGGER cross_locks ON messages");
    await ann.ok("PATCH", `${path}/messages/1`, { content: "after" });
    assert.deepEqual(await told(ann, path), { content: "after", edits: ["before"] });
  }, env));

for (const [state, name] of [
  ["40P01", "a deadlock"],
  ["40001", "a serialization failure"],
] as const) {
  test(`${name} is told to those who send and edit, by REST and by frames; all may try again`, () =>
    withServer(async (t) => {
      const { ann, id, path } = await createPair(t.url);
      await ann.send(id, "before");
      const socket = await openReady("ws", ann, { discussionId: id });
      const send = { content: "x", client_id: "x" };
      const edit = { seq: 1, content: "after" };
      await failing(t.databaseUrl, "messages", state, 4);
      assertLater(await ann.call("POST", `${path}/messages`, send));
      assertLater(await ann.call("PATCH", `${path}/messages/1`, { content: "after" }));
      for (const frame of [
        { type: "message.send", ...send },
        { type: "message.edit", ...edit },
      ])
        assert.equal((await ask(socket, frame)).code, "unavailable");

      assert.equal((await ask(socket, { type: "message.send", ...send })).message.seq, 2);
      await ann.ok("PATCH", `${path}/messages/1`, { content: "after" });
      assert.deepEqual(await told(ann, path), { content: "after", edits: ["before"] });
      socket.cut();
    }, env));

  test(`${name} in an act of several statements is tried again by itself, twice`, () =>
    withServer(async (t) => {
      const { ann, bob } = await createPair(t.url);
      const body = { kind: "group", name: "Room", member_ids: [bob.user.id] };
      await failing(t.databaseUrl, "discussions", state, 2);
      const created = await ann.call("POST", "/discussions", body);
      assert.equal(created.status, 201, JSON.stringify(created.body));
      await failing(t.databaseUrl, "discussions", state, 3);
      assertLater(await ann.call("POST", "/discussions", { ...body, name: "Another" }));
      const { items } = await ann.ok("GET", "/discussions");
      assert.deepEqual(
        items.map(({ name }: { name: string }) => name),
        ["Room", null],
      );
    }, env));
}

test.run();

/** Lets the next `times` changes of a table fail. A sequence counts them, as it is not rolled back. */
async function failing(databaseUrl: string, table: string, state: string, times: number): Promise<void> {
  await query(
    databaseUrl,
    `DROP SEQUENCE IF EXISTS tries;
     CREATE SEQUENCE tries;
     GRANT USAGE ON SEQUENCE tries TO PUBLIC;
     CREATE OR REPLACE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
       IF nextval('tries') <= ${times} THEN
         RAISE EXCEPTION 'gave way to another' USING ERRCODE = '${state}';
       END IF;
       RETURN NEW;
     END $$;
     CREATE OR REPLACE TRIGGER give_way BEFORE INSERT OR UPDATE ON ${table}
       FOR EACH ROW EXECUTE FUNCTION give_way()`,
  );
}

function assertLater(answer: Answer): void {
  assertProblem(answer, 503, "unavailable");
  assert.ok(Number(answer.headers.get("retry-after")) >= 1, "Retry-After in seconds");
  assert.equal(answer.body.retry_after, Number(answer.headers.get("retry-after")));
}

/** What the first message says now, and what it said before. */
async function told(client: Client, path: string) {
  const { items } = await client.ok("GET", `${path}/messages?limit=1&after=0`);
  const edits = await client.ok("GET", `${path}/messages/1/edits`);
  return {
    content: items[0].content,
    edits: edits.items.map(({ content }: { content: string }) => content),
  };
}
