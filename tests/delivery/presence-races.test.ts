// time limit: 120 s
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "uvu";
import { z } from "zod";
import { openDatabase, type Pool, sql } from "../../sql/database.ts";
import { changePresences, findPresence, leaveInstance, renewInstance } from "../../sql/presence.ts";
import type { Client } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { eventually, withServer } from "../support/server.ts";
import { enrol, type Overheard, overhear, statuses } from "../support/signals.ts";
import type { TestStream } from "../support/streams.ts";
import { createGroup, createRandom, openReady, seed, viaInstance } from "./help.ts";

console.log(`seed ${seed}`);

const names = Array.from({ length: 12 }, (_, i) => `user-${String(i).padStart(2, "0")}`);
const most = { users: 1_000, notifications: 100 };

/** An instance as Postgres sees it: nothing but its statements. */
interface Actor {
  id: string;
  here: Set<string>;
}

/** Runs a test with a group of people who have no streams, and what instances would do by hand. */
async function withActors(
  act: (t: { pool: Pool; people: Client[]; actors: Actor[]; overheard: Overheard }) => Promise<void>,
): Promise<void> {
  await withServer(
    async (t) => {
      const people = await enrol(t.url, t.databaseUrl, names);
      const [first, ...others] = people as [Client, ...Client[]];
      await createGroup(first, "group", others);
      const pool = await openDatabase({ url: t.databaseUrl, maxConnections: 6 });
      try {
        const actors = [1, 2, 3].map(() => ({ id: randomUUID(), here: new Set<string>() }));
        for (const { id } of actors) await renewInstance(pool, id, 60_000, false);
        await overhear(t.databaseUrl, (overheard) => act({ pool, people, actors, overheard }));
      } finally {
        await pool.end();
      }
    },
    { PRESENCE: "off" },
  );
}

/** Some come to the instance and some leave it, in one flush. */
async function flushSome(pool: Pool, actor: Actor, people: Client[], random: () => number): Promise<void> {
  const arrived: string[] = [];
  const departed: string[] = [];
  for (const { user } of people) {
    if (random() < 0.6) continue;
    if (actor.here.delete(user.id)) departed.push(user.id);
    else {
      actor.here.add(user.id);
      arrived.push(user.id);
    }
  }
  const result = await changePresences(pool, actor.id, { arrived, departed, waiting: [] }, most);
  assert.deepEqual(result?.still_waiting, []);
}

/** What was told of a person, in order. */
function toldOf({ user }: Client, overheard: Overheard): { status: string; at: string }[] {
  const words = overheard.lines().map((line) => line.split(" "));
  return words.flatMap(([, id, status = "", at = ""]) => (id === user.id ? [{ status, at }] : []));
}

test("whatever instances store at the same time, each change is told once, and the last is the truth", () =>
  withActors(async ({ pool, people, actors, overheard }) => {
    await Promise.all(
      actors.map(async (actor, index) => {
        const random = createRandom(seed + index);
        for (let round = 0; round < 120; round++) await flushSome(pool, actor, people, random);
      }),
    );
    await overheard.settled();
    for (const person of people) {
      const told = toldOf(person, overheard);
      assert.ok(told.length > 10, `${told.length} changes`);
      told.forEach(({ status }, i) => {
        assert.equal(status, i % 2 === 0 ? "online" : "offline", `change ${i} of ${person.user.username}`);
      });
      assert.deepEqual(
        told.map(({ at }) => at).sort(),
        told.map(({ at }) => at),
        "times rise",
      );
      const isOnline = actors.some(({ here }) => here.has(person.user.id));
      assert.equal(told.at(-1)?.status, isOnline ? "online" : "offline");
      const filter = { user_id: person.user.id, reader_id: person.user.id, shown: true };
      const found = JSON.parse((await findPresence(pool, filter)) ?? "");
      assert.deepEqual(found, { status: told.at(-1)?.status, last_seen_at: told.at(-1)?.at });
    }
  }));

test("while an instance ends and others see it, the last that is told is the truth", () =>
  withActors(async ({ pool, people, actors, overheard }) => {
    const [first, second, third] = actors as [Actor, Actor, Actor];
    let left = actors.length;
    const sweep = async (actor: Actor) => {
      let waiting: readonly string[] = [];
      while (left > 2 || waiting.length > 0) {
        await changePresences(pool, actor.id, { arrived: [], departed: [], waiting }, most);
        waiting = (await renewInstance(pool, actor.id, 60_000, true)).ended;
        left = await countInstances(pool);
      }
    };
    const live = async (actor: Actor, index: number) => {
      const random = createRandom(seed + index);
      for (let round = 0; round < 60; round++) await flushSome(pool, actor, people, random);
    };
    const leave = async () => {
      await live(third, 2);
      await leaveInstance(pool, third.id, 1);
    };
    await Promise.all([live(first, 0), live(second, 1), leave(), sweep(first), sweep(second)]);
    await overheard.settled();
    for (const person of people) {
      const isOnline = [first, second].some(({ here }) => here.has(person.user.id));
      assert.equal(toldOf(person, overheard).at(-1)?.status, isOnline ? "online" : "offline");
    }
    // What comes of it when it was only slow: nothing is stored before it has said that it is there.
    const late = { arrived: [people[0]?.user.id ?? ""], departed: [], waiting: [] };
    assert.equal(await changePresences(pool, third.id, late, most), null);
    assert.equal((await renewInstance(pool, third.id, 60_000, false)).is_new, true);
  }));

test("an instance that ended a year ago, while no other ran, is found and ended", () =>
  withActors(async ({ pool, people, actors }) => {
    const [first, second, third] = actors as [Actor, Actor, Actor];
    const user_id = people[0]?.user.id;
    const change = { arrived: [user_id], departed: [], waiting: [] };
    await changePresences(pool, second.id, change, most);
    await pool.query(sql.unsafe`
      UPDATE instances SET expires_at = now() - interval '1 year' WHERE id = ${second.id}::uuid`);
    const filter = { user_id, reader_id: user_id, shown: true };
    const before = JSON.parse((await findPresence(pool, filter)) ?? "");
    const { ended, next_end_ms } = await renewInstance(pool, first.id, 60_000, false);
    assert.deepEqual([ended, next_end_ms], [[], 0]);
    await leaveInstance(pool, third.id, 0);
    assert.deepEqual((await renewInstance(pool, first.id, 60_000, true)).ended, [user_id]);
    assert.equal(await countInstances(pool), 1);
    const after = JSON.parse((await findPresence(pool, filter)) ?? "");
    assert.deepEqual([before.status, after.status], ["offline", "offline"]);
  }));

test("what does not fit is told by the next flushes, in few NOTIFYs each", () =>
  withActors(async ({ pool, people, actors, overheard }) => {
    const [actor] = actors as [Actor, Actor, Actor];
    const arrived = people.map(({ user }) => user.id);
    let result = await changePresences(
      pool,
      actor.id,
      { arrived, departed: [], waiting: [] },
      { users: 5, notifications: 5 },
    );
    for (const left of [7, 2, 0]) {
      assert.equal(result?.still_waiting.length, left);
      assert.equal(result?.notifications, 1);
      const change = { arrived: [], departed: [], waiting: result?.still_waiting ?? [] };
      result = await changePresences(pool, actor.id, change, { users: 5, notifications: 5 });
    }
    await overheard.settled();
    assert.deepEqual(
      people.flatMap((person) => toldOf(person, overheard).map(({ status }) => status)),
      Array(12).fill("online"),
    );
  }));

test("people who come and go at random on two instances are in the end shown as what they are", () =>
  withServer(async (t) => {
    const second = await t.another();
    const people = await enrol(t.url, t.databaseUrl, names);
    const [watcher, ...others] = people as [Client, ...Client[]];
    await createGroup(watcher, "group", others);
    const watching = await Promise.all([
      openReady("ws", watcher),
      openReady("sse", viaInstance(watcher, second.url)),
    ]);
    const random = createRandom(seed);
    const open = new Map<Client, TestStream[]>(others.map((client) => [client, []]));
    const live = async (client: Client) => {
      const streams = open.get(client) ?? [];
      for (let i = 0; i < 30; i++) {
        const url = random() < 0.5 ? t.url : second.url;
        if (random() < 0.5)
          streams.push(await openReady(random() < 0.5 ? "ws" : "sse", viaInstance(client, url)));
        else streams.splice(Math.floor(random() * streams.length), 1)[0]?.cut();
      }
      if (random() < 0.5) for (const stream of streams.splice(0)) stream.cut();
    };
    await Promise.all(others.map(live));
    const online = others.filter((client) => open.get(client)?.length);
    await eventually(async () => {
      const rows = await query(t.databaseUrl, "SELECT DISTINCT user_id FROM presences");
      assert.equal(rows.length, online.length + 1);
    }, 15_000);
    for (const stream of watching) {
      await eventually(() => {
        for (const client of others) {
          const last = statuses(stream, client).at(-1) ?? "offline";
          assert.equal(last, online.includes(client) ? "online" : "offline", client.user.username);
        }
      });
      for (const client of others) assert.ok(statuses(stream, client).length <= 2, "nothing between");
    }
    for (const stream of [...watching, ...[...open.values()].flat()]) stream.cut();
  }));

async function countInstances(pool: Pool): Promise<number> {
  return pool.oneFirst(sql.type(z.object({ count: z.number() }))`SELECT count(*) FROM instances`);
}

test.run();
