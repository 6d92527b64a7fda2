// time limit: 120 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, type Client, type Json, register } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import { enrol, mostInASecond, notify, overhear } from "../support/signals.ts";
import type { StreamKind, TestStream } from "../support/streams.ts";
import { createDirect, createGroup, heard, ofType, openReady, viaInstance } from "./help.ts";
import { openRaw, streamPath } from "./raw.ts";

// Presence has its tests in a file of its own.
const off = { PRESENCE: "off" };
const kinds: StreamKind[] = ["sse", "ws"];

const type = (client: Client, discussion: Json) => client.ok("POST", `/discussions/${discussion.id}/typing`);

function signalOf(client: Client, discussion: Json): Json {
  return { type: "typing", discussion_id: discussion.id, user_id: client.user.id, expires_in: 6 };
}

/** Waits until a stream hears somebody type in a discussion, in which nobody typed before. */
function heardTyping(stream: TestStream, discussion: Json): Promise<void> {
  return stream.until(() => ofType(stream, "typing").some((e) => e.discussion_id === discussion.id));
}

for (const kind of kinds) {
  test(`${kind}: typing is heard on all streams of the others, at all instances, and on no own one`, () =>
    withServer(async (t) => {
      const second = await t.another();
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const direct = await createDirect(ann, bob);
      const group = await createGroup(ann, "group", [bob]);
      const open = (client: Client, url: string, discussionId?: string) =>
        openReady(kind, viaInstance(client, url), { discussionId });
      const bobs = await Promise.all(
        [t.url, second.url].flatMap((url) => [open(bob, url), open(bob, url, direct.id)]),
      );
      const elsewhere = await open(bob, t.url, group.id);
      const anns = await Promise.all([open(ann, t.url), open(ann, second.url, direct.id)]);
      await type(ann, direct);
      for (const stream of bobs) {
        await heard(stream, "typing");
        assert.deepEqual(ofType(stream, "typing"), [signalOf(ann, direct)]);
      }
      await type(bob, group);
      await type(bob, direct);
      for (const stream of anns) await heardTyping(stream, direct);
      assert.deepEqual(ofType(anns[0] as TestStream, "typing"), [
        signalOf(bob, group),
        signalOf(bob, direct),
      ]);
      assert.deepEqual(ofType(anns[1] as TestStream, "typing"), [signalOf(bob, direct)]);
      await ann.send(group.id, "the end");
      await heard(elsewhere, "message.new");
      assert.deepEqual(ofType(elsewhere, "typing"), []);
      for (const stream of [...bobs, ...anns, elsewhere]) stream.cut();
    }, off));
}

test("typing comes without an id on SSE, and moves no cursor", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const direct = await createDirect(ann, bob);
    const headers = { authorization: `Bearer ${bob.token}` };
    const raw = await openRaw("sse", t.url, streamPath("sse"), { headers });
    await raw.until((text) => text.includes("event: ready"));
    await type(ann, direct);
    await raw.until((text) => /^event: typing\n.*\n\n/m.test(text));
    const signal = raw.text().slice(raw.text().indexOf("event: typing"));
    assert.equal(signal, `event: typing\ndata: ${JSON.stringify(signalOf(ann, direct))}\n\n`);
    raw.cut();
  }, off));

test("a typing frame shows typing; it is answered only if it has a ref", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const direct = await createDirect(ann, bob);
    const group = await createGroup(ann, "group", [bob]);
    const reader = await openReady("sse", bob);
    const one = await openReady("ws", ann, { discussionId: direct.id });
    const all = await openReady("ws", ann);
    one.send({ type: "typing" });
    await heardTyping(reader, direct);
    all.send({ type: "typing", discussion_id: group.id, ref: "r1" });
    await heardTyping(reader, group);
    await heard(all, "ack");
    assert.deepEqual(ofType(all, "ack"), [{ type: "ack", ref: "r1" }]);
    one.send({ type: "ping" });
    await heard(one, "pong");
    assert.deepEqual(ofType(one, "ack"), []);
    all.send({ type: "typing", ref: "r2" });
    all.send({ type: "typing", discussion_id: group.id, until: 5 });
    all.send({ type: "typing", discussion_id: bob.user.id });
    await heard(all, "error", 3);
    assert.deepEqual(
      ofType(all, "error").map(({ code, ref }) => [code, ref]),
      [
        ["invalid_request", "r2"],
        ["invalid_request", undefined],
        ["discussion_not_found", undefined],
      ],
    );
    for (const stream of [reader, one, all]) stream.cut();
  }, off));

test("only members may type, and not in a one-to-one discussion whose other member has blocked them", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await Promise.all(["ann", "bob", "eve"].map((name) => register(t.url, name)));
    assert.ok(ann && bob && eve);
    const direct = await createDirect(ann, bob);
    const open = await createGroup(ann, "open", [bob], { visibility: "public" });
    const last = await createGroup(ann, "last", [bob]);
    const path = (id: string) => `/discussions/${id}/typing`;
    const stream = await openReady("ws", ann);
    assertProblem(await eve.call("POST", path(direct.id)), 404, "discussion_not_found");
    assertProblem(await eve.call("POST", path(open.id)), 403, "not_a_member");
    assertProblem(await eve.call("POST", path(eve.user.id)), 404, "discussion_not_found");
    assertProblem(await eve.call("POST", path("1")), 400, "invalid_request");
    const nobody = Object.assign(viaInstance(bob, t.url), { token: "" });
    assertProblem(await nobody.call("POST", path(direct.id)), 401, "unauthenticated");
    await ann.ok("PUT", `/users/${bob.user.id}/block`);
    assertProblem(await bob.call("POST", path(direct.id)), 403, "blocked");
    const answer = await bob.call("POST", path(last.id));
    assert.equal(answer.status, 204);
    assert.equal(answer.body, null);
    await heardTyping(stream, last);
    assert.deepEqual(ofType(stream, "typing"), [signalOf(bob, last)]);
    await ann.ok("DELETE", `/discussions/${last.id}/members/${bob.user.id}`);
    assertProblem(await bob.call("POST", path(last.id)), 404, "discussion_not_found");
    await bob.ok("POST", "/auth/logout");
    assertProblem(await bob.call("POST", path(open.id)), 401, "session_revoked");
    stream.cut();
  }, off));

test("typing that is repeated is told once a second; after a message it is told anew at once", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const direct = await createDirect(ann, bob);
    const stream = await openReady("ws", bob);
    await overhear(t.databaseUrl, async (overheard) => {
      const started = performance.now();
      for (let i = 0; i < 20; i++) await type(ann, direct);
      await overheard.settled();
      const most = 1 + Math.ceil((performance.now() - started) / 1_000);
      assert.ok(overheard.payloads.length <= most, `${overheard.payloads.length} NOTIFYs`);
      const other = await createGroup(ann, "other", [bob]);
      await type(ann, other);
      await heardTyping(stream, other);
      for (let i = 1; i <= 5; i++) {
        const before = ofType(stream, "typing").length;
        await ann.send(direct.id, `message ${i}`);
        await type(ann, direct);
        await heard(stream, "typing", before + 1);
        assert.deepEqual(stream.received.at(-1), signalOf(ann, direct));
        assert.deepEqual(stream.received.at(-2).message?.content, `message ${i}`);
      }
    });
    stream.cut();
  }, off));

test("typing that waits for its turn is not told once its message is there", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const direct = await createDirect(ann, bob);
    const group = await createGroup(ann, "group", [bob]);
    const stream = await openReady("sse", bob);
    let told = 0;
    const tellAnother = async () => {
      await ann.send(group.id, "so that typing is told again");
      await type(ann, group);
      told++;
      await stream.until(
        (received) =>
          received.filter((e) => e.type === "typing" && e.discussion_id === group.id).length === told,
      );
    };
    for (let i = 1; i <= 10; i++) {
      // Takes the turn, so that the next one has to wait.
      await tellAnother();
      await type(ann, direct);
      await ann.send(direct.id, `message ${i}`);
      await tellAnother();
      await stream.until((received) => received.some((e) => e.message?.content === `message ${i}`));
      assert.equal(stream.received.findLast((e) => e.discussion_id === direct.id).type, "message.new");
    }
    stream.cut();
  }, off));

test("however many type, an instance sends at most ten NOTIFYs a second", () =>
  withServer(async (t) => {
    const names = Array.from({ length: 40 }, (_, i) => `typist-${i}`);
    const typists = await enrol(t.url, t.databaseUrl, names);
    const [first, ...others] = typists as [Client, ...Client[]];
    const group = await createGroup(first, "group", others);
    const streams = await Promise.all([openReady("ws", first), openReady("sse", first)]);
    await overhear(t.databaseUrl, async (overheard) => {
      for (const deadline = performance.now() + 2_500; performance.now() < deadline; )
        await Promise.all(others.map((client) => type(client, group)));
      await overheard.settled();
      const most = mostInASecond(overheard);
      assert.ok(most >= 2 && most <= 11, `${most} NOTIFYs in a second`);
      const told = (id: string) =>
        overheard.lines().filter((line) => line === `typing ${id} ${group.id}`).length;
      for (const { user } of others)
        assert.ok(told(user.id) >= 2 && told(user.id) <= 5, `told ${told(user.id)}`);
    });
    for (const stream of streams) {
      await stream.until(
        () => new Set(ofType(stream, "typing").map((e) => e.user_id)).size === others.length,
      );
      stream.cut();
    }
  }, off));

test("what is no signal is left out, and those beside it are heard", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const direct = await createDirect(ann, bob);
    const group = await createGroup(ann, "group", [bob]);
    const stream = await openReady("ws", bob);
    const good = `typing ${ann.user.id} ${direct.id}`;
    const garbage = [
      "",
      "{}",
      "typing",
      `typing ${ann.user.id}`,
      `typing ${ann.user.id} ${direct.id} ${group.id}`,
      `typing ${ann.user.id} ${direct.id}","x":"`,
      `typing x ${direct.id}`,
      `typing ${ann.user.id.toUpperCase()} ${direct.id}`,
      `presence ${ann.user.id} away - ${direct.id}`,
      `presence ${ann.user.id} online now ${direct.id}`,
      "x".repeat(7_900),
      "\n".repeat(7_900),
      " ".repeat(7_900),
    ];
    for (const payload of garbage) await notify(t.databaseUrl, payload);
    await notify(t.databaseUrl, `nothing\n${good}\nat all`);
    await heard(stream, "typing");
    assert.deepEqual(ofType(stream, "typing"), [signalOf(ann, direct)]);
    await type(ann, group);
    await heardTyping(stream, group);
    assert.equal(stream.received.length, 3);
    stream.cut();
  }));

test.run();
