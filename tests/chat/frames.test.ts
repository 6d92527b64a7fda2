import assert from "node:assert/strict";
import { test } from "uvu";
import { createDirect, createGroup, createRandom, eventsOf, openReady, seed } from "../delivery/help.ts";
import type { Client, Json } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import type { TestStream } from "../support/streams.ts";
import {
  ask,
  assertCode,
  assertDone,
  bySocket,
  createPair,
  createRoom,
  env,
  history,
  messageAt,
  people,
  range,
  settle,
  unknownId,
} from "./help.ts";

console.log(`seed ${seed} (SEED=${seed} tries it again)`);

const answers = (socket: TestStream) =>
  socket.received.filter(({ type }) => ["ack", "error", "pong"].includes(type));

/** Each frame of the contract about message 1, which must be one's own. */
const frames: Json[] = [
  { type: "message.send", content: "sent" },
  { type: "message.edit", seq: 1, content: "edited" },
  { type: "reaction.add", seq: 1, emoji: "👍" },
  { type: "reaction.remove", seq: 1, emoji: "👍" },
  { type: "read", seq: 1 },
  { type: "typing" },
  { type: "message.delete", seq: 1 },
];

for (const frame of frames) {
  const { type } = frame;

  test(`${type}: the discussion may be left out on its own socket, and must be named on that of all`, () =>
    withServer(async (t) => {
      const { ann, bob, id } = await createPair(t.url);
      await ann.send(id, "one");
      const one = await openReady("ws", ann, { discussionId: id });
      const all = await openReady("ws", ann);
      for (const [socket, sent] of [
        [one, frame],
        [one, { ...frame, discussion_id: id }],
        [all, { ...frame, discussion_id: id }],
      ] as const) {
        const answer = await ask(socket, sent);
        // A second deletion may be told that there is nothing left.
        if (type === "message.delete" && answer.type === "error")
          assert.match(answer.code, /deleted|not_found/);
        else assert.equal(answer.type, "ack", JSON.stringify(answer));
      }
      const refused = await ask(all, frame);
      assert.deepEqual([refused.type, refused.code], ["error", "invalid_request"]);
      await settle(bob, id, one, all);
      for (const socket of [one, all]) {
        assert.equal(socket.ended(), undefined);
        socket.cut();
      }
    }, env));

  test(`${type}: another discussion on a socket of one is never mistaken for this one`, () =>
    withServer(async (t) => {
      const { ann, bob, id } = await createPair(t.url);
      const other = await createGroup(ann, "other", [bob]);
      const hidden = await createDirect(bob, bob);
      for (const target of [id, other.id]) await ann.send(target, "one");
      await bob.send(hidden.id, "one");
      const socket = await openReady("ws", ann, { discussionId: id });
      const before = await history(ann, id);
      // The contract says what may be left out, not what else may be named: refused, or done where it says.
      const answer = await ask(socket, { ...frame, discussion_id: other.id });
      const there = await history(ann, other.id);
      if (answer.type === "error") {
        assert.equal(there.length, 1);
        assert.deepEqual([there[0].content, there[0].reactions], ["one", []]);
      }
      for (const discussion_id of [hidden.id, unknownId, "nonsense", "", null, 7, [id]])
        assert.equal((await ask(socket, { ...frame, discussion_id })).type, "error", String(discussion_id));
      assert.deepEqual(await history(ann, id), before);
      assert.equal((await history(bob, hidden.id)).length, 1);
      socket.cut();
    }, env));

  test(`${type}: a frame with mistakes is refused with its ref, and changes nothing`, () =>
    withServer(async (t) => {
      const { ann, bob, id } = await createPair(t.url);
      await ann.send(id, "one");
      const socket = await openReady("ws", ann, { discussionId: id });
      const before = await history(bob, id);
      const wrong: Json[] = [
        { ...frame, unknown: 1 },
        { ...frame, message: {} },
        { ...frame, user_id: bob.user.id },
      ];
      wrong.push({ ...frame, type: type.toUpperCase() }, { ...frame, type: `${type} ` });
      for (const seq of [undefined, null, "1", -1, 1.5, [1], {}, true])
        if ("seq" in frame) wrong.push({ ...frame, seq });
      // A read mark may be clamped, at either end; a message with such a number there is none.
      for (const seq of [0, 2 ** 31, 2 ** 53, 1e300])
        if ("seq" in frame && type !== "read") wrong.push({ ...frame, seq });
      for (const text of [undefined, null, 1, "", "a\u0000", "\ud800", ["x"], {}]) {
        if ("content" in frame) wrong.push({ ...frame, content: text });
        if ("emoji" in frame) wrong.push({ ...frame, emoji: text });
      }
      for (const each of wrong) {
        const answer = await ask(socket, each);
        assert.equal(answer.type, "error", JSON.stringify(each));
        assert.match(answer.code, /^(invalid_request|message_not_found)$/, JSON.stringify(each));
        assert.equal(typeof answer.detail, "string");
        assert.deepEqual(
          Object.keys(answer).filter((key) => !["type", "ref", "code", "detail"].includes(key)),
          [],
        );
      }
      for (const ref of [1, null, {}, [], true]) {
        const count = answers(socket).length;
        socket.send({ ...frame, ref });
        await socket.until(() => answers(socket).length > count);
        const answer = answers(socket)[count];
        assert.deepEqual([answer.type, answer.code], ["error", "invalid_request"]);
      }
      assert.deepEqual(await history(bob, id), before);
      await settle(bob, id, socket);
      assert.deepEqual(
        eventsOf(socket).map((event) => event.type),
        ["message.new"],
      );
      assert.equal(socket.ended(), undefined, "the socket stays open");
      socket.cut();
    }, env));
}

test("a frame without ref is answered without one, or not at all, and no refusal closes the socket", () =>
  withServer(async (t) => {
    const { ann, id } = await createPair(t.url);
    await ann.send(id, "one");
    const socket = await openReady("ws", ann, { discussionId: id });
    for (const frame of [...frames.slice(0, 5), { type: "message.edit", seq: 99, content: "x" }]) {
      const count = answers(socket).length;
      socket.send(frame);
      assert.equal((await ask(socket, { type: "ping" })).type, "pong");
      const [answer, ...more] = answers(socket).slice(count, -1);
      assert.deepEqual(more, []);
      // A sent message is acknowledged always, and a refusal told; of what else succeeds one may be silent.
      if (frame.type === "message.send" || frame.seq === 99) assert.ok(answer, frame.type);
      if (!answer) continue;
      assert.equal(answer.type, frame.seq === 99 ? "error" : "ack");
      assert.equal(answer.ref ?? null, null);
    }
    assert.equal((await history(ann, id)).length, 2);
    assert.equal((await messageAt(ann, id, 1)).content, "edited");
    socket.cut();
  }, env));

/** A frame by chance: most can be carried out, some not. */
function randomFrame(random: () => number): Json {
  const seq = 1 + Math.floor(random() * 12);
  const emoji = ["👍", "🎉", "not one"][Math.floor(random() * 3)];
  const choices: Json[] = [
    { type: "message.send", content: `text ${random()}` },
    { type: "message.send", content: "" },
    { type: "message.send", content: "reply", reply_to_seq: seq },
    { type: "message.edit", seq, content: `edited ${random()}` },
    { type: "message.delete", seq: seq + 4 },
    { type: "reaction.add", seq, emoji },
    { type: "reaction.remove", seq, emoji },
    { type: "read", seq },
    { type: "ping" },
    { type: "nonsense" },
  ];
  return choices[Math.floor(random() * choices.length)];
}

for (const burst of [300, 7]) {
  test(`frames of all kinds, sent ${burst} at a time, are carried out and answered in their order`, () =>
    withServer(async (t) => {
      const random = createRandom(seed + burst);
      const { ann, bob, id } = await createPair(t.url);
      for (const n of range(1, 8)) await (n % 3 ? ann : bob).send(id, `${n}`);
      const socket = await openReady("ws", ann, { discussionId: id });
      const sent = range(1, 300).map((n): Json => ({ ...randomFrame(random), ref: `${n}` }));
      for (const [index, frame] of sent.entries()) {
        if (index % burst === 0) await socket.until(() => answers(socket).length >= index - burst + 1);
        socket.send(frame);
      }
      await socket.until(() => answers(socket).length === sent.length, 60_000);
      assert.deepEqual(
        answers(socket).map(({ ref }) => ref),
        sent.map(({ ref }) => ref),
      );
      for (const [index, answer] of answers(socket).entries()) {
        const { type } = sent[index];
        const expected = type === "ping" ? ["pong"] : type === "nonsense" ? ["error"] : ["ack", "error"];
        assert.ok(
          expected.includes(answer.type),
          `${JSON.stringify(sent[index])}: ${JSON.stringify(answer)}`,
        );
        assert.doesNotMatch(answer.code ?? "", /internal/);
      }
      socket.cut();
    }, env));
}

test("a frame sees what the frames before it did", () =>
  withServer(async (t) => {
    const { ann, id } = await createPair(t.url);
    const socket = await openReady("ws", ann, { discussionId: id });
    const burst: [Json, string][] = [
      [{ type: "message.send", content: "one" }, "ack"],
      [{ type: "message.edit", seq: 1, content: "two" }, "ack"],
      [{ type: "message.send", content: "reply", reply_to_seq: 1 }, "ack"],
      [{ type: "reaction.add", seq: 1, emoji: "👍" }, "ack"],
      [{ type: "message.edit", seq: 1, content: "three" }, "ack"],
      [{ type: "reaction.remove", seq: 1, emoji: "👍" }, "ack"],
      [{ type: "message.delete", seq: 1 }, "ack"],
      [{ type: "message.edit", seq: 1, content: "too late" }, "error"],
      [{ type: "reaction.add", seq: 1, emoji: "👍" }, "error"],
      [{ type: "read", seq: 2 }, "ack"],
      [{ type: "message.edit", seq: 3, content: "not there yet" }, "error"],
      [{ type: "message.send", content: "last" }, "ack"],
      [{ type: "message.edit", seq: 3, content: "now it is" }, "ack"],
    ];
    for (const [index, [frame]] of burst.entries()) socket.send({ ...frame, ref: `${index}` });
    await socket.until(() => answers(socket).length === burst.length);
    assert.deepEqual(
      answers(socket).map(({ type }) => type),
      burst.map(([, type]) => type),
    );
    const contents = (await history(ann, id)).map(({ content }) => content);
    assert.deepEqual(contents, ["", "reply", "now it is"]);
    const types = [];
    await socket.until(() => eventsOf(socket).filter(({ type }) => type === "message.updated").length >= 3);
    for (const { type } of eventsOf(socket)) if (type !== "read.updated") types.push(type);
    assert.deepEqual(types, [
      "message.new",
      "message.updated",
      "message.new",
      "reaction.added",
      "message.updated",
      "reaction.removed",
      "message.deleted",
      "message.new",
      "message.updated",
    ]);
    socket.cut();
  }, env));

test("a frame may reply to the message of the frame before it", () =>
  withServer(async (t) => {
    const { ann, id } = await createPair(t.url);
    const socket = await openReady("ws", ann);
    for (const seq of range(1, 20)) {
      const reply = seq > 1 && { reply_to_seq: seq - 1 };
      socket.send({ type: "message.send", ref: `${seq}`, discussion_id: id, content: `${seq}`, ...reply });
    }
    await socket.until(() => answers(socket).length === 20);
    const replies = answers(socket).map(({ message }) => message?.reply_to_seq);
    assert.deepEqual(replies, [null, ...range(1, 19)]);
    socket.cut();
  }, env));

test("the socket of all discussions acts in each of them as its member may", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const direct = await createDirect(carl, ann);
    const sockets = { ann: await openReady("ws", ann), bob: await openReady("ws", bob) };
    await carl.send(id, "in the room");
    await carl.send(direct.id, "in private");
    assertCode(await bySocket(sockets.bob).edit(id, 1, "x"), "forbidden");
    for (const act of [
      () => bySocket(sockets.bob).react(direct.id, 1, "👍"),
      () => bySocket(sockets.bob).remove(direct.id, 1),
      () => bySocket(sockets.bob).read(direct.id, 1),
      () => bySocket(sockets.bob).edit(direct.id, 1, "x"),
      () => bySocket(sockets.bob).send(direct.id, "x"),
    ])
      assertCode(await act(), "discussion_not_found");
    assertDone(await bySocket(sockets.bob).remove(id, 1));
    assertDone(await bySocket(sockets.ann).react(direct.id, 1, "👍"));
    assert.equal((await messageAt(carl, id, 1)).content, "");
    assert.equal((await messageAt(carl, direct.id, 1)).reactions[0].user_ids[0], ann.user.id);
    for (const socket of Object.values(sockets)) socket.cut();
  }, env));

test("typing is told to the others, without cursor, and not to strangers", () =>
  withServer(async (t) => {
    const { ann, bob, carl, eve, id } = await createRoom(t.url);
    const listeners = [];
    for (const client of [bob, carl]) {
      listeners.push(await openReady("ws", client), await openReady("sse", client, { discussionId: id }));
    }
    const stranger = await openReady("ws", eve);
    const socket = await openReady("ws", ann, { discussionId: id });
    assert.equal((await ask(socket, { type: "typing" })).type, "ack");
    for (const stream of listeners) {
      await stream.until((received) => received.some(({ type }) => type === "typing"));
      const signal = stream.received.find(({ type }) => type === "typing");
      assert.deepEqual([signal.discussion_id, signal.user_id], [id, ann.user.id]);
      assert.ok(signal.expires_in > 0 && signal.expires_in <= 6, `${signal.expires_in} s`);
      assert.ok(!("cursor" in signal));
      stream.cut();
    }
    const own = await createDirect(eve, eve);
    await settle(eve, own.id, stranger);
    assert.deepEqual(
      stranger.received.filter(({ type }) => type === "typing"),
      [],
    );
    for (const each of [stranger, socket]) each.cut();
  }, env));

test("one who floods a socket with refused frames does not hold up the others", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t.url, "ann", "bob");
    const { id } = await createDirect(ann, bob);
    const [flooding, calm] = [await openReady("ws", ann), await openReady("ws", bob)];
    for (const n of range(1, 2_000))
      flooding.send({ type: "message.edit", ref: `${n}`, discussion_id: id, seq: n });
    const start = performance.now();
    const quick = async (client: Client) => assert.equal((await client.call("GET", "/users/me")).status, 200);
    await quick(bob);
    assertDone(await bySocket(calm).send(id, "calm"));
    assert.ok(performance.now() - start < 5_000);
    await flooding.until((received) => received.some(({ ref }) => ref === "2000"), 30_000);
    assert.equal(answers(flooding).length, 2_000);
    for (const socket of [flooding, calm]) socket.cut();
  }, env));

test.run();
