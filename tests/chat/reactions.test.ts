import assert from "node:assert/strict";
import { test } from "uvu";
import { eventsOf, ofType, openReady, viaInstance } from "../delivery/help.ts";
import { assertProblem, assertRefused, Client, type Json, register } from "../support/client.ts";
import { withServer } from "../support/server.ts";
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
  history,
  kinds,
  messageAt,
  range,
  replays,
  settle,
  unknownId,
} from "./help.ts";

const emoji = [
  "👍",
  "❤️",
  "☺️",
  "👍🏽",
  "👩🏾‍🚀",
  "👨‍👩‍👧‍👦",
  "🏳️‍🌈",
  "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
  "🇩🇪",
  "1️⃣",
  "#️⃣",
  "*️⃣",
  "©️",
  "🫱🏻‍🫲🏿",
  "🧑‍🤝‍🧑",
  "⏏️",
];
/** As some keyboards give them: without the selector that asks for a picture. */
const bareEmoji = ["❤", "☺", "✔", "🏳‍🌈"];
const noEmoji = [
  "👍👍",
  "🇩🇪🇫🇷",
  "👍a",
  "a👍",
  "👍 ",
  " 👍",
  " ",
  "two words",
  "日",
  "é",
  "\u0000",
  "👍\u0000",
  "\n",
  "\u200d",
  "\ufe0f",
  "<script>",
  "../read",
  "a/b",
  "'; --",
  "x".repeat(1_000),
  "👍".repeat(500),
  // One grapheme, as long as one likes.
  `e${"\u0301".repeat(1_000)}`,
  `👍${"\u200d👍".repeat(300)}`,
];

const plain = (text: string) => text.replaceAll("\ufe0f", "");
const reactionPath = (id: string, seq: number, name: string) =>
  `/discussions/${id}/messages/${seq}/reactions/${encodeURIComponent(name)}`;

test("any single emoji is a reaction, whatever it is made of", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    await byBoth(bob, async (way, name) => {
      const { seq } = await ann.send(id, name);
      for (const each of emoji) assertDone(await way.react(id, seq, each), `${name} ${each}`);
      const { reactions } = await messageAt(ann, id, seq);
      // One spelling per emoji may be kept, with or without its selector; the emoji is the same.
      assert.deepEqual(reactions.map((kind: Json) => plain(kind.emoji)).sort(), emoji.map(plain).sort());
      for (const kind of reactions) assert.deepEqual(kind.user_ids, [bob.user.id]);
      for (const each of emoji) assertDone(await way.unreact(id, seq, each));
      assert.deepEqual((await messageAt(ann, id, seq)).reactions, []);
    });
    for (const each of bareEmoji) {
      const { seq } = await ann.send(id, each);
      assertDone(await byRest(bob).react(id, seq, each), each);
      const { reactions } = await messageAt(ann, id, seq);
      assert.equal(plain(reactions[0].emoji), plain(each));
      assertDone(await byRest(bob).unreact(id, seq, each));
      assert.deepEqual((await messageAt(ann, id, seq)).reactions, []);
    }
  }, env));

test("events, history and answers spell an emoji alike, however it was given", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createPair(t.url);
    const stream = await openReady("ws", ann);
    await ann.send(id, "one");
    for (const each of [...bareEmoji, "❤️", "👩🏾‍🚀", "1⃣"]) {
      assertDone(await byRest(bob).react(id, 1, each), each);
      const { reactions } = await messageAt(ann, id, 1);
      const spelled = reactions.at(-1).emoji;
      await stream.until(() => ofType(stream, "reaction.added").some((event) => event.emoji === spelled));
      assertDone(await byRest(bob).unreact(id, 1, spelled), "by the name under which it is shown");
      await stream.until(() => ofType(stream, "reaction.removed").some((event) => event.emoji === spelled));
      assert.equal((await messageAt(ann, id, 1)).reactions.length, reactions.length - 1);
    }
    // The two spellings of one heart are one kind or two, and lead every client to the same.
    for (const [client, heart] of [
      [ann, "❤"],
      [bob, "❤️"],
    ] as const)
      assertDone(await byRest(client).react(id, 1, heart));
    const shown = (await messageAt(ann, id, 1)).reactions;
    for (const { name, events } of await replays(t, bob, cursor)) {
      const held = new Set<string>();
      for (const { type, emoji, user_id } of events) {
        if (type === "reaction.added") held.add(`${emoji} ${user_id}`);
        if (type === "reaction.removed") held.delete(`${emoji} ${user_id}`);
      }
      const expected = shown.flatMap((kind: Json) =>
        kind.user_ids.map((user: string) => `${kind.emoji} ${user}`),
      );
      assert.deepEqual([...held].sort(), expected.sort(), name);
    }
    stream.cut();
  }, env));

test("a short name of one's own is a reaction too", () =>
  withServer(async (t) => {
    const { ann, id } = await createPair(t.url);
    await ann.send(id, "one");
    // The contract leaves its form open; one of the two that are used in the field has to do.
    const outcomes = await Promise.all(
      ["party_parrot", ":party_parrot:"].map((name) => byRest(ann).react(id, 1, name)),
    );
    assert.ok(outcomes.some(({ code }) => code === null));
    const { reactions } = await messageAt(ann, id, 1);
    assert.ok(reactions.length >= 1 && reactions[0].emoji.includes("party_parrot"));
  }, env));

test("what is no single emoji and no short name is refused, and nothing is stored", () =>
  withServer(async (t) => {
    const { ann, id } = await createPair(t.url);
    await ann.send(id, "one");
    await byBoth(ann, async (way, name) => {
      for (const each of noEmoji) {
        const hint = `${name} ${JSON.stringify(each.slice(0, 20))}`;
        assertCode(await way.react(id, 1, each), /^[a-z_]+$/, hint);
      }
    });
    const socket = await openReady("ws", ann);
    for (const each of ["", null, 5, ["👍"], { emoji: "👍" }, undefined, "\ud83d", "x".repeat(60_000)]) {
      const frame = { type: "reaction.add", discussion_id: id, seq: 1, emoji: each };
      const answer = await ask(socket, frame);
      assert.equal(answer.type, "error", String(each).slice(0, 20));
      assert.equal(answer.code, "invalid_request");
    }
    socket.cut();
    const path = `/discussions/${id}/messages/1/reactions`;
    assertRefused(await ann.call("PUT", `${path}/`), [400, 404, 405]);
    assertRefused(await ann.call("PUT", path), [400, 404, 405]);
    // Not UTF-8, a half surrogate in UTF-8, and no encoding at all.
    for (const raw of ["%ff", "%ED%A0%BD", "%f0%9f%91", "%", "%zz", "%00", "%F0%9F%91%8D%00"])
      assertRefused(await ann.call("PUT", `${path}/${raw}`), [400, 404]);
    // Node ends a request whose head is too long by itself, without our form of a problem.
    const huge = await fetch(`${t.url}/api/v1${path}/${"x".repeat(1_000_000)}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${ann.token}` },
    }).then(
      ({ status }) => status,
      () => 431,
    );
    assert.ok(huge >= 400 && huge < 500, `${huge}`);
    assert.deepEqual((await messageAt(ann, id, 1)).reactions, []);
  }, env));

test("each reacts once with one emoji; adding and removing again is 204 and makes no event", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const streams = [await openReady("sse", ann), await openReady("ws", bob, { discussionId: id })];
    await ann.send(id, "one");
    const [put, gone] = [
      ["PUT", "PUT", "PUT"],
      ["DELETE", "DELETE"],
    ].map((methods) => async () => {
      for (const method of methods) {
        const answer = await bob.call(method, reactionPath(id, 1, "👍"));
        assert.deepEqual([answer.status, answer.body], [204, null], method);
      }
    });
    await gone?.();
    await put?.();
    assert.deepEqual((await messageAt(ann, id, 1)).reactions, [{ emoji: "👍", user_ids: [bob.user.id] }]);
    assertDone(await byRest(ann).unreact(id, 1, "👍"), "removing what another added is removing nothing");
    assert.equal((await messageAt(ann, id, 1)).reactions.length, 1);
    await gone?.();
    assert.deepEqual((await messageAt(ann, id, 1)).reactions, []);
    await Promise.all(range(1, 20).map(() => byRest(bob).react(id, 1, "🎉")));
    await settle(ann, id, ...streams);
    for (const stream of streams) {
      const told = eventsOf(stream).filter(({ type }) => type.startsWith("reaction."));
      assert.deepEqual(
        told.map(({ type, emoji }) => `${type} ${emoji}`),
        ["reaction.added 👍", "reaction.removed 👍", "reaction.added 🎉"],
      );
      for (const event of told) {
        assertFields(event, "at", "cursor", "discussion_id", "emoji", "seq", "type", "user_id");
        assert.deepEqual([event.discussion_id, event.seq, event.user_id], [id, 1, bob.user.id]);
      }
      stream.cut();
    }
  }, env));

test("the frames reaction.add and reaction.remove are answered with their ref", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    await ann.send(id, "one");
    for (const discussionId of [undefined, id]) {
      const socket = await openReady("ws", bob, { discussionId });
      const named = discussionId ? {} : { discussion_id: id };
      for (const [type, event, count] of [
        ["reaction.add", "reaction.added", 1],
        ["reaction.add", "reaction.added", 1],
        ["reaction.remove", "reaction.removed", 0],
        ["reaction.remove", "reaction.removed", 0],
      ] as const) {
        assert.equal((await ask(socket, { type, seq: 1, emoji: "👩🏾‍🚀", ...named })).type, "ack");
        assert.equal((await messageAt(ann, id, 1)).reactions.length, count);
        await socket.until(() => ofType(socket, event).length === 1);
      }
      socket.cut();
    }
  }, env));

test("only members react, and only to what is there", () =>
  withServer(async (t) => {
    const { ann, bob, eve, id, path } = await createRoom(t.url, "public");
    await ann.send(id, "one");
    for (const method of ["PUT", "DELETE"])
      assertProblem(await eve.call(method, reactionPath(id, 1, "👍")), 403, "not_a_member");
    await byBoth(eve, async (way, name) => {
      assertCode(await way.react(id, 1, "👍"), "not_a_member", name);
      assertCode(await way.unreact(id, 1, "👍"), "not_a_member", name);
    });
    await ann.ok("PATCH", path, { visibility: "private" });
    await byBoth(eve, async (way, name) => {
      for (const target of [id, unknownId]) {
        assertCode(await way.react(target, 1, "👍"), "discussion_not_found", name);
        assertCode(await way.unreact(target, 1, "👍"), "discussion_not_found", name);
      }
    });
    await byBoth(ann, async (way, name) => {
      for (const seq of [2, 1_000_000]) {
        assertCode(await way.react(id, seq, "👍"), "message_not_found", name);
        // Removing what is not there is idempotent elsewhere; either answer does.
        const { code } = await way.unreact(id, seq, "👍");
        assert.ok(code === null || code === "message_not_found", `${name} ${code}`);
      }
      for (const seq of [0, -1, 1.5, 2 ** 53])
        assertCode(await way.react(id, seq, "👍"), /^(invalid_request|message_not_found)$/, `${name} ${seq}`);
    });
    assertRefused(await new Client(t.url).call("PUT", reactionPath(id, 1, "👍")), [401]);
    await ann.ok("DELETE", `${path}/members/${bob.user.id}`);
    assertCode(await byRest(bob).react(id, 1, "👍"), "discussion_not_found", "removed");
    assert.deepEqual((await messageAt(ann, id, 1)).reactions, []);
  }, env));

test("a deleted message takes no reaction, also when both come at once", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const stream = await openReady("ws", ann);
    for (const n of range(1, 20)) await ann.send(id, `${n}`);
    assertDone(await byRest(bob).react(id, 1, "👍"));
    assertDone(await byRest(ann).remove(id, 1));
    await byBoth(bob, async (way, name) => {
      assertCode(await way.react(id, 1, "🎉"), /^[a-z_]+$/, name);
    });
    await Promise.all(
      range(2, 20).flatMap((seq) => [byRest(bob).react(id, seq, "👍"), byRest(ann).remove(id, seq)]),
    );
    await settle(ann, id, stream);
    const deletedAt = new Map<number, number>();
    for (const [index, { type, seq }] of eventsOf(stream).entries()) {
      if (type === "message.deleted") deletedAt.set(seq, index);
      if (type === "reaction.added") assert.ok(!deletedAt.has(seq), `reaction to ${seq} after its deletion`);
    }
    assert.equal(deletedAt.size, 20);
    stream.cut();
  }, env));

// Fifty and more emoji that nobody doubts to be single ones.
const manyKinds = range(0, 59).map((n) => String.fromCodePoint(0x1f400 + n));

test("a message has at most fifty kinds of reactions; a kind that is there takes more users", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    await ann.send(id, "one");
    for (const each of manyKinds.slice(0, 50)) assertDone(await byRest(ann).react(id, 1, each), each);
    const [first = "", extra = ""] = [manyKinds[0], manyKinds[50]];
    await byBoth(bob, async (way, name) => {
      assertCode(await way.react(id, 1, extra), /^[a-z_]+$/, name);
    });
    assertRefused(await bob.call("PUT", reactionPath(id, 1, extra)), [400, 409, 422]);
    assertDone(await byRest(bob).react(id, 1, first), "of a kind that is there");
    assertDone(await byRest(ann).react(id, 1, first), "again");
    assertDone(await byRest(ann).unreact(id, 1, first));
    assertCode(await byRest(bob).react(id, 1, extra), /^[a-z_]+$/, "bob still holds the first kind");
    assertDone(await byRest(bob).unreact(id, 1, first));
    assertDone(await byRest(bob).react(id, 1, extra), "one kind less makes room");
    assert.equal((await messageAt(bob, id, 1)).reactions.length, 50);
    await ann.send(id, "two");
    assertDone(await byRest(bob).react(id, 2, first), "each message has its own fifty");
  }, env));

test("twenty users with sixty kinds at once end at exactly fifty, each user once in each", () =>
  withServer(async (t) => {
    const crowd = await Promise.all(range(1, 20).map((n) => register(t.url, `user${n}`)));
    const far = (await t.another()).url;
    const [ann] = crowd as [Client];
    const member_ids = crowd.map(({ user }) => user.id);
    const group = await ann.ok("POST", "/discussions", { kind: "group", name: "Crowd", member_ids });
    await ann.send(group.id, "one");
    const stream = await openReady("ws", ann);
    const outcomes = await Promise.all(
      crowd.map(async (client, n) => {
        const way = byRest(n % 2 ? client : viaInstance(client, far));
        // Each begins with another kind, so that all race for the last places.
        const order = [...manyKinds.slice(n * 3), ...manyKinds.slice(0, n * 3)];
        return await Promise.all(order.map((each) => way.react(group.id, 1, each)));
      }),
    );
    const { reactions } = await messageAt(ann, group.id, 1);
    assert.equal(reactions.length, 50);
    assert.equal(new Set(reactions.map((kind: Json) => kind.emoji)).size, 50);
    let stored = 0;
    for (const { user_ids } of reactions) {
      assert.equal(new Set(user_ids).size, user_ids.length, "each user once");
      stored += user_ids.length;
    }
    const carriedOut = outcomes.flat().filter(({ code }) => code === null).length;
    assert.equal(stored, carriedOut, "what was answered is what is stored");
    await settle(ann, group.id, stream);
    const told = ofType(stream, "reaction.added").map(({ emoji, user_id }) => `${emoji} ${user_id}`);
    assert.equal(new Set(told).size, told.length);
    const expected = reactions.flatMap(({ emoji, user_ids }: Json) =>
      user_ids.map((user: string) => `${emoji} ${user}`),
    );
    assert.deepEqual(told.sort(), expected.sort());
    stream.cut();
  }, env));

test("a message has at most a thousand reactions, however many want to be the last", () =>
  withServer(async (t) => {
    const crowd = await Promise.all(range(1, 21).map((n) => register(t.url, `user${n}`)));
    const far = (await t.another()).url;
    const [ann] = crowd as [Client];
    const member_ids = crowd.map(({ user }) => user.id);
    const group = await ann.ok("POST", "/discussions", { kind: "group", name: "Crowd", member_ids });
    await ann.send(group.id, "one");
    const outcomes = await Promise.all(
      crowd.flatMap((client, n) => {
        const way = byRest(n % 2 ? client : viaInstance(client, far));
        return manyKinds.slice(0, 50).map((each) => way.react(group.id, 1, each));
      }),
    );
    const codes = Object.groupBy(outcomes, ({ code }) => code ?? "done");
    assert.deepEqual(Object.keys(codes).sort(), ["done", "too_many_reactions"]);
    assert.equal(codes.done?.length, 1_000);
    const { reactions } = await messageAt(ann, group.id, 1);
    const held = reactions.flatMap(({ emoji, user_ids }: Json) => user_ids.map((id: string) => [emoji, id]));
    assert.equal(held.length, 1_000);
    const [[kind, holder]] = held;
    const owner = crowd.find(({ user }) => user.id === holder) as Client;
    assertDone(await byRest(owner).react(group.id, 1, kind), "again");
    const missing = crowd.flatMap((client) =>
      manyKinds.slice(0, 50).flatMap((each) => {
        const has = held.some(([emoji, id]: string[]) => emoji === each && id === client.user.id);
        return has ? [] : [{ client, each }];
      }),
    )[0] as { client: Client; each: string };
    const refused = await missing.client.call("PUT", reactionPath(group.id, 1, missing.each));
    assertProblem(refused, 409, "too_many_reactions");
    assertDone(await byRest(owner).unreact(group.id, 1, kind));
    assertDone(await byRest(missing.client).react(group.id, 1, missing.each), "one less makes room");
  }, env));

test("the order of kinds and of users does not change when others are added", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, path } = await createRoom(t.url);
    await ann.send(id, "one");
    const inOrder = (shorter: unknown[], longer: unknown[]) =>
      assert.deepEqual(
        longer.filter((item) => shorter.includes(item)),
        shorter,
      );
    let before: Json[] = [];
    for (const [index, each] of ["🦊", "👍", "🎉", "😀", "❤️", "🐙"].entries()) {
      for (const client of index % 2 ? [carl, ann, bob] : [bob, carl, ann]) {
        assertDone(await byRest(client).react(id, 1, each));
        const { reactions } = await messageAt(ann, id, 1);
        inOrder(
          before.map((kind) => kind.emoji),
          reactions.map((kind: Json) => kind.emoji),
        );
        for (const kind of before)
          inOrder(kind.user_ids, reactions.find((other: Json) => other.emoji === kind.emoji).user_ids);
        before = reactions;
      }
    }
    for (const reader of [ann, carl]) {
      assert.deepEqual((await reader.ok("GET", path)).last_message.reactions, before);
      assert.deepEqual((await reader.ok("GET", "/messages")).items[0].reactions, before);
      assert.deepEqual((await history(reader, id))[0].reactions, before);
    }
  }, env));

test("who comes back hears all reactions once, and an edit keeps them", () =>
  withServer(async (t) => {
    const { ann, bob, id, path, cursor } = await createPair(t.url);
    await ann.send(id, "one");
    assertDone(await byRest(bob).react(id, 1, "👍"));
    assertDone(await byRest(ann).react(id, 1, "🎉"));
    assertDone(await byRest(bob).unreact(id, 1, "👍"));
    const edited = await ann.ok("PATCH", `${path}/messages/1`, { content: "edited" });
    assert.deepEqual(edited.reactions, [{ emoji: "🎉", user_ids: [ann.user.id] }]);
    for (const { name, events } of await replays(t, bob, cursor)) {
      const told = events.filter(({ type }) => type.startsWith("reaction."));
      assert.deepEqual(
        told.map(({ type, emoji, user_id }) => [type, emoji, user_id]),
        [
          ["reaction.added", "👍", bob.user.id],
          ["reaction.added", "🎉", ann.user.id],
          ["reaction.removed", "👍", bob.user.id],
        ],
        name,
      );
    }
    for (const kind of kinds) {
      const stream = await openReady(kind, bob, { since: (await bob.ok("GET", path)).cursor });
      assert.deepEqual(eventsOf(stream), []);
      stream.cut();
    }
  }, env));

test.run();
