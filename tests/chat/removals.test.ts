import assert from "node:assert/strict";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { endedWith, openReady, withSql } from "../delivery/help.ts";
import { assertProblem, type Client, password } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { withProgram } from "../support/process.ts";
import { asServer } from "../support/roles.ts";
import { eventually, startTestParley, withServer } from "../support/server.ts";
import { createRoom, env, findInDatabase, people, replays, upload } from "./help.ts";

const marker = "xylograph";
/** At a millisecond each it takes longer to delete them than a statement may last, which is ten seconds. */
const many = 6 * limits.removalStep;

test("a discussion that no statement can delete in its time is deleted, and gone for everybody at once", () =>
  withServer(async (t) => {
    const { ann, bob, eve, id, path, cursor } = await createRoom(t.url, "public");
    await fill(t.databaseUrl, id, ann);
    const file = (await upload(bob, `${marker}.txt`, "bytes")).body;
    const { seq } = await bob.send(id, `${marker} with a file`, { attachment_ids: [file.id] });
    await ann.send(id, `${marker} before the edit`);
    await ann.ok("PATCH", `${path}/messages/${seq + 1}`, { content: `${marker} edited` });
    await bob.ok("PUT", `${path}/messages/${seq + 1}/reactions/${encodeURIComponent("👍")}`);
    await bob.ok("PUT", `${path}/read`, { seq: seq + 1 });
    await eventually(async () => {
      const { items } = await bob.ok("GET", `/search?q=${marker}%20edited`);
      assert.equal(items.length, 1);
    });
    const stream = await openReady("ws", bob, { discussionId: id });
    await delay(t.databaseUrl);
    await forbidSteps(t.databaseUrl);
    await ann.ok("DELETE", path);

    await endedWith(stream, 4503);
    assert.equal(stream.received.filter(({ type }) => type === "discussion.deleted").length, 1);
    for (const client of [ann, bob, eve]) await assertGone(client, id, file.id);
    for (const { name, events } of await replays(t, bob, cursor)) {
      assert.ok(!JSON.stringify(events).includes(marker), name);
      assert.equal(events.at(-1)?.type, "discussion.deleted", name);
    }
    assert.deepEqual(
      (await findInDatabase(t.databaseUrl, marker)).filter((name) => name === "log_events"),
      [],
      "the log tells nothing of it",
    );
    assert.ok((await countMessages(t.databaseUrl)) > limits.removalStep, "not a step was taken until now");

    await allowSteps(t.databaseUrl);
    await t.another(); // Looks for what others left when it starts.
    await assertRemoved(t.databaseUrl);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
    const [log] = await query(
      t.databaseUrl,
      "SELECT count(*)::int AS count, max(position)::int AS newest FROM log_events WHERE position > 0",
    );
    assert.equal(log.count, log.newest, "the log has no hole");
    for (const { name, events } of await replays(t, bob, cursor))
      assert.equal(events.at(-1)?.type, "discussion.deleted", name);
  }, env));

test("what a server that was killed between two steps did not remove, the next one does", () =>
  withProgram({ NODE_ENV: "test" }, async (program) => {
    const { databaseUrl } = program;
    const { ann, id, path } = await createRoom(program.url);
    await fill(databaseUrl, id, ann);
    await delay(databaseUrl);
    await ann.ok("DELETE", path);
    await eventually(async () => {
      assert.ok((await countMessages(databaseUrl)) <= many - 2 * limits.removalStep, "a step was taken");
    }, 30_000);
    program.kill("SIGKILL");
    await program.exited;
    assert.ok((await countMessages(databaseUrl)) > 0, "it was killed in the middle");
    await allowSteps(databaseUrl);
    const next = await startTestParley(databaseUrl);
    try {
      await assertRemoved(databaseUrl);
      assert.deepEqual(await findInDatabase(databaseUrl, marker), []);
    } finally {
      await next.close();
    }
  }));

test("an account is erased that is alone in such a discussion, and its texts are too", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t.url, "ann", "bob");
    const own = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const alone = await ann.ok("POST", "/discussions", { kind: "group", name: "alone", member_ids: [] });
    const shared = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    await fill(t.databaseUrl, own.id, ann);
    await ann.send(alone.id, `${marker} alone`);
    await ann.send(shared.id, "what I leave");
    await delay(t.databaseUrl);
    await ann.ok("DELETE", "/users/me", { password });
    assert.deepEqual(await findInDatabase(t.databaseUrl, `${marker} alone`), []);
    await allowSteps(t.databaseUrl);
    await assertRemoved(t.databaseUrl);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
    const { items } = await bob.ok("GET", `/discussions/${shared.id}/messages`);
    assert.equal(items[0].content, "what I leave");
  }, env));

test("before, between and after the steps, the log tells the same", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, path, cursor } = await createRoom(t.url);
    for (const [n, client] of [ann, bob, carl, ann, bob, carl, ann].entries()) {
      await client.send(id, `${marker} ${n + 1}`);
      await ann.ok("PUT", `${path}/messages/${n + 1}/reactions/${encodeURIComponent("👍")}`);
    }
    for (const seq of [1, 4, 7]) await ann.ok("PATCH", `${path}/messages/${seq}`, { content: marker });
    await bob.ok("DELETE", `${path}/messages/2`);
    await bob.ok("PUT", `${path}/read`, { seq: 6 });
    await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
    await ann.ok("PATCH", path, { name: `${marker} renamed` });
    const other = await bob.ok("POST", "/discussions", { kind: "direct", user_id: carl.user.id });
    await bob.send(other.id, "what stays");

    // By hand: the servers find it only when they next look for what was left.
    await query(t.databaseUrl, "DELETE FROM discussions WHERE id = $1", [id]);
    await assertNotIndexed(t.databaseUrl);
    const log = () => query(t.databaseUrl, "SELECT * FROM log_events ORDER BY position");
    const told = await log();
    assert.ok(!JSON.stringify(told).includes(marker));
    assert.ok(JSON.stringify(told).includes("what stays"));
    let steps = 0;
    for (let done = 1; done > 0; steps++) {
      const rows = await query(asServer(t.databaseUrl), "SELECT remove_deleted(3) AS done");
      done = rows[0].done;
      assert.deepEqual(await log(), told, `after step ${steps + 1}`);
    }
    assert.ok(steps > 8, `${steps} steps`);
    assert.deepEqual(await query(t.databaseUrl, "SELECT * FROM discussion_removals"), []);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
    for (const { name, events } of await replays(t, carl, cursor))
      assert.deepEqual(events.map(({ type }) => type).slice(-2), ["discussion.created", "message.new"], name);
  }, env));

test("a read mark that is moved while the discussion is being deleted leaves no event of its own", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createRoom(t.url);
    await ann.send(id, `${marker} to be read`);
    await withSql(t.databaseUrl, async (db) => {
      await db.query("BEGIN");
      await db.query("UPDATE members SET last_read_seq = 1 WHERE user_id = $1", [bob.user.id]);
      const deleting = ann.ok("DELETE", path);
      await eventually(() => assertWaiting(t.databaseUrl));
      await db.query("COMMIT");
      await deleting;
    });
    await assertRemoved(t.databaseUrl);
    assert.deepEqual(await eventsOfAll(t.databaseUrl, id), ["event.erased"]);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
  }, env));

test("a server of the version before deletes in one go, beside these functions and rights", () =>
  withServer(async (t) => {
    const { ann, id } = await createRoom(t.url);
    for (const n of [1, 2, 3]) await ann.send(id, `${marker} ${n}`);
    await withSql(asServer(t.databaseUrl), async (db) => {
      await db.query("BEGIN");
      await db.query("SELECT lock_discussions(array[$1::uuid])", [id]);
      await db.query("DELETE FROM messages WHERE discussion_id = $1", [id]);
      await db.query("SELECT erase_events(array[$1::uuid])", [id]);
      await db.query("DELETE FROM discussions WHERE id = $1", [id]);
      await db.query("COMMIT");
    });
    assert.deepEqual(await query(t.databaseUrl, "SELECT * FROM discussion_removals"), []);
    assert.deepEqual(await eventsOfAll(t.databaseUrl, id), ["event.erased"]);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
  }, env));

/** The types of a discussion's events that tell of nobody by name, each once. */
async function eventsOfAll(databaseUrl: string, id: string): Promise<string[]> {
  const rows = await query(
    databaseUrl,
    "SELECT DISTINCT type FROM events WHERE discussion_id = $1 AND user_id IS NULL ORDER BY type",
    [id],
  );
  return rows.map(({ type }) => type);
}

/** Somebody waits for a lock. */
async function assertWaiting(databaseUrl: string): Promise<void> {
  const waiting = await query(
    databaseUrl,
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
  );
  assert.ok(waiting.length > 0);
}

/** Gives a discussion many messages that are older than the log, as if they had been sent long ago. */
async function fill(databaseUrl: string, id: string, sender: Client): Promise<void> {
  await query(
    databaseUrl,
    `ALTER TABLE messages DISABLE TRIGGER USER;
     INSERT INTO messages (position, discussion_id, seq, sender_id, content)
     SELECT n - ${many + 1}, '${id}', n, '${sender.user.id}', '${marker} ' || n
     FROM generate_series(1, ${many}) AS n;
     ALTER TABLE messages ENABLE TRIGGER USER`,
  );
}

/** From now on it takes a millisecond to delete a message. */
async function delay(databaseUrl: string): Promise<void> {
  await query(
    databaseUrl,
    `CREATE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END $$;
     CREATE TRIGGER delay BEFORE DELETE ON messages FOR EACH ROW EXECUTE FUNCTION delay()`,
  );
}

/** From now on messages go in the transaction that deletes their discussion, and every later step fails. */
async function forbidSteps(databaseUrl: string): Promise<void> {
  await query(
    databaseUrl,
    `CREATE OR REPLACE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       IF NOT EXISTS (SELECT FROM discussions AS d WHERE d.id = OLD.discussion_id) THEN
         RAISE 'no step is taken';
       END IF;
       PERFORM pg_sleep(0.001);
       RETURN OLD;
     END $$`,
  );
}

async function allowSteps(databaseUrl: string): Promise<void> {
  await query(databaseUrl, "DROP TRIGGER delay ON messages");
}

async function countMessages(databaseUrl: string): Promise<number> {
  return (await query(databaseUrl, "SELECT count(*)::int AS count FROM messages"))[0].count;
}

async function assertRemoved(databaseUrl: string): Promise<void> {
  await eventually(async () => {
    assert.deepEqual(await query(databaseUrl, "SELECT * FROM discussion_removals"), []);
  }, 30_000);
}

/** What makes search documents, from the first message on, copies no text of what is being removed. */
async function assertNotIndexed(databaseUrl: string): Promise<void> {
  await query(databaseUrl, "DELETE FROM search_documents");
  await eventually(async () => {
    await query(databaseUrl, "SELECT index_messages(1000, 1000000)");
    const documents = await query(databaseUrl, "SELECT words FROM search_documents");
    assert.ok(documents.length > 7);
    assert.ok(!JSON.stringify(documents).includes(marker));
  });
}

/** Nothing that anybody can ask for has a trace of the discussion. */
async function assertGone(client: Client, id: string, fileId: string): Promise<void> {
  const path = `/discussions/${id}`;
  const gone = [path, `${path}/messages`, `${path}/messages/1/edits`, `${path}/members`, `${path}/presence`];
  for (const one of gone) assertProblem(await client.call("GET", one), 404, "discussion_not_found");
  assertProblem(
    await client.call("POST", `${path}/messages`, { content: "late" }),
    404,
    "discussion_not_found",
  );
  assertProblem(await client.call("GET", `/attachments/${fileId}`), 404, "attachment_not_found");
  const lists = ["/discussions", "/discussions?visibility=public", "/messages", `/search?q=${marker}`];
  for (const list of lists) assert.deepEqual((await client.ok("GET", list)).items, [], list);
  assertProblem(
    await client.call("GET", `/search?q=${marker}&discussion_id=${id}`),
    404,
    "discussion_not_found",
  );
}

test.run();
