// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, type Client, register } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { eventually, withServer } from "../support/server.ts";
import { enrol, mostInASecond, overhear, presences, statuses } from "../support/signals.ts";
import type { StreamKind, TestStream } from "../support/streams.ts";
import { createDirect, createGroup, openReady, viaInstance } from "./help.ts";

const kinds: StreamKind[] = ["sse", "ws"];

const presenceOf = (reader: Client, who: Client) => reader.ok("GET", `/users/${who.user.id}/presence`);
const unseen = { status: "offline", last_seen_at: null };

/** Waits until a stream was told these of somebody, and nothing else. */
async function told(stream: TestStream, who: Client, expected: string[]): Promise<void> {
  await stream.until(() => statuses(stream, who).length >= expected.length, 15_000);
  assert.deepEqual(statuses(stream, who), expected);
}

/** Resolves when Postgres has so many presences; what was announced until then is on its way or there. */
function stored(databaseUrl: string, count: number): Promise<void> {
  return eventually(async () => {
    const [row] = await query(databaseUrl, "SELECT count(*)::int AS count FROM presences");
    assert.equal(row.count, count);
  }, 15_000);
}

for (const kind of kinds) {
  test(`${kind}: who comes is online from the first stream on, and offline some time after the last`, () =>
    withServer(async (t) => {
      const second = await t.another();
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const direct = await createDirect(ann, bob);
      assert.deepEqual(await presenceOf(bob, ann), unseen);
      const listening = [
        await openReady(kind, bob),
        await openReady(kind, viaInstance(bob, second.url)),
        await openReady(kind, viaInstance(bob, second.url), { discussionId: direct.id }),
      ];
      const anns = [await openReady(kind, ann)];
      for (const stream of listening) await told(stream, ann, ["online"]);
      const online = await presenceOf(bob, ann);
      assert.equal(online.status, "online");
      assert.ok(Math.abs(Date.now() - Date.parse(online.last_seen_at)) < 60_000);
      const signal = { type: "presence", user_id: ann.user.id, ...online };
      for (const stream of listening) assert.deepEqual(presences(stream, ann), [signal]);
      anns.push(await openReady("ws", viaInstance(ann, second.url)), await openReady("sse", ann));
      anns[0]?.cut();
      anns[1]?.cut();
      await stored(t.databaseUrl, 3);
      assert.equal((await presenceOf(bob, ann)).status, "online");
      anns[2]?.cut();
      for (const stream of listening) await told(stream, ann, ["online", "offline"]);
      const offline = await presenceOf(bob, ann);
      assert.equal(offline.status, "offline");
      assert.ok(offline.last_seen_at > online.last_seen_at);
      for (const stream of listening) {
        assert.deepEqual(presences(stream, ann)[1], { ...signal, ...offline });
        assert.deepEqual(presences(stream, bob), [], "nobody hears of oneself");
        stream.cut();
      }
    }));
}

test("who comes back within some seconds, there or at another instance, never seems to have gone", () =>
  withServer(async (t) => {
    const second = await t.another();
    const [ann, bob, carl] = await Promise.all(["ann", "bob", "carl"].map((name) => register(t.url, name)));
    assert.ok(ann && bob && carl);
    await createGroup(bob, "group", [ann, carl]);
    const stream = await openReady("ws", bob);
    const first = await openReady("sse", ann);
    await told(stream, ann, ["online"]);
    first.cut();
    const again = await openReady("ws", ann);
    again.cut();
    const elsewhere = await openReady("ws", viaInstance(ann, second.url));
    await stored(t.databaseUrl, 3);
    await stored(t.databaseUrl, 2);
    const carls = await openReady("ws", carl);
    await told(stream, carl, ["online"]);
    assert.deepEqual(statuses(stream, ann), ["online"]);
    for (const each of [stream, elsewhere, carls]) each.cut();
  }));

test("presence is for those who share a one-to-one discussion or a group of at most 100", () =>
  withServer(async (t) => {
    const names = Array.from({ length: 101 }, (_, i) => `user-${String(i).padStart(3, "0")}`);
    const people = await enrol(t.url, t.databaseUrl, names);
    const [ann, bob, carl, dora, eve] = people as [Client, Client, Client, Client, Client];
    const large = await createGroup(ann, "large", people.slice(1, 60));
    const user_ids = people.slice(60).map(({ user }) => user.id);
    await ann.ok("POST", `/discussions/${large.id}/members`, { user_ids });
    const small = await createGroup(ann, "small", [bob, ...people.slice(5, 103)].slice(0, 97));
    await createDirect(carl, ann);
    const open = await createGroup(ann, "open", [], { visibility: "public" });
    await createDirect(dora, eve);
    const streams = await Promise.all([bob, carl, dora].map((client) => openReady("ws", client)));
    const visiting = await openReady("sse", dora, { discussionId: large.id });
    const [bobs, carls, doras] = streams as [TestStream, TestStream, TestStream];
    const anns = await openReady("sse", ann);
    await told(bobs, ann, ["online"]);
    await told(carls, ann, ["online"]);
    const eves = await openReady("sse", eve);
    await told(doras, eve, ["online"]);
    assert.deepEqual([...statuses(doras, ann), ...statuses(visiting), ...statuses(bobs, eve)], []);
    assert.equal((await presenceOf(bob, ann)).status, "online");
    assert.equal((await presenceOf(ann, ann)).status, "online");
    assert.deepEqual(await presenceOf(dora, ann), unseen);
    const nobody = await ann.call("GET", `/users/${small.id}/presence`);
    assertProblem(nobody, 404, "user_not_found");
    const inDiscussion = (reader: Client, id: string) => reader.call("GET", `/discussions/${id}/presence`);
    assertProblem(await inDiscussion(bob, large.id), 409, "too_many_members");
    assertProblem(await inDiscussion(dora, small.id), 404, "discussion_not_found");
    assertProblem(await inDiscussion(dora, open.id), 403, "not_a_member");
    await ann.ok("DELETE", `/discussions/${large.id}/members/${eve.user.id}`);
    const { items } = (await inDiscussion(bob, large.id)).body;
    assert.equal(items.length, 100);
    const at = (who: Client) => items.find((item: { user_id: string }) => item.user_id === who.user.id);
    assert.deepEqual(at(ann), { user_id: ann.user.id, ...(await presenceOf(bob, ann)) });
    assert.deepEqual(at(people[70] as Client), { user_id: people[70]?.user.id, ...unseen });
    const { members } = await ann.ok("GET", `/discussions/${large.id}`);
    const ids = (list: { user_id: string }[]) => list.map(({ user_id }) => user_id);
    assert.deepEqual(ids(items), ids(members));
    for (const stream of [...streams, visiting, anns, eves]) stream.cut();
  }));

test("somebody in very many discussions is told to all who share one, once to each stream", () =>
  withServer(async (t) => {
    const names = ["ann", "bob", "carl", "dora", ...Array.from({ length: 450 }, (_, i) => `friend-${i}`)];
    const people = await enrol(t.url, t.databaseUrl, names.sort());
    const [ann, bob, carl, dora, ...friends] = people as [Client, Client, Client, Client, ...Client[]];
    for (const friend of [bob, ...friends, carl]) await createDirect(ann, friend);
    const oldest = await createGroup(ann, "with the oldest", [bob]);
    await createGroup(ann, "with all", [bob, carl, dora]);
    const streams = await Promise.all([
      ...[bob, carl, dora].map((client) => openReady("ws", client)),
      openReady("sse", bob, { discussionId: oldest.id }),
    ]);
    await overhear(t.databaseUrl, async (overheard) => {
      const anns = await openReady("sse", ann);
      for (const stream of streams) await told(stream, ann, ["online"]);
      await overheard.settled();
      const lines = overheard.lines().filter((line) => line.startsWith(`presence ${ann.user.id} online`));
      assert.equal(lines.length, 3);
      anns.cut();
      for (const stream of streams) await told(stream, ann, ["online", "offline"]);
    });
    for (const stream of streams) stream.cut();
  }));

test("many who come at once cost a few statements and at most ten NOTIFYs a second", () =>
  withServer(async (t) => {
    const names = Array.from({ length: 400 }, (_, i) => `user-${String(i).padStart(3, "0")}`);
    const people = await enrol(t.url, t.databaseUrl, names);
    for (let i = 0; i < people.length; i += 2)
      await createDirect(people[i] as Client, people[i + 1] as Client);
    await query(
      t.databaseUrl,
      `CREATE TABLE statements (kind text);
       CREATE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN INSERT INTO statements VALUES (TG_OP); RETURN NULL; END';
       CREATE TRIGGER counted AFTER INSERT OR DELETE ON presences
         FOR EACH STATEMENT EXECUTE FUNCTION count_statement()`,
    );
    const count = async () => {
      const kind = "SELECT count(*)::int AS count FROM statements WHERE kind = 'INSERT'";
      return (await query(t.databaseUrl, kind))[0].count;
    };
    await overhear(t.databaseUrl, async (overheard) => {
      const started = performance.now();
      const streams = await Promise.all(people.map((client) => openReady("ws", client)));
      await stored(t.databaseUrl, people.length);
      const seconds = (performance.now() - started) / 1_000;
      assert.ok((await count()) <= 2 + seconds * 5, `${await count()} statements in ${seconds} s`);
      // Who was there when the other came has heard it; both have if they came together.
      await eventually(() => {
        const pairs = people.flatMap((_, i) => (i % 2 ? [] : [[streams[i], streams[i + 1]]]));
        assert.ok(pairs.every((pair) => pair.some((stream) => stream && statuses(stream).length > 0)));
      });
      await overheard.settled();
      // Five at once, then half a second of rest.
      assert.ok(mostInASecond(overheard) <= 15, `${mostInASecond(overheard)} NOTIFYs in a second`);
      const told = overheard.lines().length;
      // All come back at once: nothing is said of it.
      for (const stream of streams) stream.cut();
      const back = await Promise.all(people.map((client) => openReady("sse", client)));
      for (const stream of back) stream.cut();
      await stored(t.databaseUrl, 0);
      await eventually(async () => {
        await overheard.settled();
        assert.equal(overheard.lines().length, told + people.length);
      });
      assert.ok(
        overheard
          .lines()
          .slice(told)
          .every((line) => line.includes(" offline ")),
      );
    });
  }));

test("nothing is kept of whoever erases the account", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    await createDirect(ann, bob);
    const stream = await openReady("ws", bob);
    await openReady("ws", ann);
    await told(stream, ann, ["online"]);
    await ann.ok("DELETE", "/users/me", { password: "correct horse battery" });
    await told(stream, ann, ["online", "offline"]);
    assert.equal(presences(stream, ann)[1].last_seen_at, null);
    assert.deepEqual(await presenceOf(bob, ann), unseen);
    assert.deepEqual(
      await query(t.databaseUrl, "SELECT FROM last_seen WHERE user_id = $1", [ann.user.id]),
      [],
    );
    stream.cut();
  }));

test("PRESENCE=off does no work at all: everybody is shown as never seen, and typing goes on", () =>
  withServer(
    async (t) => {
      const quiet = await t.another();
      const ann = await register(quiet.url, "ann");
      const bob = await register(quiet.url, "bob");
      const direct = await createDirect(ann, bob);
      await overhear(t.databaseUrl, async (overheard) => {
        const stream = await openReady("ws", bob);
        const anns = await openReady("ws", ann);
        // As an instance would tell where it is on.
        const line = `presence ${ann.user.id} online 2026-11-20T12:00:00.000Z ${direct.id}`;
        await query(t.databaseUrl, "SELECT pg_notify('signals', $1)", [`${line}\nleaving`]);
        await ann.ok("POST", `/discussions/${direct.id}/typing`);
        await stream.until((received) => received.some(({ type }) => type === "typing"));
        assert.deepEqual(statuses(stream), []);
        assert.deepEqual(await presenceOf(bob, ann), unseen);
        const { items } = await bob.ok("GET", `/discussions/${direct.id}/presence`);
        assert.deepEqual(
          items,
          [ann, bob].map(({ user }) => ({ user_id: user.id, ...unseen })),
        );
        assertProblem(await bob.call("GET", `/users/${direct.id}/presence`), 404, "user_not_found");
        anns.cut();
        stream.cut();
        await overheard.settled();
        assert.equal(overheard.lines().filter((each) => each !== line && each !== "leaving").length, 1);
      });
      // What Postgres itself has counted; connections report it at their end at the latest.
      await quiet.close();
      const touched = await query(
        t.databaseUrl,
        `SELECT relname FROM pg_stat_user_tables WHERE relname IN ('instances', 'presences', 'last_seen')
           AND seq_scan + coalesce(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del > 0`,
      );
      assert.deepEqual(touched, []);
    },
    { PRESENCE: "off" },
  ));

test.run();
