import assert from "node:assert/strict";
import { test } from "uvu";
import { eventsOf, heard, ofType, openReady, viaInstance } from "../delivery/help.ts";
import { assertProblem, assertRefused, type Client, type Json } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import {
  ask,
  assertCode,
  assertDone,
  assertFields,
  byBoth,
  byRest,
  clientErrors,
  createPair,
  createRoom,
  env,
  fetchText,
  findInDatabase,
  history,
  kinds,
  messageAt,
  range,
  replays,
  settle,
  timestamp,
  unknownId,
  upload,
} from "./help.ts";

// A word that nothing else has, and that no dictionary of a search changes.
const marker = "zqxsecret";

test("the sender, an admin and an owner delete; each leaves the message in its place, empty", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const sent: Json[] = [];
    for (const content of ["one", "two", "three", "stays"]) sent.push(await carl.send(id, content));
    for (const [index, client] of [carl, bob, ann].entries()) {
      const answer = await client.call("DELETE", `/discussions/${id}/messages/${index + 1}`);
      assert.equal(answer.status, 204);
      assert.equal(answer.body, null);
    }
    const items = await history(bob, id);
    assert.equal(items.length, 4);
    for (const [index, item] of items.slice(0, 3).entries()) {
      assert.deepEqual(Object.keys(item), Object.keys(sent[index]));
      assert.equal(item.content, "");
      assert.match(item.deleted_at, timestamp);
      assert.deepEqual(item.attachments, []);
      for (const field of ["seq", "sender_id", "created_at", "discussion_id", "reply_to_seq"])
        assert.equal(item[field], sent[index][field], field);
    }
    assert.deepEqual(items[3], sent[3]);
    assert.equal((await carl.send(id, "next")).seq, 5, "no number is given twice");
  }, env));

test("nobody else deletes", () =>
  withServer(async (t) => {
    const { ann, bob, carl, eve, id, path } = await createRoom(t.url, "public");
    const [first, second] = [await ann.send(id, "ann's"), await bob.send(id, "bob's")];
    await byBoth(carl, async (way, name) => {
      for (const seq of [1, 2]) assertCode(await way.remove(id, seq), "forbidden", name);
    });
    await byBoth(eve, async (way, name) => {
      assertCode(await way.remove(id, 1), "not_a_member", name);
      assertCode(await way.remove(unknownId, 1), "discussion_not_found", name);
    });
    await ann.ok("PATCH", path, { visibility: "private" });
    await byBoth(eve, async (way, name) => {
      assertCode(await way.remove(id, 1), "discussion_not_found", name);
    });
    await byBoth(ann, async (way, name) => {
      assertCode(await way.remove(id, 3), /^message_not_found$/, name);
      for (const seq of [0, -1, 1.5])
        assertCode(await way.remove(id, seq), /^(invalid_request|message_not_found)$/, name);
    });
    await ann.ok("DELETE", `${path}/members/${bob.user.id}`);
    await byBoth(bob, async (way, name) => {
      assertCode(await way.remove(id, 2), "discussion_not_found", `${name}: removed`);
    });
    assert.deepEqual(await history(ann, id), [first, second]);
  }, env));

test("an admin who became a member deletes only own messages from then on", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, path } = await createRoom(t.url);
    for (const client of [carl, carl, bob]) await client.send(id, "text");
    assertDone(await byRest(bob).remove(id, 1));
    await ann.ok("PATCH", `${path}/members/${bob.user.id}`, { role: "member" });
    await byBoth(bob, async (way, name) => {
      assertCode(await way.remove(id, 2), "forbidden", name);
    });
    assertDone(await byRest(bob).remove(id, 3));
  }, env));

test("in a one-to-one discussion each deletes own messages", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    await ann.send(id, "ann's");
    await bob.send(id, "bob's");
    // The contract names the roles that delete; where the role there is a plain member, that is a refusal.
    if ((await bob.ok("GET", path)).my_role === "member")
      assertCode(await byRest(bob).remove(id, 1), "forbidden");
    assertDone(await byRest(bob).remove(id, 2));
    assert.equal((await messageAt(ann, id, 2)).content, "");
  }, env));

test("every member hears message.deleted with seq and deleted_at and nothing else", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    await carl.send(id, marker);
    const streams = [];
    for (const kind of kinds)
      for (const client of [ann, bob, carl])
        for (const discussionId of [undefined, id])
          streams.push(await openReady(kind, client, { discussionId }));
    assertDone(await byRest(bob).remove(id, 1));
    const { deleted_at } = await messageAt(ann, id, 1);
    for (const stream of streams) {
      await heard(stream, "message.deleted");
      const [event, ...more] = eventsOf(stream);
      assertFields(event, "at", "cursor", "deleted_at", "discussion_id", "seq", "type");
      assert.deepEqual([event.discussion_id, event.seq, event.deleted_at], [id, 1, deleted_at]);
      assert.deepEqual(more, []);
      stream.cut();
    }
  }, env));

test("the frame message.delete does the same, and its ref comes back", () =>
  withServer(async (t) => {
    const { ann, id } = await createPair(t.url);
    for (const discussionId of [undefined, id]) {
      const { seq } = await ann.send(id, marker);
      const socket = await openReady("ws", ann, { discussionId });
      const frame = { type: "message.delete", seq };
      const ack = await ask(socket, discussionId ? frame : { ...frame, discussion_id: id });
      assert.equal(ack.type, "ack");
      assert.ok(!JSON.stringify(ack).includes(marker));
      await heard(socket, "message.deleted");
      assert.equal((await messageAt(ann, id, seq)).content, "");
      socket.cut();
    }
  }, env));

/** A message that has been in as many places as there are: edited, mentioning, answered, reacted to. */
async function leaveTraces(ann: Client, bob: Client, id: string): Promise<number> {
  const path = `/discussions/${id}/messages`;
  const { seq } = await ann.send(id, `${marker} @bob`, { client_id: "traced" });
  await ann.ok("PATCH", `${path}/${seq}`, { content: `another ${marker}` });
  await ann.ok("PATCH", `${path}/${seq}`, { content: `a third ${marker}` });
  await bob.send(id, "answer", { reply_to_seq: seq });
  await bob.ok("PUT", `${path}/${seq}/reactions/${encodeURIComponent("👍")}`);
  await bob.ok("PUT", `/discussions/${id}/read`, { seq });
  return seq;
}

test("a deleted text is nowhere in the database: not in a table, nor a view, nor an index's column", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const seq = await leaveTraces(ann, bob, id);
    assert.notDeepEqual(await findInDatabase(t.databaseUrl, marker), [], "the look finds what is there");
    assertDone(await byRest(ann).remove(id, seq));
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
  }, env));

test("a deleted text is in no answer any more", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    const seq = await leaveTraces(ann, bob, id);
    const last = await ann.send(id, `last ${marker}`);
    for (const each of [seq, last.seq]) assertDone(await byRest(ann).remove(id, each));
    for (const client of [ann, bob])
      for (const target of [
        path,
        "/discussions",
        `${path}/messages`,
        `${path}/messages?around=${seq}`,
        "/messages",
        `/messages?discussion_id=${id}&sender_id=${ann.user.id}`,
      ]) {
        const body = JSON.stringify(await client.ok("GET", target));
        assert.ok(!body.includes(marker), target);
      }
    for (const client of [ann, bob]) {
      const edits = await client.call("GET", `${path}/messages/${seq}/edits`);
      // Nothing is left to list: an empty list, or nothing found.
      if (edits.status === 200) assert.deepEqual(edits.body.items, []);
      else assertRefused(edits, [404, 410]);
    }
    const shown = (await bob.ok("GET", path)).last_message;
    // The message before the last is bob's answer; whether the last one is shown as deleted is left open.
    assert.ok(shown.content === "" || shown.content === "answer");
    const listed = (await bob.ok("GET", "/messages")).items.find((item: Json) => item.seq === seq);
    if (listed) assert.deepEqual(listed, await messageAt(ann, id, seq));
  }, env));

test("a replay from an old cursor has the tombstone, never the text", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createPair(t.url);
    const live = await openReady("sse", bob);
    const seq = await leaveTraces(ann, bob, id);
    await settle(bob, id, live);
    const between = live.cursor() ?? "";
    assertDone(await byRest(ann).remove(id, seq));
    const fresh = await messageAt(bob, id, seq);
    await heard(live, "message.deleted");
    for (const discussionId of [undefined, id]) {
      for (const { name, events } of await replays(t, bob, cursor, discussionId)) {
        assert.ok(!JSON.stringify(events).includes(marker), name);
        const fresher = events.filter(({ type }) => type === "message.new");
        assert.deepEqual(
          fresher.map(({ message }) => message.seq),
          range(1, 3),
          `${name}: nothing is missing`,
        );
        assert.equal(fresher[seq - 1]?.message.content, "", name);
        const deletions = events.filter(({ type }) => type === "message.deleted");
        assert.deepEqual(
          deletions.map((event) => [event.seq, event.deleted_at]),
          [[seq, fresh.deleted_at]],
          name,
        );
      }
      for (const { name, events } of await replays(t, bob, between, discussionId))
        assert.deepEqual(
          events.map(({ type }) => type),
          ["message.deleted"],
          `${name}, from just before`,
        );
    }
    live.cut();
  }, env));

test("a text that is deleted while many stream is in no replay that is asked for after the answer", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createPair(t.url);
    const far = viaInstance(bob, (await t.another()).url);
    const seqs = range(1, 30);
    for (const seq of seqs) await ann.send(id, `${marker} ${seq}`);
    const remove = async (seq: number) => {
      const gone = `${marker} ${seq}"`;
      assertDone(await byRest(ann).remove(id, seq));
      const [kind, client] = [kinds[seq % 2] ?? "ws", seq % 3 ? far : bob];
      const stream = await openReady(kind, client, { since: cursor });
      assert.ok(!JSON.stringify(stream.received).includes(gone), `message ${seq} on ${kind}`);
      stream.cut();
    };
    await Promise.all(seqs.map(remove));
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
  }, env));

test("unread counts fall with each deletion of what was unread, and stay with others", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    for (const n of range(1, 6)) await ann.send(id, `${n}`);
    await bob.ok("PUT", `${path}/read`, { seq: 2 });
    const unread = async (client: Client) => (await client.ok("GET", path)).unread_count;
    assert.equal(await unread(bob), 4);
    for (const [seq, expected] of [
      [1, 4],
      [6, 3],
      [4, 2],
      [3, 1],
      [5, 0],
    ] as const) {
      assertDone(await byRest(ann).remove(id, seq));
      assert.equal(await unread(bob), expected, `after ${seq}`);
      const { items } = await bob.ok("GET", "/discussions");
      assert.equal(items[0].unread_count, expected);
    }
    assert.deepEqual(await bob.ok("PUT", `${path}/read`, { seq: 6 }), { last_read_seq: 6, unread_count: 0 });
    assert.equal(await unread(ann), 0);
  }, env));

test("a second deletion changes nothing and makes no event", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const far = viaInstance(bob, (await t.another()).url);
    const stream = await openReady("ws", ann);
    await carl.send(id, marker);
    const deletions = await Promise.all(
      [ann, bob, carl, far, ann, carl].map((client) => byRest(client).remove(id, 1)),
    );
    // The first is carried out; the others are too, or are told that there is nothing left.
    assert.ok(deletions.some(({ code }) => code === null));
    const fresh = await messageAt(ann, id, 1);
    await byBoth(bob, async (way, name) => {
      const { code, answer } = await way.remove(id, 1);
      if (code !== null) assert.match(code, /deleted|not_found/, `${name} ${JSON.stringify(answer)}`);
    });
    assert.deepEqual(await messageAt(ann, id, 1), fresh, "deleted_at is of the first");
    await settle(ann, id, stream);
    assert.equal(ofType(stream, "message.deleted").length, 1);
    stream.cut();
  }, env));

test("a deleted message can neither be edited nor reacted to", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const stream = await openReady("ws", bob);
    await carl.send(id, "gone");
    assertDone(await byRest(bob).remove(id, 1));
    const fresh = await messageAt(ann, id, 1);
    await byBoth(carl, async (way, name) => {
      assertCode(await way.edit(id, 1, marker), /^[a-z_]+$/, name);
      assertCode(await way.react(id, 1, "👍"), /^[a-z_]+$/, name);
    });
    assertRefused(
      await carl.call("PATCH", `/discussions/${id}/messages/1`, { content: marker }),
      clientErrors,
    );
    assert.deepEqual(await messageAt(ann, id, 1), fresh);
    await settle(ann, id, stream);
    assert.deepEqual(
      eventsOf(stream).map(({ type }) => type),
      ["message.new", "message.deleted", "message.new"],
    );
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
    stream.cut();
  }, env));

test("an edit and a deletion at once leave a tombstone, whichever was first", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, cursor } = await createRoom(t.url);
    const far = viaInstance(bob, (await t.another()).url);
    const seqs = range(1, 24);
    for (const seq of seqs) await carl.send(id, `${marker} ${seq}`);
    await Promise.all(
      seqs.flatMap((seq) => [
        byRest(carl).edit(id, seq, `${marker} again`),
        byRest(seq % 2 ? bob : far).remove(id, seq),
        byRest(carl).edit(id, seq, `${marker} and again`),
      ]),
    );
    for (const message of await history(ann, id)) assert.equal(message.content, "", `message ${message.seq}`);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
    for (const { name, events } of await replays(t, ann, cursor)) {
      assert.ok(!JSON.stringify(events).includes(marker), name);
      assert.equal(events.filter(({ type }) => type === "message.deleted").length, 24, name);
    }
  }, env));

test("sending a deleted message again with its client_id brings nothing back", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    await ann.send(id, marker, { client_id: "kept" });
    assertDone(await byRest(ann).remove(id, 1));
    const fresh = await messageAt(bob, id, 1);
    for (const content of [marker, "other"]) {
      // "The same again → 200 with the stored message", which is the tombstone; or a clear refusal.
      const retry = await ann.call("POST", `${path}/messages`, { content, client_id: "kept" });
      if (retry.status === 200) assert.deepEqual(retry.body, fresh);
      else assertRefused(retry, [404, 409, 410]);
    }
    assert.deepEqual(await history(bob, id), [fresh]);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
  }, env));

test("answers to a deleted message stay answers to it", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    await ann.send(id, marker);
    const reply = await bob.send(id, "answer", { reply_to_seq: 1 });
    assertDone(await byRest(ann).remove(id, 1));
    assert.deepEqual(await messageAt(ann, id, 2), reply);
    // It stays in place, so it may be answered; a clear refusal is as good.
    const late = await bob.call("POST", `${path}/messages`, { content: "late", reply_to_seq: 1 });
    if (late.status === 201) assert.equal(late.body.reply_to_seq, 1);
    else assertProblem(late, late.status, "reply_not_found");
  }, env));

test("search forgets a deleted text at once", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const find = async (word: string) => (await bob.ok("GET", `/search?q=${word}`)).items.length;
    await ann.send(id, `a ${marker} in the garden`);
    assert.equal(await find(marker), 1);
    assertDone(await byRest(ann).remove(id, 1));
    assert.deepEqual([await find(marker), await find(marker.slice(2, 7))], [0, 0]);
  }, env));

test("attachments go with their message", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const { status, body } = await upload(ann, `${marker}.txt`, `the text ${marker}`);
    assert.equal(status, 201, JSON.stringify(body));
    const sent = await ann.send(id, "see this", { attachment_ids: [body.id] });
    assert.equal(sent.attachments[0].id, body.id);
    assert.equal((await fetchText(bob, "GET", `/attachments/${body.id}`)).text, `the text ${marker}`);
    assertDone(await byRest(ann).remove(id, sent.seq));
    for (const client of [ann, bob])
      assertRefused(await client.call("GET", `/attachments/${body.id}`), [404, 410]);
    assert.deepEqual((await messageAt(bob, id, sent.seq)).attachments, []);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
  }, env));

test.run();
