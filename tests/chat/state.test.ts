// time limit: 400 s
import { test } from "uvu";
import { openReady } from "../delivery/help.ts";
import { type Client, type Json, password } from "../support/client.ts";
import { type TestServer, withServer } from "../support/server.ts";
import { byRest, bySocket, createRoom, env, kinds, type Way } from "./help.ts";
import { applyAll, assertFresh, loadState } from "./reducer.ts";

type Room = Awaited<ReturnType<typeof createRoom>> & { direct: Json };

/**
 * A room in which something has happened already: carl sent 1 and 3, ann 2; reactions and marks are there.
 * Eve is no member.
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

test.run();
