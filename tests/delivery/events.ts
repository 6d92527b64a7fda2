import assert from "node:assert/strict";
import { type Client, type Json, register } from "../support/client.ts";
import {
  type Behaviour,
  contentsOf,
  createDirect,
  createGroup,
  eventsOf,
  heard,
  heardMessage,
  ofType,
  openReady,
  withoutReader,
  withSql,
} from "./help.ts";

const envelope = ["at", "cursor", "discussion_id", "type"];
const discussionFields = [
  "created_at",
  "created_by",
  "id",
  "kind",
  "last_seq",
  "member_count",
  "members",
  "name",
  "visibility",
];
const memberFields = ["joined_at", "last_read_seq", "role", "user_id"];
const messageFields = [
  "attachments",
  "client_id",
  "content",
  "created_at",
  "deleted_at",
  "discussion_id",
  "edited_at",
  "mentions",
  "reactions",
  "reply_to_seq",
  "sender_id",
  "seq",
];

function assertFields(value: Json, fields: readonly string[]): void {
  assert.deepEqual(Object.keys(value).sort(), [...fields].sort());
}

/** Does, as owner of a new group, one thing for each event there is; gives what REST answered to each. */
async function doEverything(ann: Client, bob: Client, carl: Client) {
  const created = await createGroup(ann, "everything", [bob]);
  const path = `/discussions/${created.id}`;
  const message = await ann.send(created.id, "hello", { client_id: "one" });
  const renamed = await ann.ok("PATCH", path, { name: "renamed" });
  const added = await ann.ok("POST", `${path}/members`, { user_ids: [carl.user.id] });
  const promoted = await ann.ok("PATCH", `${path}/members/${bob.user.id}`, { role: "admin" });
  const read = await bob.ok("PUT", `${path}/read`, { seq: 1 });
  await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
  return { created, message, renamed, added, promoted, read };
}

const expectedTypes = [
  "discussion.created",
  "message.new",
  "discussion.updated",
  "member.added",
  "member.updated",
  "read.updated",
  "member.removed",
  "discussion.deleted",
];

/** What the durable events say, and how large or strange they may be. */
export const events: Behaviour[] = [
  {
    name: "every event has exactly its fields, and the same JSON as REST",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const carl = await register(t.url, "carl");
      const stream = await openReady(kind, bob);
      const { created, message, renamed, added, promoted, read } = await doEverything(ann, bob, carl);
      await ann.ok("DELETE", `/discussions/${created.id}`);
      await heard(stream, "discussion.deleted");
      const heardEvents = eventsOf(stream);
      assert.deepEqual(
        heardEvents.map(({ type }) => type),
        expectedTypes,
      );
      const own = [["discussion"], ["message"], ["discussion"], ["member"], ["member"]];
      own.push(["user_id", "last_read_seq"], ["user_id"], []);
      for (const [index, event] of heardEvents.entries()) {
        assertFields(event, [...envelope, ...(own[index] ?? [])]);
        assert.equal(event.discussion_id, created.id);
        assert.match(event.at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      }
      const [creation, sending, renaming, joining, promotion, reading, removal] = heardEvents;
      assertFields(creation.discussion, discussionFields);
      assert.deepEqual(creation.discussion, withoutReader(created));
      assertFields(sending.message, messageFields);
      assert.deepEqual(sending.message, message);
      assert.equal(JSON.stringify(sending.message), JSON.stringify(message));
      assert.deepEqual(renaming.discussion, withoutReader(renamed));
      assertFields(joining.member, memberFields);
      const memberOf = (discussion: Json, { user }: Client) =>
        discussion.members.find(({ user_id }: Json) => user_id === user.id);
      assert.deepEqual(joining.member, memberOf(added, carl));
      assert.deepEqual(promotion.member, memberOf(promoted, bob));
      assert.equal(promotion.member.role, "admin");
      assert.equal(reading.user_id, bob.user.id);
      assert.equal(reading.last_read_seq, read.last_read_seq);
      assert.equal(removal.user_id, carl.user.id);
      stream.cut();
    },
  },
  {
    name: "all members hear the same events, and a stream of one discussion all but its creation",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const carl = await register(t.url, "carl");
      const { cursor } = await ann.ok("GET", "/discussions");
      const { created } = await doEverything(ann, bob, carl);
      const streams = [
        await openReady(kind, ann, { since: cursor }),
        await openReady(kind, bob, { since: cursor }),
        await openReady(kind, bob, { since: cursor, discussionId: created.id }),
        await openReady(kind, ann, { since: created.cursor, discussionId: created.id }),
      ];
      const [whole, same, one, rest] = streams.map((stream) => eventsOf(stream));
      assert.deepEqual(
        whole?.map(({ type }) => type),
        expectedTypes.slice(0, -1),
      );
      assert.deepEqual(same, whole);
      assert.deepEqual(one, whole);
      assert.deepEqual(rest, whole?.slice(1));
      for (const stream of streams) stream.cut();
    },
  },
  {
    name: "events of several discussions come in the order of the log",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const groups = await Promise.all(["a", "b", "c"].map((name) => createGroup(ann, name, [bob])));
      const stream = await openReady(kind, bob);
      const sends = Array.from({ length: 60 }, (_, i) => ({ id: groups[i % 3].id, content: `m${i}` }));
      await Promise.all(
        sends.map(({ id, content }) => (content.endsWith("1") ? ann : bob).send(id, content)),
      );
      await heard(stream, "message.new", 60);
      const { rows } = await withSql(t.databaseUrl, (db) =>
        db.query(`select data::json #>> '{message,content}' as content, position::int as position
          from log_events where type = 'message.new' order by position`),
      );
      assert.deepEqual(
        contentsOf(stream),
        rows.map(({ content }) => content),
      );
      const positions = eventsOf(stream).map(({ cursor }) => Number(cursor.split(".")[1]));
      assert.deepEqual(
        positions,
        rows.map(({ position }) => position),
      );
      stream.cut();
    },
  },
  {
    name: "in a discussion of more than 50 members only the reader hears what was read",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const others = await withSql(t.databaseUrl, (db) =>
        db.query(`insert into users (username, display_name, password_hash)
          select 'user' || i, 'User', '' from generate_series(1, 49) as i returning id`),
      );
      const ids = others.rows.map(({ id }) => id);
      const member_ids = [bob.user.id, ...ids.slice(1)];
      const group = await ann.ok("POST", "/discussions", { kind: "group", name: "large", member_ids });
      assert.equal(group.member_count, 50);
      const [hers, his] = [await openReady(kind, ann), await openReady(kind, bob)];
      const path = `/discussions/${group.id}`;
      for (const content of ["one", "two", "three"]) await ann.send(group.id, content);
      await bob.ok("PUT", `${path}/read`, { seq: 1 });
      await ann.ok("POST", `${path}/members`, { user_ids: [ids[0]] });
      await bob.ok("PUT", `${path}/read`, { seq: 2 });
      await ann.send(group.id, "the end");
      const since = group.cursor;
      const replayed = [await openReady(kind, ann, { since }), await openReady(kind, bob, { since })];
      for (const stream of [hers, his]) await heardMessage(stream, "the end");
      const seqs = [hers, his, ...replayed].map((stream) =>
        ofType(stream, "read.updated").map(({ user_id, last_read_seq }) => {
          assert.equal(user_id, bob.user.id);
          return last_read_seq;
        }),
      );
      assert.deepEqual(seqs, [[1], [1, 2], [1], [1, 2]]);
      for (const stream of [hers, his, ...replayed]) stream.cut();
    },
  },
  {
    name: "reading what was read already, or less, makes no event",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const discussion = await createDirect(ann, bob);
      for (const content of ["one", "two"]) await ann.send(discussion.id, content);
      const stream = await openReady(kind, ann);
      for (const seq of [2, 2, 1]) await bob.ok("PUT", `/discussions/${discussion.id}/read`, { seq });
      await ann.send(discussion.id, "the end");
      await heardMessage(stream, "the end");
      assert.deepEqual(
        eventsOf(stream).map(({ type }) => type),
        ["read.updated", "message.new"],
      );
      stream.cut();
    },
  },
  {
    name: "events far larger than a notification arrive whole and in order",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      const stream = await openReady(kind, ann);
      const contents = [
        "small",
        "𝒳".repeat(16_000),
        "a".repeat(7_500),
        "b".repeat(7_900),
        "\u0001".repeat(16_000),
        "é".repeat(16_000),
        "small again",
      ];
      const sent = [];
      for (const content of contents) sent.push(await ann.send(discussion.id, content));
      await Promise.all(contents.map((content) => ann.send(discussion.id, content)));
      await heard(stream, "message.new", 14);
      assert.deepEqual(contentsOf(stream).slice(0, 7), contents);
      assert.deepEqual(contentsOf(stream).slice(7).sort(), [...contents].sort());
      assert.deepEqual(
        eventsOf(stream).map(({ message }) => message.seq),
        Array.from({ length: 14 }, (_, i) => i + 1),
      );
      assert.deepEqual(eventsOf(stream)[1].message, sent[1]);
      const replayed = await openReady(kind, ann, { since: discussion.cursor, discussionId: discussion.id });
      assert.deepEqual(eventsOf(replayed), eventsOf(stream));
      for (const each of [stream, replayed]) each.cut();
    },
  },
  {
    name: "500 messages of one SQL statement arrive complete and in order",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const discussion = await createDirect(ann, bob);
      const streams = [
        await openReady(kind, ann),
        await openReady(kind, bob),
        await openReady(kind, bob, { discussionId: discussion.id }),
      ];
      await withSql(t.databaseUrl, (db) =>
        db.query(
          `insert into messages (discussion_id, sender_id, content)
          select $1, $2, 'number ' || i from generate_series(1, 500) as i`,
          [discussion.id, ann.user.id],
        ),
      );
      await ann.send(discussion.id, "number 501");
      const expected = Array.from({ length: 501 }, (_, i) => `${i + 1} number ${i + 1}`);
      for (const stream of streams) {
        await heardMessage(stream, "number 501");
        const got = eventsOf(stream).map(({ message }) => `${message.seq} ${message.content}`);
        assert.deepEqual(got, expected);
        stream.cut();
      }
    },
  },
  {
    name: "a message inserted by plain SQL reaches every stream as its history shows it",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const discussion = await createDirect(ann, bob);
      const streams = [
        await openReady(kind, ann),
        await openReady(kind, bob, { discussionId: discussion.id }),
      ];
      await withSql(t.databaseUrl, (db) =>
        db.query("insert into messages (discussion_id, sender_id, content) values ($1, $2, 'by hand')", [
          discussion.id,
          bob.user.id,
        ]),
      );
      const { items } = await ann.ok("GET", `/discussions/${discussion.id}/messages`);
      assert.equal(items[0].content, "by hand");
      for (const stream of streams) {
        await heardMessage(stream, "by hand");
        assert.deepEqual(
          eventsOf(stream).map(({ message }) => message),
          items,
        );
        stream.cut();
      }
    },
  },
  {
    name: "an insert that is rolled back, or of no row, makes no event and no hole",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      const stream = await openReady(kind, ann);
      await ann.send(discussion.id, "before");
      const values = [discussion.id, ann.user.id];
      const insert = "insert into messages (discussion_id, sender_id, content) select $1, $2, 'never'";
      const { cursor } = await ann.ok("GET", "/discussions");
      await withSql(t.databaseUrl, async (db) => {
        await db.query("begin");
        await db.query(insert, values);
        await db.query("rollback");
        await db.query(`${insert} where false`, values);
      });
      assert.equal((await ann.ok("GET", "/discussions")).cursor, cursor);
      await ann.send(discussion.id, "after");
      await heardMessage(stream, "after");
      assert.deepEqual(contentsOf(stream), ["before", "after"]);
      assert.equal(eventsOf(stream)[1].message.seq, 2);
      const { rows } = await withSql(t.databaseUrl, (db) =>
        db.query("select max(position) - min(position) + 1 = count(*) as whole from log_events"),
      );
      assert.equal(rows[0].whole, true);
      stream.cut();
    },
  },
];
