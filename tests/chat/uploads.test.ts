import assert from "node:assert/strict";
import { test } from "uvu";
import { createDirect, eventsOf, ofType, openReady, viaInstance } from "../delivery/help.ts";
import {
  type Answer,
  assertProblem,
  assertRefused,
  type Client,
  type Json,
  password,
} from "../support/client.ts";
import { withServer } from "../support/server.ts";
import {
  ask,
  assertDone,
  byRest,
  clientErrors,
  createPair,
  createRoom,
  env,
  fetchText,
  findInDatabase,
  history,
  messageAt,
  people,
  range,
  replays,
  settle,
  upload,
} from "./help.ts";

// What attachments, avatars and signals promise beside the rest of the chat.
const marker = "zqxsecret";

async function uploaded(client: Client, text: string): Promise<Json> {
  const { status, body } = await upload(client, "a.txt", text);
  assert.equal(status, 201, JSON.stringify(body));
  return body;
}

const trySend = (client: Client, id: string, body: Json): Promise<Answer> =>
  client.call("POST", `/discussions/${id}/messages`, body);

test("an attachment belongs to one message: of many that claim it at once, one has it", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const own = await createDirect(ann, ann);
    const far = viaInstance(ann, (await t.another()).url);
    for (const round of range(1, 5)) {
      const { id: file } = await uploaded(ann, `${marker} ${round}`);
      const answers = await Promise.all(
        range(1, 10).map((n) =>
          trySend(n % 2 ? ann : far, n % 3 ? id : own.id, { content: `${n}`, attachment_ids: [file] }),
        ),
      );
      const sent = answers.filter(({ status }) => status === 201);
      assert.equal(sent.length, 1, `${answers.map(({ status }) => status)}`);
      for (const answer of answers) if (answer.status !== 201) assertRefused(answer, clientErrors);
      const isShared = sent[0]?.body.discussion_id === id;
      const { status } = await fetchText(bob, "GET", `/attachments/${file}`);
      assert.equal(status === 200, isShared, "only the members of that discussion read it");
    }
    const both = [...(await history(ann, id)), ...(await history(ann, own.id))];
    assert.equal(both.length, 5, "a refused message is not sent without its attachment either");
  }, env));

test("the same attachment twice in one message, or too many, is refused or taken once", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const { id: file } = await uploaded(ann, "text");
    const many = Array(500).fill(file);
    assertRefused(await trySend(ann, id, { content: "x", attachment_ids: many }), clientErrors);
    assertRefused(await trySend(bob, id, { content: "x", attachment_ids: [file] }), clientErrors);
    const twice = await trySend(ann, id, { content: "x", attachment_ids: [file, file] });
    if (twice.status === 201) assert.equal(twice.body.attachments.length, 1);
    else assertRefused(twice, clientErrors);
    assert.equal((await trySend(ann, id, { content: "", attachment_ids: [] })).status, 400, "empty is empty");
  }, env));

test("a client_id with attachments is idempotent, by route and by frame, and lets no other in", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const [first, second] = [await uploaded(ann, "first"), await uploaded(ann, "second")];
    const body = { content: "see", client_id: "c", attachment_ids: [first.id] };
    const sent = await trySend(ann, id, body);
    assert.equal(sent.status, 201);
    const again = await trySend(ann, id, body);
    assert.deepEqual([again.status, again.body], [200, sent.body]);
    const socket = await openReady("ws", ann, { discussionId: id });
    assert.deepEqual((await ask(socket, { type: "message.send", ...body })).message, sent.body);
    const other = await trySend(ann, id, { ...body, attachment_ids: [second.id] });
    assertProblem(other, 409, "client_id_reused");
    const none = await trySend(ann, id, { content: "see", client_id: "c" });
    // Without its attachments it is another content; to compare the text alone can be meant too.
    if (none.status === 200) assert.deepEqual(none.body, sent.body);
    else assertProblem(none, 409, "client_id_reused");
    assert.deepEqual(await history(bob, id), [sent.body]);
    socket.cut();
  }, env));

test("a message of attachments alone is edited, reacted to and told like any other", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createPair(t.url);
    const file = await uploaded(ann, "the text");
    const stream = await openReady("sse", bob);
    const sent = (await trySend(ann, id, { content: "", attachment_ids: [file.id] })).body;
    assert.equal(sent.content, "");
    assertDone(await byRest(ann).edit(id, 1, "with a word"));
    assertDone(await byRest(bob).react(id, 1, "👍"));
    const fresh = await messageAt(bob, id, 1);
    assert.deepEqual(fresh.attachments, sent.attachments);
    assert.equal(fresh.deleted_at, null);
    await settle(ann, id, stream);
    assert.deepEqual(ofType(stream, "message.updated")[0].message, { ...fresh, reactions: [] });
    for (const { name, events } of await replays(t, bob, cursor)) {
      const last = events.findLast(({ message }) => message?.seq === 1);
      assert.deepEqual(last?.message.attachments, sent.attachments, name);
    }
    stream.cut();
  }, env));

test("a deleted message takes its attachments from replays, and from who asks at the same time", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createPair(t.url);
    const { id: file, ...rest } = await uploaded(ann, `the text ${marker}`);
    assert.ok(!JSON.stringify(rest).includes(marker));
    await trySend(ann, id, { content: "see", attachment_ids: [file] });
    // One that has begun may be cut off, which is no answer.
    const read = () => fetchText(bob, "GET", `/attachments/${file}`).catch(() => ({ status: 404 }));
    const reading = range(1, 20).map(read);
    assertDone(await byRest(ann).remove(id, 1));
    for (const { status } of await Promise.all(reading))
      assert.ok(status === 200 || status === 404, `${status}`);
    for (const { name, events } of await replays(t, bob, cursor))
      assert.ok(!JSON.stringify(events).includes(file), name);
    for (const client of [ann, bob])
      assertRefused(await client.call("GET", `/attachments/${file}`), [404, 410]);
    const again = await trySend(ann, id, { content: "again", attachment_ids: [file] });
    assertRefused(again, clientErrors);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
  }, env));

test("with a deleted group go its attachments", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createRoom(t.url);
    const { id: file } = await uploaded(ann, `the text ${marker}`);
    await trySend(ann, id, { content: "see", attachment_ids: [file] });
    await ann.ok("DELETE", path);
    assertRefused(await bob.call("GET", `/attachments/${file}`), [404, 410]);
    // The uploader may still have it; whoever else may not.
    assert.ok((await fetchText(ann, "GET", `/attachments/${file}`)).status < 500);
  }, env));

const pixel = Uint8Array.from(
  atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="),
  (character) => character.charCodeAt(0),
);

test("an erased user's picture and unsent attachments are gone, what was sent stays with its message", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const form = new FormData();
    form.set("file", new Blob([pixel], { type: "image/png" }), "me.png");
    // Raw or as a form: the contract does not say.
    const asForm = await fetchText(ann, "PUT", "/users/me/avatar", form);
    const stored =
      asForm.status < 300
        ? asForm
        : await fetchText(ann, "PUT", "/users/me/avatar", pixel, { "content-type": "image/png" });
    assert.ok(stored.status < 300, stored.text);
    const avatar = () => fetchText(bob, "GET", `/users/${ann.user.id}/avatar`);
    assert.doesNotMatch((await avatar()).headers.get("content-type") ?? "", /svg/);
    const unsent = await uploaded(ann, `never sent ${marker}`);
    const sent = await uploaded(ann, "was sent");
    await trySend(ann, id, { content: "see", attachment_ids: [sent.id] });
    assert.equal((await ann.call("DELETE", "/users/me", { password })).status, 204);
    const now = await avatar();
    assert.ok(
      now.status === 404 || /svg/.test(now.headers.get("content-type") ?? ""),
      "a generated one, or none",
    );
    assertRefused(await bob.call("GET", `/attachments/${unsent.id}`), [404]);
    assert.equal((await fetchText(bob, "GET", `/attachments/${sent.id}`)).text, "was sent");
  }, env));

test("who was removed hears no more typing and presence of that group, and others do", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, path } = await createRoom(t.url);
    const own = await createDirect(carl, carl);
    const [his, hers] = [await openReady("ws", carl), await openReady("ws", bob)];
    await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
    await his.until((received) => received.some(({ type }) => type === "member.removed"));
    const before = his.received.length;
    const socket = await openReady("ws", ann, { discussionId: id });
    assert.equal((await ask(socket, { type: "typing" })).type, "ack");
    await hers.until((received) => received.some(({ type }) => type === "typing"));
    await settle(carl, own.id, his);
    const later = his.received.slice(before).filter(({ user_id }) => user_id === ann.user.id);
    assert.deepEqual(later, []);
    assertRefused(await carl.call("GET", `${path}/presence`), [404]);
    assertRefused(await carl.call("POST", `${path}/typing`), [404]);
    for (const stream of [his, hers, socket]) stream.cut();
  }, env));

test("a flood of typing is told a few times, without a cursor, and leaves the events alone", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const [socket, stream] = [await openReady("ws", ann), await openReady("sse", bob)];
    const { cursor } = await bob.ok("GET", "/discussions");
    for (const n of range(1, 500)) socket.send({ type: "typing", ref: `${n}`, discussion_id: id });
    await socket.until((received) => received.some(({ ref }) => ref === "500"));
    assert.equal((await bob.ok("GET", "/discussions")).cursor, cursor, "nothing was stored");
    await settle(ann, id, stream);
    const told = ofType(stream, "typing");
    assert.ok(told.length < 100, `${told.length} signals of 500 frames`);
    for (const signal of told) assert.ok(!("cursor" in signal));
    assert.equal(eventsOf(stream).length, 1);
    for (const each of [socket, stream]) each.cut();
  }, env));

test("presence is told to people who share a discussion, and to no others", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "ann", "bob", "eve");
    await createDirect(ann, bob);
    const own = await createDirect(eve, eve);
    const [his, hers] = [await openReady("ws", bob), await openReady("ws", eve)];
    const stream = await openReady("sse", ann);
    const isOnline = ({ type, user_id, status }: Json) =>
      type === "presence" && user_id === ann.user.id && status === "online";
    await his.until((received) => received.some(isOnline), 15_000);
    assert.equal((await bob.ok("GET", `/users/${ann.user.id}/presence`)).status, "online");
    await settle(eve, own.id, hers);
    assert.deepEqual(
      hers.received.filter(({ user_id, type }) => type === "presence" && user_id === ann.user.id),
      [],
    );
    for (const each of [his, hers, stream]) each.cut();
  }, env));

test.run();
