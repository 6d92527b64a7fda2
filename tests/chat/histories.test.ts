// time limit: 200 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { createRandom, openReady, Progress, seed, viaInstance } from "../delivery/help.ts";
import type { Client } from "../support/client.ts";
import { type TestServer, withServer } from "../support/server.ts";
import { openTestStream, type StreamKind } from "../support/streams.ts";
import { byRest, bySocket, env, kinds, people, range, type Way } from "./help.ts";
import { applyAll, assertFresh, loadState, type State } from "./reducer.ts";

console.log(`seed ${seed} (SEED=${seed} repeats the choices, though not the timing)`);

/** What random actors act on. */
interface World {
  crowd: Client[];
  urls: string[];
  /** All discussions there ever were. */
  ids: string[];
  random: () => number;
  steps: Progress;
  /** The types of all events that any follower heard. */
  heard: Set<string>;
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
  return { crowd, urls, ids, random: createRandom(seed + salt), steps: new Progress(), heard: new Set() };
}

type Act = (world: World, client: Client, way: Way, id: string) => Promise<unknown>;

const pick = <T>({ random }: World, from: readonly T[]) => from[Math.floor(random() * from.length)] as T;
const anySeq = ({ random }: World) => 1 + Math.floor(random() * 12);
const anyone = (world: World) => pick(world, world.crowd).user.id;

/** How often each of these is chosen. What is refused is refused: 4xx, never worse. */
const acts: [number, Act][] = [
  [8, (world, _, way, id) => way.send(id, `text ${world.random()} @bob`)],
  [2, (world, _, way, id) => way.send(id, "reply", { reply_to_seq: anySeq(world) })],
  [6, (world, _, way, id) => way.edit(id, anySeq(world), `edited ${world.random()} @carl`)],
  [3, (world, _, way, id) => way.remove(id, anySeq(world))],
  [6, (world, _, way, id) => way.react(id, anySeq(world), pick(world, ["👍", "🎉", "👩🏾‍🚀"]))],
  [4, (world, _, way, id) => way.unreact(id, anySeq(world), pick(world, ["👍", "🎉", "👩🏾‍🚀"]))],
  // Often beyond the end, as everybody who sends has read all before.
  [5, (world, _, way, id) => way.read(id, 4 * anySeq(world))],
  [2, (_, client, __, id) => client.call("POST", `/discussions/${id}/join`)],
  [3, (w, client, _, id) => client.call("POST", `/discussions/${id}/members`, { user_ids: [anyone(w)] })],
  [4, (world, client, _, id) => client.call("DELETE", `/discussions/${id}/members/${anyone(world)}`)],
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
  // Not one of the first, in which most of it happens.
  [1, (w, client) => client.call("DELETE", `/discussions/${pick(w, w.ids.slice(2))}`)],
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
  for (const { type } of stream.received) world.heard.add(type);
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

for (const salt of range(1, 2)) {
  test(`after random commands of several people, events lead all of them to the state: round ${salt}`, () =>
    withServer(async (t) => {
      const world = await createWorld(t, salt);
      const followers: Follower[] = [];
      for (const client of world.crowd)
        for (const kind of kinds) {
          const state = await loadState(client);
          followers.push({ kind, state, kept: [state.copy()] });
        }
      const total = world.crowd.length * stepsEach;
      /** Comes when the others are in the middle of it: what is loaded has to fit its cursors exactly. */
      const comeLate = async () => {
        const moment = world.random() * total * 0.9;
        await world.steps.until(() => world.steps.count >= moment);
        const state = await loadState(pick(world, world.crowd));
        const follower = { kind: pick(world, kinds), state, kept: [state.copy()] };
        followers.push(follower);
        await follow(world, follower, total);
      };
      await Promise.all([
        ...world.crowd.map((client) => actAtRandom(world, client)),
        ...followers.map((follower) => follow(world, follower, total)),
        ...range(1, 8).map(comeLate),
      ]);
      const types = [...world.heard].filter((type) => type.includes("."));
      assert.ok(types.length >= 6, `there was little to follow: ${types}`);
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
