import assert from "node:assert/strict";
import { test } from "uvu";
import { eventsOf, heard, ofType, openReady, viaInstance } from "../delivery/help.ts";
import { assertProblem, assertRefused, Client, type Json, pages } from "../support/client.ts";
import { type TestServer, withServer } from "../support/server.ts";
import {
  ask,
  assertCode,
  assertDone,
  assertFields,
  byBoth,
  byRest,
  createPair,
  createRoom,
  env,
  findInDatabase,
  history,
  kinds,
  messageAt,
  range,
  replays,
  settle,
  timestamp,
  unknownId,
} from "./help.ts";

/** The contents of the earlier versions, the oldest first; which end comes first the contract leaves open. */
async function earlier(client: Client, path: string, seq: number): Promise<string[]> {
  const { items } = await client.ok("GET", `${path}/messages/${seq}/edits`);
  return items.map(({ content }: Json) => content);
}

test("an edited message is the same everywhere, and only its text and edited_at have changed", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, path } = await createRoom(t.url);
    await ann.send(id, "question");
    const sent = await carl.send(id, "frist", { client_id: "c", reply_to_seq: 1 });
    await bob.ok("PUT", `${path}/messages/2/reactions/${encodeURIComponent("👍")}`);
    const answer = await carl.call("PATCH", `${path}/messages/2`, { content: "first" });
    assert.equal(answer.status, 200);
    const { edited_at } = answer.body;
    assert.match(edited_at, timestamp);
    assert.ok(edited_at >= sent.created_at);
    const reactions = [{ emoji: "👍", user_ids: [bob.user.id] }];
    assert.deepEqual(answer.body, { ...sent, content: "first", edited_at, reactions });
    for (const reader of [ann, bob, carl]) {
      assert.deepEqual(await messageAt(reader, id, 2), answer.body);
      assert.deepEqual((await reader.ok("GET", path)).last_message, answer.body);
      assert.deepEqual((await reader.ok("GET", "/discussions")).items[0].last_message, answer.body);
      assert.deepEqual((await reader.ok("GET", "/messages")).items[0], answer.body);
    }
    assert.equal((await ann.ok("GET", path)).last_seq, 2);
  }, env));

test("every member hears of an edit, on every kind of stream, with the JSON of the history", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, path } = await createRoom(t.url);
    await ann.send(id, "one");
    const streams = [];
    for (const kind of kinds)
      for (const client of [ann, bob, carl])
        for (const discussionId of [undefined, id])
          streams.push(await openReady(kind, client, { discussionId }));
    const edited = await ann.ok("PATCH", `${path}/messages/1`, { content: "two" });
    for (const stream of streams) {
      await heard(stream, "message.updated");
      const [event, ...more] = eventsOf(stream);
      assertFields(event, "at", "cursor", "discussion_id", "message", "type");
      assert.equal(event.discussion_id, id);
      assert.match(event.at, timestamp);
      assert.deepEqual(event.message, edited);
      assert.equal(JSON.stringify(event.message), JSON.stringify(await messageAt(bob, id, 1)));
      assert.deepEqual(more, []);
      stream.cut();
    }
  }, env));

test("nobody but the sender edits, not even the owner", () =>
  withServer(async (t) => {
    const { ann, bob, carl, eve, id, path } = await createRoom(t.url, "public");
    await carl.send(id, "carl's");
    await ann.send(id, "ann's");
    for (const client of [ann, bob])
      await byBoth(client, async (way, name) => {
        assertCode(await way.edit(id, 1, "not carl's"), "forbidden", name);
      });
    await byBoth(carl, async (way, name) => {
      assertCode(await way.edit(id, 2, "not ann's"), "forbidden", name);
    });
    await byBoth(eve, async (way, name) => {
      assertCode(await way.edit(id, 1, "not carl's"), "not_a_member", name);
    });
    assertProblem(await ann.call("PATCH", `${path}/messages/1`, { content: "x" }), 403, "forbidden");
    assertProblem(await eve.call("PATCH", `${path}/messages/1`, { content: "x" }), 403, "not_a_member");
    assertProblem(await eve.call("GET", `${path}/messages/1/edits`), 403, "not_a_member");
    assertRefused(await new Client(t.url).call("PATCH", `${path}/messages/1`, { content: "x" }), [401]);

    await ann.ok("PATCH", path, { visibility: "private" });
    await byBoth(eve, async (way, name) => {
      assertCode(await way.edit(id, 1, "x"), "discussion_not_found", name);
      assertCode(await way.edit(unknownId, 1, "x"), "discussion_not_found", name);
    });
    assertProblem(await eve.call("GET", `${path}/messages/1/edits`), 404, "discussion_not_found");
    const contents = (await history(ann, id)).map(({ content }) => content);
    assert.deepEqual(contents, ["carl's", "ann's"]);
    assert.deepEqual(await earlier(ann, path, 1), []);
  }, env));

test("who was removed edits nothing more, and after coming back one's own again", () =>
  withServer(async (t) => {
    const { ann, carl, id, path } = await createRoom(t.url);
    await carl.send(id, "before");
    await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
    await byBoth(carl, async (way, name) => {
      assertCode(await way.edit(id, 1, "after"), "discussion_not_found", name);
    });
    assert.equal((await messageAt(ann, id, 1)).content, "before");
    await ann.ok("POST", `${path}/members`, { user_ids: [carl.user.id] });
    assert.equal((await carl.ok("PATCH", `${path}/messages/1`, { content: "after" })).content, "after");
  }, env));

test("what is not there cannot be edited", () =>
  withServer(async (t) => {
    const { ann, id, path } = await createPair(t.url);
    await ann.send(id, "one");
    for (const seq of [2, 1_000, 2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1])
      await byBoth(ann, async (way, name) => {
        assertCode(await way.edit(id, seq, "x"), /^(message_not_found|invalid_request)$/, `${name} ${seq}`);
      });
    assertRefused(await ann.call("PATCH", `${path}/messages/2`, { content: "x" }), [404]);
    assertRefused(await ann.call("GET", `${path}/messages/2/edits`), [404]);
  }, env));

test("earlier versions are kept, each once, and members read them", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    await ann.send(id, "version 1");
    assert.deepEqual(await earlier(bob, path, 1), []);
    for (const n of range(2, 8)) await ann.ok("PATCH", `${path}/messages/1`, { content: `version ${n}` });
    const expected = range(1, 7).map((n) => `version ${n}`);
    const found = await earlier(bob, path, 1);
    const isRising = found[0] === "version 1";
    assert.deepEqual(isRising ? found : [...found].reverse(), expected);
    assert.deepEqual(await earlier(ann, path, 1), found);
    const list = await bob.ok("GET", `${path}/messages/1/edits?limit=3`);
    assertFields(list, "items", "next_cursor");
    assert.equal(list.items.length, 3);
    const walked = await pages(bob, `${path}/messages/1/edits?`, 3);
    assert.deepEqual(
      walked.map(({ content }) => content),
      found,
    );
    assert.ok(!(await earlier(ann, path, 1)).includes("version 8"), "the present text is no earlier one");
  }, env));

test("editing follows the bounds of sending, and a refusal changes nothing", () =>
  withServer(async (t) => {
    const { ann, id, path } = await createPair(t.url);
    const sent = await ann.send(id, "as it was");
    const wrong = ["", "x".repeat(16_001), "🙂".repeat(16_001), "a\u0000b", "\ud83d", "x\udfff"];
    await byBoth(ann, async (way, name) => {
      for (const content of [...wrong, null, 5, true, ["x"], { text: "x" }, undefined])
        assertCode(
          await way.edit(id, 1, content),
          "invalid_request",
          `${name} ${String(content).slice(0, 9)}`,
        );
      for (const more of [{ mentions: [] }, { edited_at: null }, { client_id: "x" }, { reply_to_seq: 1 }])
        assertCode(await way.edit(id, 1, "x", more), "invalid_request", `${name} ${JSON.stringify(more)}`);
    });
    const refusal = await ann.call("PATCH", `${path}/messages/1`, { content: "" });
    assertProblem(refusal, 400, "invalid_request");
    assert.deepEqual(
      refusal.body.errors.map((error: Json) => error.path),
      ["content"],
    );
    assert.deepEqual(await messageAt(ann, id, 1), sent);
    assert.deepEqual(await earlier(ann, path, 1), []);
    for (const content of ["🙂".repeat(16_000), " ", "\u0001\u2028\uffff", "x"])
      assert.equal((await ann.ok("PATCH", `${path}/messages/1`, { content })).content, content);
  }, env));

test("an edit resolves the mentions anew", () =>
  withServer(async (t) => {
    const { ann, bob, carl, eve, id, path } = await createRoom(t.url);
    const edit = async (content: string) =>
      (await ann.ok("PATCH", `${path}/messages/1`, { content })).mentions.sort();
    assert.deepEqual((await ann.send(id, "@bob")).mentions, [bob.user.id]);
    assert.deepEqual(await edit("@carl and @bob, @carl"), [bob.user.id, carl.user.id].sort());
    assert.deepEqual(await edit("@carl"), [carl.user.id]);
    assert.deepEqual(await edit("@eve"), [], "no member");
    assert.deepEqual(await edit("nobody"), []);
    await ann.ok("POST", `${path}/members`, { user_ids: [eve.user.id] });
    assert.deepEqual(await edit("@eve now"), [eve.user.id]);
    assert.deepEqual((await messageAt(carl, id, 1)).mentions, [eve.user.id]);
  }, env));

test("the frame message.edit does the same, and its ref comes back", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    await ann.send(id, "one");
    for (const discussionId of [undefined, id]) {
      const socket = await openReady("ws", ann, { discussionId });
      const other = await openReady("ws", bob);
      const content = `by a socket of ${discussionId ?? "all"}`;
      const frame = { type: "message.edit", seq: 1, content };
      const ack = await ask(socket, discussionId ? frame : { ...frame, discussion_id: id });
      assert.equal(ack.type, "ack");
      const stored = await messageAt(bob, id, 1);
      assert.equal(stored.content, content);
      assert.deepEqual(ack.message, stored, "an ack carries the message, as everywhere");
      for (const stream of [socket, other]) {
        await heard(stream, "message.updated");
        assert.deepEqual(ofType(stream, "message.updated")[0].message, stored);
        stream.cut();
      }
    }
  }, env));

/** The messages that a client has after a replay over what it had read before. */
function replayed(before: readonly Json[], events: readonly Json[]): Json[] {
  const messages = new Map(before.map((message) => [message.seq, message]));
  for (const { type, message } of events)
    if (type === "message.new" || type === "message.updated") messages.set(message.seq, message);
  return [...messages.values()].sort((a, b) => a.seq - b.seq);
}

async function editOften(t: TestServer) {
  const room = await createPair(t.url);
  const { ann, bob, id, path, cursor } = room;
  await ann.send(id, "oldest-zqx one");
  await bob.send(id, "untouched");
  const between = await bob.ok("GET", `${path}/messages`);
  for (const text of ["older-zqx one", "old-zqx one", "final one"])
    await ann.ok("PATCH", `${path}/messages/1`, { content: text });
  await ann.send(id, "older-zqx three");
  await ann.ok("PATCH", `${path}/messages/3`, { content: "final three" });
  return { ...room, cursor, between };
}

test("a replay over edits ends in the same state as a fresh read", () =>
  withServer(async (t) => {
    const { bob, id, cursor, between } = await editOften(t);
    const fresh = await history(bob, id);
    for (const discussionId of [undefined, id]) {
      for (const { name, events } of await replays(t, bob, cursor, discussionId)) {
        const seqs = events.filter(({ type }) => type === "message.new").map(({ message }) => message.seq);
        assert.deepEqual(seqs, [1, 2, 3], `${name}: each new message once`);
        assert.ok(
          events.some(({ type, message }) => type === "message.updated" && message.seq === 1),
          name,
        );
        assert.deepEqual(replayed([], events), fresh, name);
      }
      for (const { name, events } of await replays(t, bob, between.cursor, discussionId))
        assert.deepEqual(replayed(between.items, events), fresh, `${name}, from between`);
    }
  }, env));

test("a text that was replaced is in no kept event, nor in the database but as an earlier version", () =>
  withServer(async (t) => {
    const { bob, cursor, path } = await editOften(t);
    for (const { name, events } of await replays(t, bob, cursor))
      assert.ok(!JSON.stringify(events).includes("zqx"), name);
    const tables = await findInDatabase(t.databaseUrl, "zqx");
    assert.deepEqual(tables, ["message_edits"]);
    assert.equal((await earlier(bob, path, 1)).length, 3, "though as an earlier version it is there");
  }, env));

test("edits of one message at once, on two instances, each leave one earlier version", () =>
  withServer(async (t) => {
    const { ann, bob, id, path, cursor } = await createPair(t.url);
    const far = viaInstance(ann, (await t.another()).url);
    const stream = await openReady("ws", bob);
    await ann.send(id, "text 0");
    const texts = range(1, 20).map((n) => `text ${n}`);
    await Promise.all(
      texts.map((content, n) => (n % 2 ? ann : far).ok("PATCH", `${path}/messages/1`, { content })),
    );
    const final = await messageAt(bob, id, 1);
    assert.ok(texts.includes(final.content));
    const versions = [...(await earlier(bob, path, 1)), final.content].sort();
    assert.deepEqual(versions, ["text 0", ...texts].sort());
    await settle(ann, id, stream);
    assert.deepEqual(ofType(stream, "message.updated").at(-1).message, final, "the last event is the state");
    for (const { name, events } of await replays(t, bob, cursor))
      assert.deepEqual(replayed([], events)[0], final, name);
    stream.cut();
  }, env));

test("an edit is no new message: counts, order and client_id stay", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    await ann.send(id, "one", { client_id: "once" });
    await ann.send(id, "two");
    await bob.ok("PUT", `${path}/read`, { seq: 1 });
    await ann.ok("PATCH", `${path}/messages/1`, { content: "one, better" });
    const { unread_count, last_seq, last_message } = await bob.ok("GET", path);
    assert.deepEqual([unread_count, last_seq, last_message.content], [1, 2, "two"]);
    // A late retry of the sending: the stored message, or a conflict; never the old text or a second one.
    const retry = await ann.call("POST", `${path}/messages`, { content: "one", client_id: "once" });
    if (retry.status === 200) assert.deepEqual(retry.body, await messageAt(ann, id, 1));
    else assertProblem(retry, 409, "client_id_reused");
    assert.deepEqual(
      (await history(ann, id)).map(({ content }) => content),
      ["one, better", "two"],
    );
    const reply = await bob.send(id, "answer", { reply_to_seq: 1 });
    assert.equal(reply.reply_to_seq, 1);
  }, env));

test("search finds the new text and not the old", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const find = async (word: string) => (await bob.ok("GET", `/search?q=${word}`)).items.length;
    await ann.send(id, "a walrus in the garden");
    assert.equal(await find("walrus"), 1);
    assertDone(await byRest(ann).edit(id, 1, "a penguin in the garden"));
    assert.deepEqual([await find("walrus"), await find("alru"), await find("penguin")], [0, 0, 1]);
  }, env));

test.run();
