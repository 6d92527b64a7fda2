import assert from "node:assert/strict";
import { test } from "uvu";
import { eventsOf, login, openReady, viaInstance } from "../delivery/help.ts";
import { type Answer, assertProblem, assertRefused, Client, type Json, pages } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import {
  ask,
  assertCode,
  assertDone,
  byBoth,
  byRest,
  clientErrors,
  createPair,
  createRoom,
  env,
  findInDatabase,
  history,
  kinds,
  messageAt,
  people,
  range,
  settle,
  timestamp,
  unknownId,
} from "./help.ts";

/** Whom somebody blocks. What an item has besides the user the contract leaves open. */
async function blocked(client: Client): Promise<string[]> {
  const list = await client.ok("GET", "/users/me/blocks");
  return list.items.map((item: Json) => item.user_id ?? item.user?.id ?? item.id);
}

async function block(by: Client, whom: Client): Promise<void> {
  const answer = await by.call("PUT", `/users/${whom.user.id}/block`);
  assert.deepEqual([answer.status, answer.body], [204, null]);
}

async function unblock(by: Client, whom: Client): Promise<void> {
  const answer = await by.call("DELETE", `/users/${whom.user.id}/block`);
  assert.deepEqual([answer.status, answer.body], [204, null]);
}

const noon = "2031-05-06T12:00:00.000Z";

const startDirect = (by: Client, other: Client) =>
  by.call("POST", "/discussions", { kind: "direct", user_id: other.user.id });

test("a blocked user cannot start a one-to-one discussion with the blocker", () =>
  withServer(async (t) => {
    const [ann, bob, carl] = await people(t.url, "ann", "bob", "carl");
    const stream = await openReady("ws", ann);
    await block(ann, bob);
    assertProblem(await startDirect(bob, ann), 403, "blocked");
    assert.deepEqual((await ann.ok("GET", "/discussions")).items, []);
    assert.deepEqual((await bob.ok("GET", "/discussions")).items, []);
    assert.equal((await startDirect(bob, carl)).status, 201, "with others as before");
    assert.equal((await startDirect(bob, bob)).status, 201);
    assert.equal((await startDirect(carl, ann)).status, 201, "and others with the blocker");
    await unblock(ann, bob);
    const started = await startDirect(bob, ann);
    assert.equal(started.status, 201);
    await settle(bob, started.body.id, stream);
    assert.deepEqual(
      eventsOf(stream).map(({ type, discussion_id }) => `${type} ${discussion_id === started.body.id}`),
      ["discussion.created false", "discussion.created true", "message.new true"],
    );
    stream.cut();
  }, env));

test("a blocked user does nothing more in the one-to-one discussion, by route or by frame", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    await bob.send(id, "before", { client_id: "kept" });
    await ann.send(id, "hers");
    await block(ann, bob);
    const before = await history(ann, id);
    await byBoth(bob, async (way, name) => {
      assertCode(await way.send(id, "let me in"), "blocked", name);
      assertCode(await way.send(id, "answer", { reply_to_seq: 2 }), "blocked", name);
      assertCode(await way.edit(id, 1, "let me in"), "blocked", `${name}: an edit is a way to send too`);
      assertCode(await way.react(id, 2, "👍"), "blocked", `${name}: and so is a reaction`);
    });
    const refused = await bob.call("POST", `${path}/messages`, { content: "let me in" });
    assertProblem(refused, 403, "blocked");
    const again = await startDirect(bob, ann);
    // It is there already: it is shown, or not opened anew; nothing is made.
    if (again.status === 200) assert.equal(again.body.id, id);
    else assertProblem(again, 403, "blocked");
    const retry = await bob.call("POST", `${path}/messages`, { content: "before", client_id: "kept" });
    // Stored before the block, so "the same again" may be told as stored.
    if (retry.status !== 200) assertProblem(retry, 403, "blocked");
    assert.deepEqual(await history(ann, id), before);
    assert.deepEqual(await history(bob, id), before, "what was said stays to be read");
    assert.equal((await bob.ok("PUT", `${path}/read`, { seq: 2 })).unread_count, 0);

    await unblock(ann, bob);
    await byBoth(bob, async (way, name) => {
      assertDone(await way.send(id, "hello again"), name);
      assertDone(await way.edit(id, 1, "after"), name);
      assertDone(await way.react(id, 2, "👍"), name);
    });
    assert.equal((await messageAt(ann, id, 1)).content, "after");
  }, env));

test("the blocker keeps the discussion, and groups of both are as before", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const { body: direct } = await startDirect(bob, ann);
    await block(ann, bob);
    const streams = [await openReady("sse", ann), await openReady("ws", bob)];
    await byBoth(bob, async (way, name) => {
      const { seq } = await carl.send(id, "from carl");
      const sent = assertDone(await way.send(id, `in the group by ${name}`), name);
      assertDone(await way.edit(id, (sent.message ?? sent).seq, "edited"), name);
      assertDone(await way.react(id, seq, "👍"), name);
    });
    await ann.send(id, "from ann");
    for (const client of [ann, bob]) assert.equal((await history(client, id)).length, 5);
    // Only what the blocked one does is named; what the blocker may, is left open.
    const { status, body } = await ann.call("POST", `/discussions/${direct.id}/messages`, { content: "x" });
    assert.ok(status === 201 || (status === 403 && body.code === "blocked"), `${status}`);
    await settle(carl, id, ...streams);
    for (const stream of streams) {
      assert.equal(stream.ended(), undefined);
      stream.cut();
    }
  }, env));

test("in a batch of many senders only the blocked one is refused", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const [carl] = await people(t.url, "carl");
    const { body: other } = await startDirect(carl, ann);
    await block(ann, bob);
    const outcomes = await Promise.all(
      range(1, 60).map((n) => (n % 2 ? byRest(bob).send(id, `${n}`) : byRest(carl).send(other.id, `${n}`))),
    );
    for (const [index, { code }] of outcomes.entries()) assert.equal(code, index % 2 ? null : "blocked");
    assert.deepEqual(await history(ann, id), []);
    assert.equal((await history(ann, other.id)).length, 30);
  }, env));

test("nothing that is sent after the answer to a block arrives, on either instance", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const far = viaInstance(bob, (await t.another()).url);
    const socket = await openReady("ws", bob);
    let isBlocked = false;
    let accepted = 0;
    const write = async (send: (n: number) => Promise<{ code: string | null }>) => {
      for (let n = 0; n < 200; n++) {
        const wasBlocked = isBlocked;
        const { code } = await send(n);
        if (code === null) accepted++;
        if (wasBlocked) assert.equal(code, "blocked");
        else assert.ok(code === null || code === "blocked");
        if (wasBlocked) return;
      }
      assert.fail("never blocked");
    };
    const frame = { type: "message.send", discussion_id: id, content: "by frame" };
    await Promise.all([
      write((n) => byRest(bob).send(id, `here ${n}`)),
      write((n) => byRest(far).send(id, `there ${n}`)),
      write(async () => {
        const answer = await ask(socket, frame);
        return { code: answer.type === "ack" ? null : answer.code };
      }),
      block(ann, bob).then(() => {
        isBlocked = true;
      }),
    ]);
    const { last_seq } = await ann.ok("GET", `/discussions/${id}`);
    assert.equal(last_seq, accepted);
    assert.equal(socket.ended(), undefined);
    socket.cut();
  }, env));

test("blocking and unblocking again changes nothing, and only oneself sees whom one blocks", () =>
  withServer(async (t) => {
    const [ann, bob, carl] = await people(t.url, "ann", "bob", "carl");
    for (const whom of [bob, bob, carl, bob]) await block(ann, whom);
    assert.deepEqual((await blocked(ann)).sort(), [bob.user.id, carl.user.id].sort());
    for (const client of [bob, carl]) assert.deepEqual(await blocked(client), []);
    const list = await ann.ok("GET", "/users/me/blocks");
    assert.deepEqual(Object.keys(list).sort(), ["items", "next_cursor"]);
    assert.equal((await pages(ann, "/users/me/blocks?", 1)).length, 2);
    assert.ok(!JSON.stringify(list).includes("email"));
    await Promise.all([unblock(ann, bob), unblock(ann, bob), unblock(bob, ann)]);
    assert.deepEqual(await blocked(ann), [carl.user.id]);
    await Promise.all(range(1, 10).map(() => block(ann, bob)));
    assert.deepEqual((await blocked(ann)).sort(), [bob.user.id, carl.user.id].sort());
    assert.equal((await ann.ok("GET", `/users/${bob.user.id}`)).username, "bob");
    assert.equal((await bob.ok("GET", `/users/${ann.user.id}`)).username, "ann", "and is not told");
  }, env));

test("a block holds in a discussion that is begun after it, whoever begins it", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t.url, "ann", "bob");
    await block(ann, bob);
    const begun = await startDirect(ann, bob);
    // That the blocker begins one is not spoken of; if it may be, it lets the blocked one say nothing.
    if (begun.status === 201) assertCode(await byRest(bob).send(begun.body.id, "at last"), "blocked");
    else assertProblem(begun, 403, "blocked");
    await unblock(ann, bob);
    const { body } = await startDirect(bob, ann);
    assertDone(await byRest(bob).send(body.id, "at last"));
    await block(ann, bob);
    assertCode(await byRest(bob).send(body.id, "once more"), "blocked");
  }, env));

test("a block and the beginning of the discussion at once leave the blocked one blocked", () =>
  withServer(async (t) => {
    const far = (await t.another()).url;
    const [ann] = await people(t.url, "ann");
    const crowd = await people(t.url, ...range(1, 24).map((n) => `bob${n}`));
    for (const [index, bob] of crowd.entries()) {
      const [one, other] = index % 2 ? [ann, viaInstance(bob, far)] : [viaInstance(ann, far), bob];
      const begin = () => (index % 3 ? startDirect(other, ann) : startDirect(one, bob));
      const [begun] = await Promise.all(
        index % 4 < 2 ? [begin(), block(ann, bob)] : [begin(), block(one, bob)],
      );
      if (begun?.status !== 201) {
        assertProblem(begun as Answer, 403, "blocked");
        continue;
      }
      assertCode(await byRest(bob).send(begun.body.id, "slipped through"), "blocked", `round ${index}`);
      await Promise.all([unblock(ann, bob), block(ann, bob), unblock(one, bob)]);
      const isBlocked = (await blocked(ann)).includes(bob.user.id);
      const { code } = await byRest(bob).send(begun.body.id, "now");
      assert.equal(code, isBlocked ? "blocked" : null, "what the list says is what holds");
    }
  }, env));

test("the blocked one hears nothing of being blocked, nor the other of a mute", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    const streams = [await openReady("ws", bob), await openReady("sse", bob, { discussionId: id })];
    await block(ann, bob);
    await ann.ok("PUT", `${path}/mute`, { until: noon });
    await unblock(ann, bob);
    const mark = await settle(bob, id, ...streams);
    for (const stream of streams) {
      assert.deepEqual(
        eventsOf(stream).map(({ type, message }) => [type, message?.seq]),
        [["message.new", mark.seq]],
      );
      stream.cut();
    }
    const shown = await bob.ok("GET", path);
    await block(ann, bob);
    const { cursor: _, ...before } = shown;
    const { cursor: __, ...after } = await bob.ok("GET", path);
    assert.deepEqual(after, before, "nor sees it in the discussion");
  }, env));

test("a block is of one direction, and of each its own", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    await block(ann, bob);
    await block(bob, ann);
    for (const client of [ann, bob]) assertCode(await byRest(client).send(id, "x"), "blocked");
    await unblock(ann, bob);
    assertDone(await byRest(bob).send(id, "bob may again"));
    assertCode(await byRest(ann).send(id, "x"), "blocked", "bob still blocks her");
    await unblock(bob, ann);
    assertDone(await byRest(ann).send(id, "ann too"));
  }, env));

test("oneself, nobody and nonsense cannot be blocked", () =>
  withServer(async (t) => {
    const [ann] = await people(t.url, "ann");
    assertRefused(await ann.call("PUT", `/users/${ann.user.id}/block`), [400, 403, 409, 422]);
    assertRefused(await ann.call("PUT", `/users/${unknownId}/block`), [404]);
    for (const id of ["x", "me", "%00", "1", `${unknownId}0`])
      for (const method of ["PUT", "DELETE"])
        assertRefused(await ann.call(method, `/users/${id}/block`), clientErrors);
    const stranger = new Client(t.url);
    assertRefused(await stranger.call("PUT", `/users/${ann.user.id}/block`), [401]);
    assertRefused(await stranger.call("DELETE", `/users/${ann.user.id}/block`), [401]);
    assertRefused(await stranger.call("GET", "/users/me/blocks"), [401]);
    assert.deepEqual(await blocked(ann), []);
    const { body } = await startDirect(ann, ann);
    assertDone(await byRest(ann).send(body.id, "still talking to myself"));
  }, env));

test("a discussion is muted until a time, or no more, for oneself alone", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    const phone = await login(t.url, "bob");
    const streams = await Promise.all(kinds.map((kind) => openReady(kind, ann)));
    const mute = async (until: unknown) => {
      const answer = await bob.call("PUT", `${path}/mute`, { until });
      assert.deepEqual([answer.status, answer.body], [204, null]);
    };
    const shown = async (client: Client) => {
      const { muted_until } = await client.ok("GET", path);
      assert.equal((await client.ok("GET", "/discussions")).items[0].muted_until, muted_until);
      return muted_until;
    };
    assert.equal(await shown(bob), null);
    await mute(noon);
    assert.deepEqual([await shown(bob), await shown(phone), await shown(ann)], [noon, noon, null]);
    await mute("2032-01-01T00:00:00.000Z");
    assert.equal(await shown(bob), "2032-01-01T00:00:00.000Z");
    assert.ok(!JSON.stringify(await ann.ok("GET", path)).includes("2032-01-01"));
    assert.ok(!JSON.stringify(await ann.ok("GET", `${path}/members`)).includes("2032-01-01"));
    await mute(null);
    await mute(null);
    assert.equal(await shown(bob), null);
    await mute(noon);
    await settle(bob, id, ...streams);
    for (const stream of streams) {
      assert.ok(!/2031-05-06|2032-01-01|muted/.test(JSON.stringify(stream.received)));
      stream.cut();
    }
    assert.equal((await ann.send(id, "muted people still get messages")).seq, 2);
    assert.equal((await bob.ok("GET", path)).unread_count, 1);
  }, env));

test("a mute takes a timestamp or null and nothing else", () =>
  withServer(async (t) => {
    const { bob, path } = await createPair(t.url);
    await bob.ok("PUT", `${path}/mute`, { until: noon });
    const wrong = [
      {},
      { until: 1_900_000_000 },
      { until: true },
      { until: "" },
      { until: "tomorrow" },
      { until: "infinity" },
      { until: "now" },
      { until: "2031-05-06" },
      { until: "2031-13-06T12:00:00.000Z" },
      { until: "2031-02-30T12:00:00.000Z" },
      { until: "2031-05-06 12:00" },
      { until: `${noon}\u0000` },
      { until: [noon] },
      { until: { at: noon } },
      { until: noon, for: "ever" },
      { mute: true },
      [noon],
      "null",
    ];
    for (const body of wrong)
      assertProblem(await bob.call("PUT", `${path}/mute`, body), 400, "invalid_request");
    assert.equal((await bob.ok("GET", path)).muted_until, noon);
    // Beyond what is asked for: refused, or the same moment in the form of the contract.
    for (const until of ["2031-05-06T14:00:00+02:00", "2031-05-06T12:00:00Z", "9999-12-31T23:59:59.999Z"]) {
      const { status } = await bob.call("PUT", `${path}/mute`, { until });
      assert.ok(status === 204 || status === 400, `${until} → ${status}`);
      const { muted_until } = await bob.ok("GET", path);
      assert.match(muted_until, timestamp);
      if (status === 204) assert.equal(new Date(muted_until).getTime(), new Date(until).getTime());
    }
    // A time that is over mutes nothing: refused, kept as it is, or taken for none.
    const past = await bob.call("PUT", `${path}/mute`, { until: "2001-01-01T00:00:00.000Z" });
    assert.ok(past.status === 204 || past.status === 400, `${past.status}`);
    for (const until of [
      "+275760-09-13T00:00:00.000Z",
      "-000001-01-01T00:00:00.000Z",
      "0000-01-01T00:00:00Z",
    ])
      assert.ok((await bob.call("PUT", `${path}/mute`, { until })).status < 500, until);
    assert.equal((await bob.ok("GET", "/discussions")).items.length, 1, "and the list is still readable");
  }, env));

test("who is not a member mutes nothing", () =>
  withServer(async (t) => {
    const { ann, carl, eve, path } = await createRoom(t.url, "public");
    const mute = (client: Client, target = path) => client.call("PUT", `${target}/mute`, { until: noon });
    assertProblem(await mute(eve), 403, "not_a_member");
    assertProblem(await mute(eve, `/discussions/${unknownId}`), 404, "discussion_not_found");
    await ann.ok("PATCH", path, { visibility: "private" });
    await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
    for (const client of [eve, carl]) assertProblem(await mute(client), 404, "discussion_not_found");
    assertRefused(await mute(new Client(t.url)), [401]);
    assert.deepEqual(await findInDatabase(t.databaseUrl, "2031-05-06"), []);
  }, env));

test.run();
