import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, type Client, type Json, register } from "../support/client.ts";
import { assertGone, download, picture, tryUpload, upload } from "../support/files.ts";
import { eventually, withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";

const env = { RATE_LIMITS: "off" };
const unknownId = "0198c0de-0000-7000-8000-000000000000";

/** Ann and Bob in a group; Cid is nobody to them. */
async function people(url: string) {
  const [ann, bob, cid] = await Promise.all([
    register(url, "ann"),
    register(url, "bob"),
    register(url, "cid"),
  ]);
  const { id } = await ann.ok("POST", "/discussions", { kind: "group", member_ids: [bob.user.id] });
  return { ann, bob, cid, id, path: `/discussions/${id}/messages` };
}

async function assertReadable(client: Client, url: string, content: string): Promise<void> {
  const { status, bytes } = await download(client, url);
  assert.equal(status, 200);
  assert.equal(String(bytes), content);
}

test("an upload is answered with what it is, and stays its uploader's until it is sent", () =>
  withServer(async (t) => {
    const { ann, bob, cid } = await people(t.url);
    const file = await upload(ann, "one, two", "list.txt", "application/x-sh");
    assert.match(file.id, /^[0-9a-f-]{36}$/);
    assert.deepEqual(file, {
      id: file.id,
      name: "list.txt",
      media_type: "text/plain",
      size: 8,
      url: `/api/v1/attachments/${file.id}`,
    });
    await assertReadable(ann, file.url, "one, two");
    for (const other of [bob, cid]) await assertGone(other, file.url);
    const nobody = await fetch(t.url + file.url);
    assert.equal(nobody.status, 401);
    await assertGone(ann, `/api/v1/attachments/${unknownId}`);
    assertProblem(await ann.call("GET", "/attachments/x"), 400, "invalid_request");
  }, env));

test("once sent it is read by the members of that discussion, as long as they are members", () =>
  withServer(async (t) => {
    const { ann, bob, cid, id } = await people(t.url);
    const file = await upload(ann, "for us");
    await ann.send(id, "see", { attachment_ids: [file.id] });
    await assertReadable(bob, file.url, "for us");
    await assertGone(cid, file.url);
    await ann.ok("POST", `/discussions/${id}/members`, { user_ids: [cid.user.id] });
    await assertReadable(cid, file.url, "for us");
    await ann.ok("DELETE", `/discussions/${id}/members/${bob.user.id}`);
    await assertGone(bob, file.url);
    await assertGone(bob, `${file.url}?thumbnail=1`);
    await ann.ok("PATCH", `/discussions/${id}/members/${cid.user.id}`, { role: "owner" });
    await ann.ok("DELETE", `/discussions/${id}/members/${ann.user.id}`);
    await assertReadable(ann, file.url, "for us");
  }, env));

test("a public group's attachments are for its members only", () =>
  withServer(async (t) => {
    const { ann, cid } = await people(t.url);
    const group = await ann.ok("POST", "/discussions", {
      kind: "group",
      member_ids: [],
      name: "all",
      visibility: "public",
    });
    const file = await upload(ann, "x");
    await ann.send(group.id, "", { attachment_ids: [file.id] });
    await assertGone(cid, file.url);
    await cid.ok("POST", `/discussions/${group.id}/join`);
    await assertReadable(cid, file.url, "x");
  }, env));

test("a message tells its attachments in its order, the same in answers, history, events and acks", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await people(t.url);
    const stream = await openTestStream("sse", bob);
    const socket = await openTestStream("ws", ann);
    await stream.until((received) => received.some(({ type }) => type === "ready"));
    const files = [
      await upload(ann, "a"),
      await upload(ann, await picture("png"), "b.png"),
      await upload(ann, "c"),
    ];
    const ids = files.map((file) => file.id).reverse();
    const message = await ann.send(id, "", { attachment_ids: ids });
    assert.deepEqual(message.attachments, files.toReversed());
    assert.equal(message.content, "");
    await stream.until((received) => received.some(({ type }) => type === "message.new"));
    assert.deepEqual(stream.received.find(({ type }) => type === "message.new").message, message);
    assert.deepEqual((await bob.ok("GET", path)).items, [message]);
    assert.deepEqual((await bob.ok("GET", "/messages")).items, [message]);
    assert.deepEqual((await bob.ok("GET", `/discussions/${id}`)).last_message, message);

    const more = await upload(ann, "d", "it's <b>🙂</b> {1}.txt");
    socket.send({
      type: "message.send",
      ref: "1",
      discussion_id: id,
      content: "",
      attachment_ids: [more.id],
    });
    await socket.until((received) => received.some(({ type }) => type === "ack"));
    const ack = socket.received.find(({ type }) => type === "ack");
    assert.deepEqual(ack.message.attachments, [more]);
    assert.equal(more.name, "b> {1}.txt", "the last part of a path");
    await socket.until((received) => received.filter(({ type }) => type === "message.new").length === 2);
    assert.deepEqual(
      socket.received.findLast(({ type }) => type === "message.new").message,
      (await bob.ok("GET", path)).items.at(-1),
    );
    socket.send({
      type: "message.send",
      ref: "2",
      discussion_id: id,
      content: "",
      attachment_ids: [more.id],
    });
    await socket.until((received) => received.some(({ type }) => type === "error"));
    assert.equal(socket.received.find(({ type }) => type === "error").code, "attachment_not_found");
    stream.cut();
    socket.cut();
  }, env));

test("only one's own and unsent attachments can be sent, and a refusal sends none of them", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await people(t.url);
    const [sent, mine, his] = [await upload(ann, "1"), await upload(ann, "2"), await upload(bob, "3")];
    await ann.send(id, "first", { attachment_ids: [sent.id] });
    for (const wrong of [sent.id, his.id, unknownId]) {
      const answer = await ann.call("POST", path, { content: "x", attachment_ids: [mine.id, wrong] });
      assertProblem(answer, 404, "attachment_not_found");
    }
    const refused: [Record<string, unknown>, number, string][] = [
      [{ content: "x", attachment_ids: [mine.id], reply_to_seq: 99 }, 404, "reply_not_found"],
      [{ content: "x", attachment_ids: [unknownId], reply_to_seq: 1 }, 404, "attachment_not_found"],
      [{ content: "", attachment_ids: [] }, 400, "invalid_request"],
      [{ content: "", attachment_ids: null }, 400, "invalid_request"],
      [{ content: "x", attachment_ids: [mine.id, mine.id.toUpperCase()] }, 400, "invalid_request"],
      [{ content: "x", attachment_ids: ["x"] }, 400, "invalid_request"],
      [{ content: "x", attachment_ids: mine.id }, 400, "invalid_request"],
      [{ content: "x", attachment_ids: Array.from({ length: 11 }, newId) }, 400, "invalid_request"],
    ];
    for (const [body, status, code] of refused) {
      assertProblem(await ann.call("POST", path, body), status, code);
    }
    await assertGone(bob, mine.url);
    assert.equal((await ann.send(id, "", { attachment_ids: [mine.id.toUpperCase()] })).seq, 2);
    await assertReadable(bob, mine.url, "2");
  }, env));

test("ten attachments fit into a message", () =>
  withServer(async (t) => {
    const { ann, id } = await people(t.url);
    const files = await Promise.all(Array.from({ length: 10 }, (_, index) => tryTwice(ann, `${index}`)));
    const message = await ann.send(id, "", { attachment_ids: files.map((file) => file.id) });
    assert.deepEqual(message.attachments, files);
  }, env));

test("the same client_id with the same attachments gives the stored message, with others a conflict", () =>
  withServer(async (t) => {
    const { ann, path } = await people(t.url);
    const [one, two] = [await upload(ann, "1"), await upload(ann, "2")];
    const body = { content: "x", client_id: "c", attachment_ids: [one.id] };
    const first = await ann.call("POST", path, body);
    assert.equal(first.status, 201);
    const again = await ann.call("POST", path, body);
    assert.equal(again.status, 200);
    assert.deepEqual(again.body, first.body);
    for (const attachment_ids of [[two.id], [one.id, two.id], []]) {
      assertProblem(await ann.call("POST", path, { ...body, attachment_ids }), 409, "client_id_reused");
    }
    const { content, client_id } = body;
    assertProblem(await ann.call("POST", path, { content, client_id }), 409, "client_id_reused");
    assert.equal((await ann.call("POST", path, { content: "", attachment_ids: [two.id] })).status, 201);
  }, env));

test("an attachment that many send at once goes with one message", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await people(t.url);
    const other = await t.another();
    const elsewhere = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    for (let round = 0; round < 5; round++) {
      const [file, more] = [await upload(ann, "x"), await upload(ann, "y")];
      const tries = Array.from({ length: 16 }, async (_, index) => {
        const target = index % 2 ? id : elsewhere.id;
        const response = await fetch(
          `${index % 4 < 2 ? t.url : other.url}/api/v1/discussions/${target}/messages`,
          {
            method: "POST",
            headers: { authorization: `Bearer ${ann.token}`, "content-type": "application/json" },
            body: JSON.stringify({
              content: "",
              attachment_ids: index % 3 ? [file.id, more.id] : [more.id, file.id],
            }),
          },
        );
        return { status: response.status, body: (await response.json()) as Json };
      });
      const answers = await Promise.all(tries);
      const codes = answers.map(({ status, body }) => (status === 201 ? "created" : body.code)).sort();
      assert.deepEqual(codes, [...Array(15).fill("attachment_not_found"), "created"]);
    }
  }, env));

test("what is deleted with its message is gone for all, its uploader too, and from the stream", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await people(t.url);
    const { cursor } = await bob.ok("GET", path);
    const file = await upload(ann, await picture("jpeg"), "a.jpg");
    const { seq } = await ann.send(id, "see", { attachment_ids: [file.id], client_id: "c" });
    await ann.ok("PATCH", `${path}/${seq}`, { content: "" });
    assert.equal((await bob.ok("GET", path)).items[0].attachments.length, 1);
    await ann.ok("DELETE", `${path}/${seq}`);
    for (const client of [ann, bob]) {
      await assertGone(client, file.url);
      await assertGone(client, `${file.url}?thumbnail=1`);
    }
    assert.deepEqual((await bob.ok("GET", path)).items[0].attachments, []);
    const replay = await openTestStream("sse", bob, { since: cursor });
    await replay.until((received) => received.some(({ type }) => type === "ready"));
    assert.ok(!JSON.stringify(replay.received).includes(file.id));
    replay.cut();
    assertProblem(
      await ann.call("POST", path, { content: "x", attachment_ids: [file.id] }),
      404,
      "attachment_not_found",
    );
  }, env));

test("what belongs to a deleted discussion is gone with it", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await people(t.url);
    const file = await upload(bob, "x");
    await bob.send(id, "", { attachment_ids: [file.id] });
    const kept = await upload(bob, "kept");
    await ann.ok("DELETE", `/discussions/${id}`);
    for (const client of [ann, bob]) await assertGone(client, file.url);
    await assertReadable(bob, kept.url, "kept");
  }, env));

test("what an erased account sent stays readable, what it did not send is gone", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await people(t.url);
    const [sent, unsent] = [await upload(bob, "sent"), await upload(bob, "unsent")];
    await bob.send(id, "", { attachment_ids: [sent.id] });
    await bob.ok("DELETE", "/users/me", { password: "correct horse battery" });
    await assertReadable(ann, sent.url, "sent");
    await assertGone(ann, unsent.url);
    assert.equal((await tryUpload(bob, "x")).status, 401);
  }, env));

test("who sends nothing of what they upload is stopped, and goes on once it is sent", () =>
  withServer(
    async (t) => {
      const { ann, bob, id } = await people(t.url);
      const files: Json[] = [];
      for (let index = 0; index < 100; index++) files.push(await upload(ann, "x"));
      assertProblem(await tryUpload(ann, "x"), 409, "too_many_attachments");
      assert.equal((await tryUpload(bob, "x")).status, 201);
      await ann.send(id, "", { attachment_ids: [files[0].id] });
      await upload(ann, "x");
      // 10 times the largest attachment.
      const large = Buffer.alloc(1000, "x");
      for (let index = 0; index < 8; index++) await upload(bob, large);
      const atOnce = await Promise.all([1, 2, 3].map(() => tryUpload(bob, large)));
      assert.deepEqual(atOnce.map(({ status }) => status).sort(), [201, 409, 409]);
      await upload(bob, Buffer.alloc(999, "x"));
    },
    { ...env, ATTACHMENT_MAX_BYTES: "1000" },
  ));

/** More than a few at once of one user are told to come back. */
async function tryTwice(client: Client, content: string): Promise<Json> {
  return eventually(() => upload(client, content));
}

function newId(_: unknown, index: number): string {
  return unknownId.slice(0, -2) + String(index + 10);
}

test.run();
