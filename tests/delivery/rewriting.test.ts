import assert from "node:assert/strict";
import { test } from "uvu";
import { type Client, type Json, register } from "../support/client.ts";
import { newestPosition, query } from "../support/postgres.ts";
import { type TestServer, withServer } from "../support/server.ts";
import { createGroup, createRandom, eventsOf, openReady, seed, viaInstance } from "./help.ts";

interface Talk {
  t: TestServer;
  people: Client[];
  discussionId: string;
  /** A cursor from before anything was said. */
  cursor: string;
}

async function withTalk(act: (talk: Talk) => Promise<void>): Promise<void> {
  await withServer(async (t) => {
    const people = await Promise.all(["ann", "bob", "cleo"].map((name) => register(t.url, name)));
    const [ann, bob, cleo] = people as [Client, Client, Client];
    const group = await createGroup(ann, "talk", [bob, cleo]);
    await act({ t, people, discussionId: group.id, cursor: group.cursor });
  });
}

const emojis = ["👍", "🎉", "❤️"];

/** Sends, edits, deletions and reactions in any order, each acceptable or refused as it may be. */
async function change({ people, discussionId }: Talk, random: () => number, count: number): Promise<void> {
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)] as T;
  const path = `/discussions/${discussionId}/messages`;
  for (let index = 0; index < count; index++) {
    const client = pick(people);
    const one = `${path}/${1 + Math.floor(random() * 8)}`;
    const reaction = `${one}/reactions/${encodeURIComponent(pick(emojis))}`;
    const act = Math.floor(random() * 10);
    if (act < 3) await client.send(discussionId, `secret ${index} "\\ \u2028 €`);
    else if (act < 6) await client.call("PATCH", one, { content: `secret again ${index} @ann` });
    else if (act < 7) await client.call("DELETE", one);
    else await client.call(act < 9 ? "PUT" : "DELETE", reaction);
  }
}

/** The log from a cursor on, as a client of that instance hears it. */
async function replay(url: string, client: Client, since: string, to: number): Promise<Json[]> {
  const stream = await openReady("ws", viaInstance(client, url), { since });
  await stream.until((received) => received.some(({ type }) => type === "ready"));
  stream.cut();
  const events = eventsOf(stream).filter(({ type }) => type !== "ready");
  assert.ok(Number(events.at(-1).cursor.split(".")[1]) <= to);
  return events;
}

test("edits and deletions change what memory replays as they change what the table does", () =>
  withTalk(async (talk) => {
    console.log(`      SEED=${seed}`);
    await change(talk, createRandom(seed), 150);
    const ann = talk.people[0] as Client;
    const to = await newestPosition(talk.t.databaseUrl);
    const fromMemory = await replay(talk.t.url, ann, talk.cursor, to);
    const fresh = await talk.t.another();
    const fromTable = await replay(fresh.url, ann, talk.cursor, to);
    assert.deepEqual(fromMemory, fromTable);
    for (const type of ["message.new", "message.updated", "message.deleted", "reaction.added"]) {
      assert.ok(
        fromMemory.some((event) => event.type === type),
        `${type} came up`,
      );
    }
  }));

test("what was said in a deleted message stands nowhere any more", () =>
  withTalk(async ({ t, people, discussionId, cursor }) => {
    const [ann, bob] = people as [Client, Client];
    const path = `/discussions/${discussionId}/messages/1`;
    await ann.send(discussionId, "sesame first");
    await ann.ok("PATCH", path, { content: "sesame second" });
    await ann.ok("PATCH", path, { content: "sesame third" });
    await ann.ok("DELETE", path);
    const replayed = await replay(t.url, bob, cursor, await newestPosition(t.databaseUrl));
    assert.deepEqual(
      replayed.map(({ type }) => type),
      ["message.new", "message.updated", "message.updated", "message.deleted"],
    );
    assert.ok(!JSON.stringify(replayed).includes("sesame"));
    for (const { name, content } of await query(t.databaseUrl, everyTable)) {
      assert.ok(!content.includes("sesame"), name);
    }
  }));

/** The rows of all tables as text. */
const everyTable = `
  SELECT table_name AS name,
    query_to_xml(format('SELECT * FROM %I', table_name), true, false, '')::text AS content
  FROM information_schema.tables WHERE table_schema = 'public'`;

test("a message changed by hand is told of like any other", () =>
  withTalk(async ({ t, people, discussionId, cursor }) => {
    const ann = people[0] as Client;
    await ann.send(discussionId, "one");
    await ann.send(discussionId, "two");
    const stream = await openReady("sse", ann, { since: cursor });
    await query(t.databaseUrl, "UPDATE messages SET content = content || '!'");
    await query(t.databaseUrl, "UPDATE messages SET deleted_at = now() WHERE seq = 2");
    await query(t.databaseUrl, "UPDATE messages SET deleted_at = NULL, content = 'back' WHERE seq = 2");
    await stream.until((received) => received.some(({ type }) => type === "message.deleted"));
    const { items } = await ann.ok("GET", `/discussions/${discussionId}/messages`);
    assert.deepEqual(
      items.map(({ content }: Json) => content),
      ["one!", ""],
      "a deletion is final",
    );
    const updated = eventsOf(stream).filter(({ type }) => type === "message.updated");
    assert.deepEqual(
      updated.map(({ message }) => message.content),
      ["one!", "two!"],
    );
    assert.notEqual(items[0].edited_at, null);
    stream.cut();
  }));

test.run();
