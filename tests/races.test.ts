import assert from "node:assert/strict";
import pg from "pg";
import { test } from "uvu";
import { createGroup, eventsOf, heardMessage, openReady } from "./delivery/help.ts";
import { assertProblem, Client, type Json, password, register } from "./support/client.ts";
import { query } from "./support/postgres.ts";
import { eventually, withServer } from "./support/server.ts";
import { openTestStream } from "./support/streams.ts";

test("a discussion's id in capitals names the same discussion, also to a stream that ends at removal", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const group = await createGroup(ann, "G", [bob]);
    const capitals = group.id.toUpperCase();
    assert.equal((await bob.ok("GET", `/discussions/${capitals}`)).id, group.id);
    for (const kind of ["sse", "ws"] as const) {
      const stream = await openTestStream(kind, bob, { discussionId: capitals });
      await stream.until((received) => received.some(({ type }) => type === "ready"));
      await ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id.toUpperCase()}`);
      await eventually(() => assert.equal(stream.ended(), 4503));
      await ann.ok("POST", `/discussions/${group.id}/members`, { user_ids: [bob.user.id] });
    }
  }));

test("a right that was taken away while a change waited for it is not used any more", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const eve = await register(t.url, "eve");
    const group = await createGroup(ann, "G", [bob]);
    await withConnection(t.databaseUrl, async (client) => {
      await client.query("BEGIN");
      await client.query("SELECT FROM discussions WHERE id = $1 FOR NO KEY UPDATE", [group.id]);
      const adding = bob.call("POST", `/discussions/${group.id}/members`, { user_ids: [eve.user.id] });
      await eventually(() => assertWaiting(t.databaseUrl));
      await client.query("DELETE FROM members WHERE discussion_id = $1 AND user_id = $2", [
        group.id,
        bob.user.id,
      ]);
      await client.query("COMMIT");
      assertProblem(await adding, 404, "discussion_not_found");
    });
    assert.equal((await ann.ok("GET", `/discussions/${group.id}`)).member_count, 1);
  }));

test("a login with the password of before a change makes no session after it", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    await withConnection(t.databaseUrl, async (client) => {
      // Holds the login after the check of the password, where it would make the session.
      await client.query("BEGIN");
      await client.query("UPDATE users SET password_hash = 'another' WHERE username = 'ann'");
      const login = new Client(t.url).call("POST", "/auth/login", { username: "ann", password });
      await eventually(() => assertWaiting(t.databaseUrl));
      await client.query("COMMIT");
      assertProblem(await login, 401, "invalid_credentials");
      const { rows } = await client.query("SELECT count(*)::int AS sessions FROM sessions");
      assert.equal(rows[0].sessions, 1);
    });
    assert.ok(ann.token);
  }));

test("a message that meets its sender's removal comes before it or not at all", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const group = await createGroup(ann, "G", [bob]);
    await withConnection(t.databaseUrl, async (client) => {
      // The removal is carried out but for its event; the send comes while nobody else can see it yet.
      await client.query("BEGIN");
      await client.query("SELECT lock_log()");
      const removing = ann.call("DELETE", `/discussions/${group.id}/members/${bob.user.id}`);
      await eventually(() => assertWaiting(t.databaseUrl));
      const sending = bob.call("POST", `/discussions/${group.id}/messages`, { content: "too late" });
      await eventually(() => assertWaiting(t.databaseUrl, 2));
      await client.query("COMMIT");
      assert.equal((await removing).status, 204);
      assertProblem(await sending, 404, "discussion_not_found");
    });
  }));

test("of a message that is stored while its discussion is being deleted nothing is left", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const group = await createGroup(ann, "G", []);
    await ann.send(group.id, "a secret");
    await withConnection(t.databaseUrl, async (client) => {
      await client.query("BEGIN");
      await client.query(
        "INSERT INTO messages (discussion_id, sender_id, content) VALUES ($1, $2, 'a late secret')",
        [group.id, ann.user.id],
      );
      const deleting = ann.call("DELETE", `/discussions/${group.id}`);
      await eventually(() => assertWaiting(t.databaseUrl));
      await client.query("COMMIT");
      assert.equal((await deleting).status, 204);
      const { rows } = await client.query(
        `SELECT (SELECT count(*)::int FROM messages) AS messages,
           (SELECT count(*)::int FROM log_events WHERE data LIKE '%secret%') AS events`,
      );
      assert.deepEqual(rows, [{ messages: 0, events: 0 }]);
    });
  }));

test("a message of many mentions names the first fifty, each once", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const group = await createGroup(ann, "G", []);
    const names = Array.from({ length: 60 }, (_, index) => `u${100 + index}`);
    await withConnection(t.databaseUrl, (client) =>
      client.query(
        `WITH added AS (
           INSERT INTO users (username, display_name, password_hash)
           SELECT n, n, '' FROM unnest($1::text[]) AS n
           RETURNING id)
         INSERT INTO members (discussion_id, user_id) SELECT $2::uuid, id FROM added`,
        [names, group.id],
      ),
    );
    const text = [...names, ...names].map((name) => `@${name}`).join(" ");
    const { mentions } = await ann.send(group.id, text);
    assert.equal(mentions.length, 50);
    assert.equal(new Set(mentions).size, 50);
  }));

/** Passes once so many statements of this database wait for a lock. */
async function assertWaiting(url: string, count = 1): Promise<void> {
  await withConnection(url, async (client) => {
    const { rows } = await client.query(
      `SELECT count(*)::int AS waiting FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    assert.ok(rows[0].waiting >= count);
  });
}

async function withConnection<T>(url: string, act: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}

test("a group is deleted while its messages are being edited, and nobody is told of a mistake", () =>
  withServer(async (t) => {
    const [ann, bob] = await Promise.all([register(t.url, "ann"), register(t.url, "bob")]);
    const body = { kind: "group", name: "busy", member_ids: [bob.user.id] };
    const { id } = await ann.ok("POST", "/discussions", body);
    await query(
      t.databaseUrl,
      `INSERT INTO messages (discussion_id, sender_id, content)
       SELECT $1, $2, 'x' FROM generate_series(1, 3000)`,
      [id, bob.user.id],
    );
    let isOver = false;
    const statuses = new Set<number>();
    const editing = Array.from({ length: 4 }, async (_, part) => {
      for (let seq = 3_000 - part; !isOver; seq -= 4) {
        const answer = await bob.call("PATCH", `/discussions/${id}/messages/${seq}`, { content: "y" });
        statuses.add(answer.status);
      }
    });
    assert.equal((await ann.call("DELETE", `/discussions/${id}`)).status, 204);
    isOver = true;
    await Promise.all(editing);
    for (const status of statuses) assert.ok([200, 404].includes(status), `${status}`);
  }));

test("who is blocked does not see whether the other is there", () =>
  withServer(async (t) => {
    const [ann, bob] = await Promise.all([register(t.url, "ann"), register(t.url, "bob")]);
    await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    const stream = await openTestStream("ws", ann);
    const seen = async () => (await bob.ok("GET", `/users/${ann.user.id}/presence`)).status;
    await eventually(async () => assert.equal(await seen(), "online"));
    await ann.ok("PUT", `/users/${bob.user.id}/block`);
    assert.equal(await seen(), "offline");
    await ann.ok("DELETE", `/users/${bob.user.id}/block`);
    assert.equal(await seen(), "online");
    stream.cut();
  }));

interface Beside {
  act(ann: Client, bob: Client, id: string): Promise<unknown>;
  /** Of the event that tells of it; null: none is left to tell. */
  type: string | null;
}

/** What may come while a message of bob's is being stored. */
const besides: Record<string, Beside> = {
  "a group that is renamed": {
    act: (ann, _, id) => ann.ok("PATCH", `/discussions/${id}`, { name: "renamed" }),
    type: "discussion.updated",
  },
  "a member whose role changes": {
    act: (ann, bob, id) => ann.ok("PATCH", `/discussions/${id}/members/${bob.user.id}`, { role: "admin" }),
    type: "member.updated",
  },
  "a member who reads": {
    act: (_, bob, id) => bob.ok("PUT", `/discussions/${id}/read`, { seq: 1 }),
    type: null,
  },
};

for (const [name, { act, type }] of Object.entries(besides))
  test(`${name} is told of as it is at that place in the log, after a message that was faster`, () =>
    withServer(async (t) => {
      const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
      const { id } = await createGroup(ann, "group", [bob]);
      await ann.send(id, "one");
      const stream = await openReady("ws", ann);
      await withConnection(t.databaseUrl, async (client) => {
        await client.query("BEGIN");
        await client.query("SELECT lock_discussions(array[$1::uuid]), lock_log()", [id]);
        const acting = act(ann, bob, id);
        await eventually(() => assertWaiting(t.databaseUrl));
        const insert = "INSERT INTO messages (discussion_id, sender_id, content) VALUES ($1, $2, 'two')";
        await client.query(insert, [id, bob.user.id]);
        await client.query("COMMIT");
        await acting;
      });
      await ann.send(id, "the end");
      await heardMessage(stream, "the end");
      const [, event] = eventsOf(stream);
      stream.cut();
      // Who has sent has read: to mark an earlier message changes nothing then.
      if (type === null) return assert.equal(event.message?.content, "the end");
      assert.equal(event.type, type);
      const members = event.member ? [event.member] : event.discussion.members;
      const { last_read_seq } = members.find(({ user_id }: Json) => user_id === bob.user.id);
      assert.equal(last_read_seq, 2);
      if (event.discussion) assert.equal(event.discussion.last_seq, 2);
    }));

test.run();
