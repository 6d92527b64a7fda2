import assert from "node:assert/strict";
import { test } from "uvu";
import {
  contentsOf,
  createGroup,
  createRandom,
  eventsOf,
  heard,
  ofType,
  openReady,
  seed,
  viaInstance,
  withSql,
} from "../delivery/help.ts";
import { type Client, type Json, password } from "../support/client.ts";
import { withRoad } from "../support/road.ts";
import { eventually, withServer } from "../support/server.ts";
import {
  assertDone,
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
} from "./help.ts";

// What could still be read by somebody who should not, or not any more, and what comes past the routes.
const marker = "zqxsecret";

test("an instance that has gone deaf replays no text that was deleted or replaced elsewhere", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createPair(t.url);
    await withRoad(t.databaseUrl, async (road) => {
      const deaf = await t.another({ LISTEN_DATABASE_URL: road.url });
      await eventually(async () => assert.equal((await fetch(`${deaf.url}/readyz`)).status, 200));
      const far = viaInstance(bob, deaf.url);
      const live = await openReady("ws", far);
      for (const n of range(1, 6)) await ann.send(id, `${marker} ${n}`);
      // It has all of them in memory now, and hears of nothing that follows until it notices.
      await heard(live, "message.new", 6);
      road.deafen();
      for (const seq of [1, 3]) assertDone(await byRest(ann).remove(id, seq));
      assertDone(await byRest(ann).edit(id, 5, "replaced"));
      for (const kind of kinds)
        for (const discussionId of [undefined, id]) {
          const stream = await openReady(kind, far, { since: cursor, discussionId });
          const text = JSON.stringify(stream.received);
          for (const n of [1, 3, 5]) assert.ok(!text.includes(`${marker} ${n}`), `${n} on ${kind}: ${text}`);
          for (const n of [2, 4, 6]) assert.ok(text.includes(`${marker} ${n}`), `${n} on ${kind}`);
          stream.cut();
        }
      live.cut();
    });
  }, env));

test("who was removed does not read, from an old cursor, what was written after the removal", () =>
  withServer(async (t) => {
    const { ann, carl, id, path, cursor } = await createRoom(t.url);
    await ann.send(id, "harmless");
    const marks = await createGroup(carl, "marks", [ann]);
    await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
    assertDone(await byRest(ann).edit(id, 1, `${marker}, now that carl is gone`));
    assertDone(await byRest(ann).react(id, 1, "🤫"));
    await ann.send(id, `${marker} again`);
    await ann.send(marks.id, "the end");
    // Of the time before, the message may be told or left out; what came later is not for carl in any form.
    for (const { name, events } of await replays(t, carl, cursor)) {
      const text = JSON.stringify(events);
      assert.ok(text.includes("the end"), name);
      assert.ok(!text.includes(marker), `${name}: ${text}`);
      assert.ok(!text.includes("🤫"), name);
    }
    // Back again, all of it is.
    await ann.ok("POST", `${path}/members`, { user_ids: [carl.user.id] });
    assert.ok((await messageAt(carl, id, 1)).content.includes(marker));
  }, env));

test("who was removed does not hear, from an old cursor, who reacted after the removal", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, path, cursor } = await createRoom(t.url);
    await ann.send(id, "one");
    assertDone(await byRest(ann).edit(id, 1, "one, edited while carl is there"));
    await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
    assertDone(await byRest(bob).react(id, 1, "🤫"));
    for (const { name, events } of await replays(t, carl, cursor))
      assert.ok(!JSON.stringify(events).includes("🤫"), `${name}: ${JSON.stringify(events)}`);
  }, env));

/** What each person could have read at any time: texts and reactions, while being a member. */
class Seen {
  readonly #of = new Map<string, Set<string>>();

  /** Looks as that person now; who is no member sees nothing. */
  async look(client: Client, id: string): Promise<void> {
    const answer = await client.call("GET", `/discussions/${id}/messages?limit=200`);
    if (answer.status === 200) for (const message of answer.body.items) this.add(client, message);
  }

  add({ user }: Client, message: Json): void {
    const seen = this.#of.get(user.id) ?? new Set();
    for (const part of partsOf(message)) seen.add(part);
    this.#of.set(user.id, seen);
  }

  missing({ user }: Client, message: Json): string[] {
    return partsOf(message).filter((part) => !this.#of.get(user.id)?.has(part));
  }
}

function partsOf({ seq, content, reactions }: Json): string[] {
  const reacted = reactions.flatMap(({ emoji, user_ids }: Json) => user_ids.map((id: string) => emoji + id));
  return [content, ...reacted].filter((part) => part !== "").map((part) => `${seq} ${part}`);
}

test("over random memberships, edits and reactions, a replay tells only what could once be read", () =>
  withServer(async (t) => {
    console.log(`seed ${seed} (SEED=${seed} tries it again)`);
    const random = createRandom(seed);
    const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)] as T;
    const { ann, bob, carl, eve, id, path, cursor } = await createRoom(t.url);
    const others = [bob, carl, eve];
    const seen = new Seen();
    const since = new Map(others.map((client) => [client, [cursor]]));
    for (const n of range(1, 150)) {
      const [by, who, seq, choice] = [
        pick([ann, bob, carl]),
        pick(others),
        1 + Math.floor(random() * 12),
        random(),
      ];
      const members = `${path}/members`;
      if (choice < 0.2) await byRest(by).send(id, `text ${n}`);
      else if (choice < 0.5) await byRest(by).edit(id, seq, `edit ${n}`);
      else if (choice < 0.55) await byRest(by).remove(id, seq);
      else if (choice < 0.65) await byRest(by).react(id, seq, pick(["👍", "🎉", "🤫"]));
      else if (choice < 0.8) await ann.call("DELETE", `${members}/${who.user.id}`);
      else await ann.call("POST", members, { user_ids: [who.user.id] });
      for (const client of others) await seen.look(client, id);
      if (n % 30 === 0) since.get(who)?.push((await who.ok("GET", "/discussions")).cursor);
    }
    for (const client of others) {
      for (const from of since.get(client) ?? [])
        for (const { name, events } of await replays(t, client, from))
          for (const { type, message } of events)
            if (message)
              assert.deepEqual(
                seen.missing(client, message),
                [],
                `${client.user.username}, ${name}, ${type}`,
              );
    }
  }, env));

test("a deleted group leaves nothing of its texts behind", () =>
  withServer(async (t) => {
    const { ann, bob, id, path, cursor } = await createRoom(t.url);
    await ann.send(id, `${marker} one`);
    assertDone(await byRest(ann).edit(id, 1, `${marker} two`));
    await bob.send(id, `${marker} three`, { reply_to_seq: 1, client_id: marker });
    assertDone(await byRest(bob).react(id, 1, "👍"));
    await ann.ok("PATCH", path, { name: `${marker} name` });
    await ann.ok("DELETE", path);
    for (const { name, events } of await replays(t, bob, cursor)) {
      assert.ok(!JSON.stringify(events).includes(`${marker} t`), name);
      assert.equal(events.at(-1)?.type, "discussion.deleted", name);
    }
    for (const text of ["one", "two", "three"])
      assert.deepEqual(await findInDatabase(t.databaseUrl, `${marker} ${text}`), []);
  }, env));

test("a group that becomes like another one by an erasure or a removal is in nobody's way", () =>
  withServer(async (t) => {
    const { ann, bob, carl } = await createRoom(t.url);
    const same = { kind: "group", name: "Tea" };
    const create = (client: Client, ...others: Client[]) =>
      client.ok("POST", "/discussions", { ...same, member_ids: others.map(({ user }) => user.id) });
    const [alone, two, three] = [await create(ann), await create(ann, bob), await create(ann, bob, carl)];
    assert.equal(new Set([alone.id, two.id, three.id]).size, 3);
    await carl.ok("DELETE", "/users/me", { password });
    await bob.ok("DELETE", "/users/me", { password });
    for (const { id } of [alone, two, three]) assert.equal((await ann.send(id, "still here")).seq, 1);
    const again = await create(ann);
    assert.ok([alone.id, two.id, three.id].includes(again.id), "one of those there are");
  }, env));

test("a message that is changed by plain SQL reaches every stream as its history shows it", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createPair(t.url);
    await withSql(t.databaseUrl, (db) =>
      db.query(
        `insert into messages (discussion_id, sender_id, content)
         select $1, $2, 'number ' || i from generate_series(1, 300) as i`,
        [id, ann.user.id],
      ),
    );
    const streams = [await openReady("ws", bob), await openReady("sse", ann, { discussionId: id })];
    await withSql(t.databaseUrl, (db) =>
      db.query("update messages set content = 'by hand ' || seq where discussion_id = $1", [id]),
    );
    await settle(ann, id, ...streams);
    const fresh = (await ann.ok("GET", `/discussions/${id}/messages?limit=200`)).items;
    for (const stream of streams) {
      const updated = new Map(ofType(stream, "message.updated").map(({ message }) => [message.seq, message]));
      assert.equal(updated.size, 300);
      for (const message of fresh.slice(0, -1)) assert.deepEqual(updated.get(message.seq), message);
      stream.cut();
    }
    for (const { name, events } of await replays(t, bob, cursor))
      for (const { type, message } of events)
        if (type === "message.new" && message.seq <= 300)
          assert.equal(message.content, `by hand ${message.seq}`, name);
  }, env));

test("edits far larger than a notification arrive whole and in order, and replace each other", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createPair(t.url);
    const streams = [await openReady("ws", bob), await openReady("sse", bob, { discussionId: id })];
    for (const n of range(1, 3)) await ann.send(id, `${n}`);
    const texts = [
      "𝒳".repeat(16_000),
      "\u0001".repeat(16_000),
      "b".repeat(7_900),
      "small",
      "é".repeat(16_000),
    ];
    for (const content of texts)
      for (const seq of [1, 2, 3]) assertDone(await byRest(ann).edit(id, seq, content));
    await settle(ann, id, ...streams);
    for (const stream of streams) {
      const updated = ofType(stream, "message.updated").map(({ message }) => message);
      assert.deepEqual(
        updated.map(({ seq }) => seq),
        texts.flatMap(() => [1, 2, 3]),
      );
      assert.deepEqual(updated.slice(-3), (await history(bob, id)).slice(0, 3));
      stream.cut();
    }
    for (const { name, events } of await replays(t, bob, cursor)) {
      const last = new Map<number, Json>();
      for (const { message } of events) if (message) last.set(message.seq, message);
      assert.deepEqual([...last.values()], await history(bob, id), name);
    }
  }, env));

test("edits and deletions after the log was pruned make their events, and a later cursor replays them", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    for (const n of range(1, 4)) await ann.send(id, `${marker} ${n}`);
    await withSql(t.databaseUrl, (db) =>
      db.query(
        `with moved as (update log_epoch set pruned_to = (select max(position) - 1 from events))
         delete from events where position < (select max(position) from events)`,
      ),
    );
    const { cursor } = await bob.ok("GET", path);
    assertDone(await byRest(ann).edit(id, 1, "edited"));
    assertDone(await byRest(ann).remove(id, 2));
    assertDone(await byRest(bob).react(id, 3, "👍"));
    for (const { name, events } of await replays(t, bob, cursor))
      assert.deepEqual(
        events.map(({ type }) => type),
        ["message.updated", "message.deleted", "reaction.added"],
        name,
      );
  }, env));

test("a stream that stays open hears each change once, however many come at once from everywhere", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const far = (await t.another()).url;
    const crowd = [ann, viaInstance(bob, far), carl, viaInstance(ann, far)];
    const streams = await Promise.all([openReady("ws", bob), openReady("sse", viaInstance(carl, far))]);
    for (const n of range(1, 10)) await ann.send(id, `${n}`);
    const ways = crowd.map(byRest);
    const tasks = range(1, 200).map((n) => {
      const [way, seq] = [ways[n % 4] as ReturnType<typeof byRest>, 1 + (n % 10)];
      if (n % 5 === 0) return way.edit(id, seq, `edit ${n}`);
      if (n % 5 === 1) return way.react(id, seq, "👍");
      if (n % 5 === 2) return way.unreact(id, seq, "👍");
      if (n % 5 === 3) return way.send(id, `new ${n}`);
      return n > 180 ? way.remove(id, seq) : way.read(id, n % 30);
    });
    await Promise.all(tasks);
    await settle(ann, id, ...streams);
    const [first, second] = streams.map((stream) => eventsOf(stream));
    // An instance that had to read from the table tells a message as it is by then.
    const withoutText = (events: Json[] = []) =>
      events.map(({ message, ...event }) => {
        if (!message) return event;
        const { content: _, edited_at: __, deleted_at: ___, reactions: ____, ...rest } = message;
        return { ...event, message: rest };
      });
    assert.deepEqual(withoutText(first), withoutText(second), "the same, in the same order, on both");
    const cursors = first?.map(({ cursor }) => cursor) ?? [];
    assert.equal(new Set(cursors).size, cursors.length);
    // Reactions alternate for each user and message: none is added twice or removed twice.
    const has = new Map<string, boolean>();
    for (const { type, seq, user_id } of first ?? []) {
      if (!type.startsWith("reaction.")) continue;
      const key = `${seq} ${user_id}`;
      assert.equal(has.get(key) ?? false, type === "reaction.removed", key);
      has.set(key, type === "reaction.added");
    }
    assert.ok(contentsOf(streams[0] as (typeof streams)[0]).length > 10);
    for (const stream of streams) stream.cut();
  }, env));

test.run();
