// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import {
  createRandom,
  eventsOf,
  login,
  ofType,
  openReady,
  seed,
  viaInstance,
  withSql,
} from "../delivery/help.ts";
import { assertProblem, assertRefused, type Client, type Json } from "../support/client.ts";
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
  history,
  kinds,
  people,
  range,
  settle,
  unknownId,
} from "./help.ts";

console.log(`seed ${seed} (SEED=${seed} repeats the choices, though not the timing)`);

function markOf(discussion: Json, client: Client): number {
  return discussion.members.find(({ user_id }: Json) => user_id === client.user.id).last_read_seq;
}

/** Many messages at once, as an import would bring them. */
function insertMessages(t: TestServer, id: string, sender: Client, count: number) {
  return withSql(t.databaseUrl, (db) =>
    db.query(
      `insert into messages (discussion_id, sender_id, content)
       select $1, $2, 'number ' || i from generate_series(1, $3::int) as i`,
      [id, sender.user.id, count],
    ),
  );
}

test("a read mark moves forward only, and never beyond the last message", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    for (const n of range(1, 5)) await ann.send(id, `${n}`);
    const read = (seq: number) => bob.ok("PUT", `${path}/read`, { seq });
    assert.deepEqual(await read(2), { last_read_seq: 2, unread_count: 3 });
    assert.deepEqual(await read(1), { last_read_seq: 2, unread_count: 3 });
    assert.deepEqual(await read(4), { last_read_seq: 4, unread_count: 1 });
    assert.deepEqual(await read(100), { last_read_seq: 5, unread_count: 0 });
    await ann.send(id, "6");
    const discussion = await bob.ok("GET", path);
    assert.deepEqual([markOf(discussion, bob), discussion.unread_count], [5, 1], "what came later is unread");
    for (const seq of [2 ** 31, 2 ** 53 - 1]) {
      const answer = await bob.call("PUT", `${path}/read`, { seq });
      if (answer.status === 200) assert.deepEqual(answer.body, { last_read_seq: 6, unread_count: 0 });
      else assertProblem(answer, 400, "invalid_request");
    }
    await ann.send(id, "7");
    assert.ok(markOf(await bob.ok("GET", path), bob) <= 6);
    assert.equal((await ann.ok("GET", path)).unread_count, 0, "another's mark is none of one's own");
  }, env));

test("the frame read is answered with its ref and does what the route does", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    for (const n of range(1, 5)) await ann.send(id, `${n}`);
    const one = await openReady("ws", bob, { discussionId: id });
    const all = await openReady("ws", bob);
    const ack = await ask(one, { type: "read", seq: 3 });
    assert.equal(ack.type, "ack");
    if ("last_read_seq" in ack) assert.equal(ack.last_read_seq, 3);
    const shown = async () => {
      const discussion = await bob.ok("GET", path);
      return [markOf(discussion, bob), discussion.unread_count];
    };
    assert.deepEqual(await shown(), [3, 2]);
    assert.equal((await ask(all, { type: "read", seq: 1, discussion_id: id })).type, "ack");
    assert.deepEqual(await shown(), [3, 2]);
    assert.equal((await ask(all, { type: "read", seq: 99, discussion_id: id })).type, "ack");
    assert.deepEqual(await shown(), [5, 0]);
    const mark = await settle(ann, id, one, all);
    for (const stream of [one, all]) {
      const marks = ofType(stream, "read.updated");
      for (const event of marks) {
        assertFields(event, "at", "cursor", "discussion_id", "last_read_seq", "type", "user_id");
        assert.deepEqual([event.discussion_id, event.user_id], [id, bob.user.id]);
      }
      assert.deepEqual(
        marks.map((event) => event.last_read_seq),
        [3, 5],
      );
      stream.cut();
    }
    assert.equal(mark.seq, 6);
  }, env));

test("who is not a member marks nothing", () =>
  withServer(async (t) => {
    const { ann, carl, eve, id, path } = await createRoom(t.url, "public");
    await ann.send(id, "one");
    await byBoth(eve, async (way, name) => {
      assertCode(await way.read(id, 1), "not_a_member", name);
      assertCode(await way.read(unknownId, 1), "discussion_not_found", name);
    });
    await ann.ok("PATCH", path, { visibility: "private" });
    await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
    for (const client of [eve, carl])
      await byBoth(client, async (way, name) => {
        assertCode(await way.read(id, 1), "discussion_not_found", name);
      });
    await byBoth(ann, async (way, name) => {
      for (const seq of [-1, 1.5, "1", null, undefined, [1], true])
        assertCode(await way.read(id, seq), "invalid_request", `${name} ${JSON.stringify(seq)}`);
    });
  }, env));

test("another device of the same person sees the count fall within a second, on any instance", () =>
  withServer(async (t) => {
    const second = await t.another();
    const { ann, bob, id, path } = await createPair(t.url);
    const phone = await login(t.url, "bob");
    const streams = [];
    for (const kind of kinds)
      for (const url of [t.url, second.url])
        for (const discussionId of [undefined, id])
          streams.push(await openReady(kind, viaInstance(phone, url), { discussionId }));
    for (const n of range(1, 10)) await ann.send(id, `${n}`);
    for (const seq of range(1, 10)) {
      const answered = seq % 2 ? bob.ok("PUT", `${path}/read`, { seq }) : undefined;
      if (!answered) assertDone(await byRest(bob).read(id, seq));
      const start = performance.now();
      const isTold = ({ type, last_read_seq }: Json) => type === "read.updated" && last_read_seq >= seq;
      await Promise.all(streams.map((stream) => stream.until((received) => received.some(isTold))));
      const ms = performance.now() - start;
      assert.ok(ms < 1_000, `mark ${seq} took ${Math.round(ms)} ms`);
      for (const url of [t.url, second.url]) {
        const { items } = await viaInstance(phone, url).ok("GET", "/discussions");
        assert.equal(items[0].unread_count, 10 - seq);
      }
      await answered;
    }
    for (const stream of streams) stream.cut();
  }, env));

test("what an answer says is what every instance shows from then on", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    const far = viaInstance(bob, (await t.another()).url);
    for (const n of range(1, 20)) await ann.send(id, `${n}`);
    for (const seq of range(1, 20)) {
      const [here, there] = seq % 2 ? [bob, far] : [far, bob];
      assert.deepEqual(await here.ok("PUT", `${path}/read`, { seq }), {
        last_read_seq: seq,
        unread_count: 20 - seq,
      });
      const discussion = await there.ok("GET", path);
      assert.deepEqual([markOf(discussion, bob), discussion.unread_count], [seq, 20 - seq]);
    }
  }, env));

test("hundreds of marks at once make fewer events than marks, and the last one counts", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    const streams = [await openReady("ws", ann), await openReady("sse", bob)];
    await insertMessages(t, id, ann, 300);
    const answers = await Promise.all(range(1, 300).map((seq) => bob.ok("PUT", `${path}/read`, { seq })));
    for (const [index, answer] of answers.entries()) {
      assert.ok(answer.last_read_seq > index, `mark ${index + 1} was answered with ${answer.last_read_seq}`);
      assert.equal(answer.unread_count, 300 - answer.last_read_seq);
    }
    const discussion = await bob.ok("GET", path);
    assert.deepEqual([markOf(discussion, bob), discussion.unread_count], [300, 0]);
    await settle(ann, id, ...streams);
    for (const stream of streams) {
      const marks = ofType(stream, "read.updated").map((event) => event.last_read_seq);
      assert.equal(marks.at(-1), 300);
      assert.ok(
        marks.every((mark, index) => index === 0 || mark > marks[index - 1]),
        "events rise",
      );
      assert.ok(marks.length < 300, `${marks.length} events of 300 marks`);
      stream.cut();
    }
  }, env));

test("hundreds of read frames in one burst are all answered, in order, with the final state exact", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    await insertMessages(t, id, ann, 300);
    const socket = await openReady("ws", bob, { discussionId: id });
    for (const seq of range(1, 300)) socket.send({ type: "read", ref: `${seq}`, seq });
    socket.send({ type: "ping", ref: "end" });
    await socket.until((received) => received.some(({ ref }) => ref === "end"), 30_000);
    const answers = socket.received.filter(({ ref }) => ref !== undefined);
    assert.deepEqual(
      answers.map(({ ref }) => ref),
      [...range(1, 300).map(String), "end"],
    );
    assert.ok(answers.slice(0, -1).every(({ type }) => type === "ack"));
    const discussion = await bob.ok("GET", path);
    assert.deepEqual([markOf(discussion, bob), discussion.unread_count], [300, 0]);
    await settle(ann, id, socket);
    assert.equal(ofType(socket, "read.updated").at(-1).last_read_seq, 300);
    socket.cut();
  }, env));

test("counts end at a thousand and are exact below, also after deletions", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    await insertMessages(t, id, ann, 1_005);
    const unread = async () => (await bob.ok("GET", path)).unread_count;
    assert.equal(await unread(), 1_000);
    for (const [seq, expected] of [
      [1, 1_000],
      [2, 1_000],
      [3, 1_000],
      [4, 1_000],
      [1_005, 1_000],
      [500, 999],
      [501, 998],
    ] as const) {
      assertDone(await byRest(ann).remove(id, seq));
      assert.equal(await unread(), expected, `after deleting ${seq}`);
    }
    assert.deepEqual(await bob.ok("PUT", `${path}/read`, { seq: 502 }), {
      last_read_seq: 502,
      unread_count: 502,
    });
  }, env));

/** What the random histories act on: three discussions, and what is expected of each person's marks. */
async function createWorld(t: TestServer) {
  const crowd = await people(t.url, "ann", "bob", "carl", "dora");
  const [ann, bob] = crowd;
  const member_ids = crowd.map(({ user }) => user.id);
  const open = { kind: "group", name: "Open", member_ids: [], visibility: "public" };
  const ids: string[] = [];
  for (const body of [
    open,
    { kind: "group", name: "All", member_ids },
    { kind: "direct", user_id: bob.user.id },
  ])
    ids.push((await ann.ok("POST", "/discussions", body)).id);
  return { crowd, ids, far: (await t.another()).url };
}

type World = Awaited<ReturnType<typeof createWorld>>;

/** One random step; all that it may be refused with is that one is no member. */
async function step({ crowd, ids, far }: World, random: () => number): Promise<void> {
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)] as T;
  const [someone, id, choice, place] = [pick(crowd), pick(ids), random(), random()];
  const client = place < 0.5 ? someone : viaInstance(someone, far);
  const way = byRest(client);
  const path = `/discussions/${id}`;
  if (choice < 0.45) return void (await way.send(id, `text ${choice}`));
  const discussion = await client.call("GET", path);
  if (discussion.status !== 200 || discussion.body.my_role === null) {
    await client.call("POST", `${path}/join`);
    return;
  }
  const { last_seq } = discussion.body;
  if (choice < 0.75) return void (await way.read(id, 1 + Math.floor(random() * (last_seq + 3))));
  if (choice < 0.93) return void (await way.remove(id, 1 + Math.floor(random() * last_seq)));
  await client.call("DELETE", `${path}/members/${client.user.id}`);
}

/** Compares every count that is shown with a recount from the history. */
async function recount({ crowd, ids }: World, hint: string): Promise<number> {
  let unreadInAll = 0;
  for (const client of crowd) {
    const { items } = await client.ok("GET", "/discussions");
    for (const listed of items) {
      assert.ok(ids.includes(listed.id));
      const shown = await client.ok("GET", `/discussions/${listed.id}`);
      const messages = await history(client, listed.id);
      const mark = markOf(shown, client);
      const unread = messages.filter(
        ({ seq, sender_id, deleted_at }) => seq > mark && sender_id !== client.user.id && deleted_at === null,
      );
      const name = `${hint}: ${client.user.username} in ${shown.title}, read to ${mark}`;
      assert.equal(shown.unread_count, unread.length, name);
      assert.equal(listed.unread_count, unread.length, `${name}, in the list`);
      const own = messages.findLast(({ sender_id }) => sender_id === client.user.id);
      assert.ok(mark <= shown.last_seq, name);
      // A message of an earlier membership need not count as a mark of this one.
      if (own && shown.kind === "direct") assert.ok(mark >= own.seq, `${name}: sending marks as read`);
      unreadInAll += unread.length;
    }
  }
  return unreadInAll;
}

for (const atOnce of [1, 12]) {
  test(`counts equal a recount over random histories, ${atOnce} steps at a time`, () =>
    withServer(async (t) => {
      const random = createRandom(seed + atOnce);
      const world = await createWorld(t);
      let unread = 0;
      for (let n = 0; n < 240; n += atOnce) {
        await Promise.all(range(1, atOnce).map(() => step(world, random)));
        if (n % 24 === 0) unread += await recount(world, `seed ${seed}, step ${n}`);
      }
      unread += await recount(world, `seed ${seed}, the end`);
      assert.ok(unread > 0, "there was something to count");
    }, env));
}

test("marks follow from the events alone: each read.updated is above the last of that person", () =>
  withServer(async (t) => {
    const random = createRandom(seed + 2);
    const world = await createWorld(t);
    const [ann] = world.crowd;
    const [id = ""] = world.ids.slice(1);
    const stream = await openReady("ws", ann);
    await insertMessages(t, id, ann, 100);
    const marks = range(1, 120).map(() => 1 + Math.floor(random() * 110));
    const answers = await Promise.all(
      marks.map((seq, n) => byRest(world.crowd[1 + (n % 3)] as Client).read(id, seq)),
    );
    for (const answer of answers) assertDone(answer);
    await settle(ann, id, stream);
    const { members } = await ann.ok("GET", `/discussions/${id}`);
    const last = new Map<string, number>();
    for (const { type, user_id, last_read_seq } of eventsOf(stream)) {
      if (type !== "read.updated") continue;
      assert.ok(last_read_seq > (last.get(user_id) ?? 0), "an event moves forward");
      last.set(user_id, last_read_seq);
    }
    for (const [index, client] of world.crowd.slice(1).entries()) {
      const own = marks.filter((_, n) => n % 3 === index);
      const shown = members.find(({ user_id }: Json) => user_id === client.user.id).last_read_seq;
      assert.equal(shown, Math.min(100, Math.max(...own)));
      assert.equal(last.get(client.user.id), shown, "the last event is the state");
    }
    stream.cut();
    assertRefused(await ann.call("GET", `/discussions/${id}/read`), [404, 405]);
  }, env));

test.run();
