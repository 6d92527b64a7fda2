// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { createGroup, login, openReady } from "../delivery/help.ts";
import { assertProblem, Client, type Json, register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { openTestStream, type TestStream } from "../support/streams.ts";
import { aged, claimsOf } from "./forging.ts";
import { acts } from "./matrix/acts.ts";
import { type FrameAct, frameActs } from "./matrix/frames.ts";
import { type Place, routeTables } from "./matrix/routes.ts";
import type { Actor, Verdict } from "./matrix/table.ts";
import { type Universe, type World, withUniverse } from "./matrix/world.ts";

// Who may do what by socket: the same as by the routes, whose tables say what comes of it.

const env = { RATE_LIMITS: "off" };
/** Who can open a socket of all their discussions. What the others get is in the tables: no socket. */
const connected: readonly Actor[] = ["owner", "admin", "member", "blocked", "former", "stranger", "ticket"];
const places = (Object.keys(routeTables) as Place[]).filter((place) => place !== "nowhere");

test("every kind of frame is tried", () =>
  withServer(async (t) => {
    const document: Json = await (await fetch(`${t.url}/asyncapi.json`)).json();
    const said: Json[] = document.operations.socketFrames.messages;
    const types = said.map(({ $ref }) => $ref.split("/frame.").at(-1));
    const world = { seqOf: () => 1 } as unknown as World;
    const tried = frameActs.map(({ frame }) => frame(world, new Client("")).type);
    // A ping is about nothing.
    assert.deepEqual([...new Set([...tried, "ping"])].sort(), types.sort());
    for (const { act } of frameActs) assert.ok(acts[act], act);
  }));

for (const place of places) {
  test(`${place}: by frame everybody may do what the route lets them do, and nothing else`, () =>
    withServer(
      (t) =>
        withUniverse(t, async (universe) => {
          for (const one of frameActs) await tryFrame(universe, place, one);
        }),
      env,
    ));
}

test("a socket of one discussion is no way into another", () =>
  withServer(
    (t) =>
      withUniverse(t, async (universe) => {
        const world = await universe.create("private group");
        const { former } = world.people;
        const own = await createGroup(former, "own", []);
        const socket = await openReady("ws", former, { discussionId: own.id });
        const before = await universe.snapshot();
        for (const { frame } of frameActs) {
          const answer = await say(socket, { ...frame(world, former), discussion_id: world.id });
          assert.deepEqual([answer.type, answer.code], ["error", "discussion_not_found"]);
        }
        assert.deepEqual(await universe.snapshot(), before);
        assert.ok(!JSON.stringify(socket.received).includes(world.id));
        const answer = await say(socket, { type: "message.send", content: "at home" });
        assert.equal(answer.message.discussion_id, own.id);
        socket.cut();
      }),
    env,
  ));

test("frames that come with the end of their session do nothing, and the socket ends", () =>
  withServer(
    (t) =>
      withUniverse(t, async (universe) => {
        for (const { frame } of frameActs) {
          const world = await universe.create("private group");
          const { owner } = world.people;
          const socket = await openReady("ws", owner);
          // By hand and without an event, so that only the act itself can see it.
          await world.run("ALTER TABLE sessions DISABLE TRIGGER USER");
          await world.run("UPDATE sessions SET revoked_at = now() WHERE id = $1", claimsOf(owner.token).sid);
          await world.run("ALTER TABLE sessions ENABLE TRIGGER USER");
          const before = await universe.snapshot();
          socket.send({ ...frame(world, owner), discussion_id: world.id, ref: "late" });
          await socket.until(() => socket.ended() !== undefined);
          assert.equal(socket.ended(), 4502);
          assert.deepEqual(await universe.snapshot(), before);
        }
      }),
    env,
  ));

test("a socket outlives its access token for as long as its session lives, and not longer", () =>
  withServer(async (t) => {
    await register(t.url, "ann");
    const ann = await login(t.url, "ann");
    const group = await createGroup(ann, "G", []);
    const short = Object.assign(new Client(t.url), { user: ann.user, token: aged(ann.token, 15 * 60 - 3) });
    const socket = await openReady("ws", short);
    await eventually(async () => assertProblem(await short.call("GET", "/users/me"), 401, "unauthenticated"));
    const said = { type: "message.send", discussion_id: group.id, content: "still here" };
    assert.equal((await say(socket, said)).type, "ack");
    await assert.rejects(openTestStream("ws", short), /401/);
    await ann.ok("POST", "/auth/logout");
    await socket.until(() => socket.ended() !== undefined);
    assert.equal(socket.ended(), 4502);
  }));

test.run();

async function tryFrame(universe: Universe, place: Place, one: FrameAct): Promise<void> {
  const row = routeTables[place].find(({ act }) => act === one.act);
  if (!row) return assert.ok(place !== "private group", `there is no row for ${one.act}`);
  const stranger = row.verdicts.find(({ actor }) => actor === "stranger");
  assert.ok(stranger);
  // Whoever has the stranger's ticket has a socket by it, and is the stranger there.
  const verdicts = row.verdicts
    .filter(({ actor }) => connected.includes(actor))
    .map((verdict) => (verdict.actor === "ticket" ? { ...stranger, actor: verdict.actor } : verdict));
  assert.equal(verdicts.length, connected.length);
  const shared = await universe.create(place);
  const refused: [Verdict, TestStream][] = [];
  for (const verdict of verdicts.filter(({ code }) => code !== null))
    refused.push([verdict, await connect(shared, verdict.actor)]);
  const before = await universe.snapshot();
  for (const [verdict, socket] of refused) await carryOut(shared, one, verdict, socket);
  const those = refused.map(([{ actor }]) => actor).join(", ");
  assert.deepEqual(await universe.snapshot(), before, `${place}: ${one.act} by one of ${those}`);
  for (const verdict of verdicts.filter(({ code }) => code === null)) {
    const world = await universe.create(place);
    await carryOut(world, one, verdict, await connect(world, verdict.actor));
  }
}

async function connect(world: World, actor: Actor): Promise<TestStream> {
  const { stranger } = world.people;
  const ticket = actor === "ticket" ? (await stranger.ok("POST", "/auth/tickets")).ticket : undefined;
  return openReady("ws", world.as(actor), { ticket });
}

async function carryOut(world: World, one: FrameAct, verdict: Verdict, socket: TestStream): Promise<void> {
  const who = world.person(verdict.actor);
  const frame = one.frame(world, who);
  const asked = await acts[one.act]?.(world, who);
  const answer = await say(socket, { ...frame, discussion_id: world.id });
  socket.cut();
  const what = `${world.place}: ${frame.type} as ${one.act} by ${verdict.actor}: ${JSON.stringify(answer)}`;
  if (verdict.code !== null)
    return assert.deepEqual([answer.type, answer.code], ["error", verdict.code], what);
  assert.equal(answer.type, "ack", what);
  const body = answer.message ?? answer;
  assert.ok(await asked?.did({ status: verdict.status, headers: new Headers(), body }), `not done: ${what}`);
}

let refs = 0;

/** Sends a frame and gives its answer. */
async function say(socket: TestStream, frame: object): Promise<Json> {
  const ref = `frame ${++refs}`;
  socket.send({ ...frame, ref });
  const answerOf = (received: Json[]) => received.find((one) => one.ref === ref);
  await socket.until(answerOf);
  return answerOf(socket.received);
}
