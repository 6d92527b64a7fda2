// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { createRandom, openReady, Progress, seed, viaInstance } from "../delivery/help.ts";
import { type Client, type Json, password } from "../support/client.ts";
import { type TestServer, withServer } from "../support/server.ts";
import { openTestStream, type StreamKind } from "../support/streams.ts";
import { byRest, bySocket, createRoom, env, kinds, people, range, type Way } from "./help.ts";
import { applyAll, describe, fetchDescription, loadState, type State } from "./reducer.ts";

console.log(`seed ${seed} (SEED=${seed} repeats the choices, though not the timing)`);

type Room = Awaited<ReturnType<typeof createRoom>> & { direct: Json };

/**
 * A room in which something has happened already: carl sent 1 and 3, ann 2; reactions and marks are there. Eve is
 * no member and has a discussion with herself.
 */
async function createBusyRoom(t: TestServer): Promise<Room> {
  const room = await createRoom(t.url);
  const { ann, bob, carl, id } = room;
  await carl.send(id, "one");
  await ann.send(id, "two", { reply_to_seq: 1 });
  await carl.send(id, "three @bob");
  await byRest(bob).react(id, 1, "👍");
  await byRest(carl).react(id, 1, "👍");
  await byRest(bob).read(id, 1);
  const direct = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
  await bob.send(direct.id, "hello");
  return { ...room, direct };
}

type Command = (room: Room, way: (client: Client) => Way) => Promise<unknown>;

const memberPath = ({ path }: Room, client: Client) => `${path}/members/${client.user.id}`;

/** One command each; those that are both route and frame are tried both ways. */
const commands: Record<string, Command> = {
  "sending a message": ({ bob, id }, way) => way(bob).send(id, "four @carl", { reply_to_seq: 3 }),
  "editing a message": ({ carl, id }, way) => way(carl).edit(id, 1, "one, edited for @ann"),
  "editing a message twice": async ({ carl, id }, way) => {
    await way(carl).edit(id, 3, "three, edited");
    await way(carl).edit(id, 3, "three, edited again");
  },
  "deleting one's own message": ({ ann, id }, way) => way(ann).remove(id, 2),
  "deleting another's unread message as an admin": ({ bob, id }, way) => way(bob).remove(id, 3),
  "deleting what was edited": async ({ carl, id }, way) => {
    await way(carl).edit(id, 3, "three, edited");
    await way(carl).remove(id, 3);
  },
  "adding a reaction": ({ ann, id }, way) => way(ann).react(id, 1, "🎉"),
  "adding a reaction of a kind that is there": ({ ann, id }, way) => way(ann).react(id, 1, "👍"),
  "removing a reaction": ({ bob, id }, way) => way(bob).unreact(id, 1, "👍"),
  "editing what has reactions": ({ carl, id }, way) => way(carl).edit(id, 1, "still liked"),
  reading: ({ ann, id }, way) => way(ann).read(id, 3),
  "reading beyond the end": ({ bob, id }, way) => way(bob).read(id, 1_000),
  "adding a member": ({ ann, eve, path }) => ann.ok("POST", `${path}/members`, { user_ids: [eve.user.id] }),
  "removing a member": (room) => room.ann.ok("DELETE", memberPath(room, room.carl)),
  "removing and adding a member again": async (room) => {
    await room.ann.ok("DELETE", memberPath(room, room.carl));
    await room.ann.send(room.id, "while carl is away");
    await room.ann.ok("POST", `${room.path}/members`, { user_ids: [room.carl.user.id] });
  },
  leaving: (room) => room.bob.ok("DELETE", memberPath(room, room.bob)),
  "joining a public group": async ({ ann, eve, path }) => {
    await ann.ok("PATCH", path, { visibility: "public" });
    await eve.ok("POST", `${path}/join`);
  },
  "handing over ownership": async (room) => {
    await room.ann.ok("PATCH", memberPath(room, room.carl), { role: "owner" });
    await room.ann.ok("PATCH", memberPath(room, room.ann), { role: "member" });
  },
  "renaming a group": ({ bob, path }) => bob.ok("PATCH", path, { name: "Renamed" }),
  "deleting a group": ({ ann, path }) => ann.ok("DELETE", path),
  "creating a group": ({ eve, ann, bob }) =>
    eve.ok("POST", "/discussions", { kind: "group", name: "New", member_ids: [ann.user.id, bob.user.id] }),
  "creating a direct discussion": ({ eve, carl }) =>
    eve.ok("POST", "/discussions", { kind: "direct", user_id: carl.user.id }),
  "muting, blocking and renaming oneself": async ({ bob, carl, path }) => {
    await bob.ok("PUT", `${path}/mute`, { until: "2031-05-06T12:00:00.000Z" });
    await bob.ok("PUT", `/users/${carl.user.id}/block`);
    await bob.ok("PATCH", "/users/me", { display_name: "Robert" });
  },
  "erasing the account of a member": ({ carl }) => carl.ok("DELETE", "/users/me", { password }),
  "erasing the account of the only owner": ({ ann }) => ann.ok("DELETE", "/users/me", { password }),
};

const isFrame = (command: Command) => command.length > 1;

async function assertFresh(state: State, hint: string): Promise<void> {
  assert.deepEqual(describe(state), await fetchDescription(state.client), hint);
}

for (const [name, command] of Object.entries(commands))
  for (const byFrame of isFrame(command) ? [false, true] : [false]) {
    test(`${name}${byFrame ? ", by frame" : ""}: the old state with its events is the fetched state`, () =>
      withServer(async (t) => {
        const room = await createBusyRoom(t);
        const { ann, bob, carl, eve } = room;
        const crowd = [ann, bob, carl, eve];
        const marks = new Map<Client, string>();
        for (const client of crowd) {
          const own = await client.ok("POST", "/discussions", { kind: "direct", user_id: client.user.id });
          marks.set(client, own.id);
        }
        const old = await Promise.all(crowd.map(loadState));
        const sockets = new Map<Client, Way>();
        for (const client of crowd) sockets.set(client, bySocket(await openReady("ws", client)));
        await command(room, (client) => (byFrame && sockets.get(client)) || byRest(client));
        for (const before of old) {
          const { client } = before;
          if ((await client.call("GET", "/users/me")).status === 401) continue; // Erased.
          await client.send(marks.get(client) ?? "", "the end");
          for (const kind of kinds) {
            const state = before.copy();
            const stream = await openReady(kind, client, { since: before.cursor });
            await applyAll(state, stream.received);
            await assertFresh(state, `${client.user.username} on ${kind}`);
            stream.cut();
          }
        }
      }, env));
  }

/** What random actors act on. */
interface World {
  crowd: Client[];
  urls: string[];
  /** All discussions there ever were. */
  ids: string[];
  random: () => number;
  steps: Progress;
}

async function createWorld(t: TestServer, salt: number): Promise<World> {
  const crowd = await people(t.url, "ann", "bob", "carl", "dora");
  const [ann, bob, carl] = crowd;
  const member_ids = crowd.map(({ user }) => user.id);
  const ids: string[] = [];
  const create = async (by: Client, body: object) => ids.push((await by.ok("POST", "/discussions", body)).id);
  await create(ann, { kind: "group", name: "All", member_ids });
  await create(bob, { kind: "group", name: "Open", member_ids: [carl.user.id], visibility: "public" });
  await create(ann, { kind: "direct", user_id: bob.user.id });
  const urls = [t.url, (await t.another()).url];
  return { crowd, urls, ids, random: createRandom(seed + salt), steps: new Progress() };
}

type Act = (world: World, client: Client, way: Way, id: string) => Promise<unknown>;

const pick = <T>({ random }: World, from: readonly T[]) => from[Math.floor(random() * from.length)] as T;
const anySeq = ({ random }: World) => 1 + Math.floor(random() * 25);
const anyone = (world: World) => pick(world, world.crowd).user.id;

/** How often each of these is chosen. What is refused is refused: 4xx, never worse. */
const acts: [number, Act][] = [
  [8, (world, _, way, id) => way.send(id, `text ${world.random()} @bob`)],
  [2, (world, _, way, id) => way.send(id, "reply", { reply_to_seq: anySeq(world) })],
  [6, (world, _, way, id) => way.edit(id, anySeq(world), `edited ${world.random()} @carl`)],
  [3, (world, _, way, id) => way.remove(id, anySeq(world))],
  [6, (world, _, way, id) => way.react(id, anySeq(world), pick(world, ["👍", "🎉", "👩🏾‍🚀"]))],
  [4, (world, _, way, id) => way.unreact(id, anySeq(world), pick(world, ["👍", "🎉", "👩🏾‍🚀"]))],
  [5, (world, _, way, id) => way.read(id, anySeq(world))],
  [2, (_, client, __, id) => client.call("POST", `/discussions/${id}/join`)],
  [2, (w, client, _, id) => client.call("POST", `/discussions/${id}/members`, { user_ids: [anyone(w)] })],
  [2, (world, client, _, id) => client.call("DELETE", `/discussions/${id}/members/${anyone(world)}`)],
  [
    2,
    (world, client, _, id) => {
      const role = pick(world, ["owner", "admin", "member"]);
      return client.call("PATCH", `/discussions/${id}/members/${anyone(world)}`, { role });
    },
  ],
  [
    1,
    (world, client, _, id) => {
      const body = pick(world, [{ name: `Name ${world.random()}` }, { visibility: "public" }]);
      return client.call("PATCH", `/discussions/${id}`, body);
    },
  ],
  [
    1,
    async (world, client) => {
      const member_ids = [anyone(world), anyone(world)];
      const body = { kind: "group", name: `Group ${world.random()}`, member_ids };
      world.ids.push((await client.ok("POST", "/discussions", body)).id);
    },
  ],
  [0.3, (_, client, __, id) => client.call("DELETE", `/discussions/${id}`)],
];

const allWeights = acts.reduce((sum, [weight]) => sum + weight, 0);

function chooseAct({ random }: World): Act {
  let left = random() * allWeights;
  for (const [weight, act] of acts) {
    left -= weight;
    if (left < 0) return act;
  }
  return acts[0]?.[1] as Act;
}

const stepsEach = 70;

async function actAtRandom(world: World, client: Client): Promise<void> {
  const sockets = await Promise.all(world.urls.map((url) => openReady("ws", viaInstance(client, url))));
  for (let n = 0; n < stepsEach; n++) {
    const at = viaInstance(client, pick(world, world.urls));
    const way = world.random() < 0.5 ? byRest(at) : bySocket(pick(world, sockets));
    // Mostly in the first discussions, so that much happens to the same messages.
    const id = pick(world, world.random() < 0.7 ? world.ids.slice(0, 2) : world.ids);
    const answer = (await chooseAct(world)(world, at, way, id)) as { status?: number } | undefined;
    assert.ok((answer?.status ?? 0) < 500, JSON.stringify(answer));
    world.steps.add(1);
  }
  for (const socket of sockets) socket.cut();
}

/** A client that follows the events over many connections, and keeps some of its old states. */
interface Follower {
  kind: StreamKind;
  state: State;
  kept: State[];
}

/** One connection, cut off after some steps of others; on any instance, from the last cursor that came. */
async function turn(world: World, { kind, state }: Follower, enough: () => Promise<void>): Promise<void> {
  const client = viaInstance(state.client, pick(world, world.urls));
  const stream = await openTestStream(kind, client, { since: state.cursor });
  await enough();
  stream.cut();
  await applyAll(state, stream.received);
}

async function follow(world: World, follower: Follower, total: number): Promise<void> {
  while (world.steps.count < total) {
    const until = world.steps.count + Math.floor(world.random() * 15);
    await turn(world, follower, () =>
      world.steps.until(() => world.steps.count >= Math.min(until + 1, total)),
    );
    if (world.random() < 0.3) follower.kept.push(follower.state.copy());
  }
}

async function replayToEnd(world: World, kind: StreamKind, url: string, state: State): Promise<void> {
  const stream = await openReady(kind, viaInstance(state.client, url), { since: state.cursor });
  await applyAll(state, stream.received);
  stream.cut();
  await assertFresh(
    state,
    `seed ${seed}, ${state.client.user.username} on ${kind} of ${world.urls.indexOf(url)}`,
  );
}

for (const salt of range(1, 3)) {
  test(`after random commands of several people, followed by all, events lead to the state: round ${salt}`, () =>
    withServer(async (t) => {
      const world = await createWorld(t, salt);
      const followers: Follower[] = [];
      for (const client of world.crowd)
        for (const kind of kinds) {
          const state = await loadState(client);
          followers.push({ kind, state, kept: [state.copy()] });
        }
      const total = world.crowd.length * stepsEach;
      await Promise.all([
        ...world.crowd.map((client) => actAtRandom(world, client)),
        ...followers.map((follower) => follow(world, follower, total)),
      ]);
      const later = (await t.another()).url;
      for (const { kind, state, kept } of followers) {
        await replayToEnd(world, kind, pick(world, world.urls), state);
        for (const old of kept.slice(0, 4)) {
          await replayToEnd(world, kind, t.url, old.copy());
          await replayToEnd(world, kind, later, old);
        }
      }
    }, env));
}

test.run();
