// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { eventsOf, openReady } from "../delivery/help.ts";
import { type Client, type Json, register } from "../support/client.ts";
import { createRandom, type Random } from "../support/random.ts";
import { withServer } from "../support/server.ts";

// What the chat page keeps in mind: whatever it knew before, with the events since, is what it would fetch.
// Its modules run here as they are; only their addresses, which are the page's, get a host and a token.

const { Messages } = await import("../../web/messages.js" as string);
const { Discussions } = await import("../../web/discussions.js" as string);
const random = createRandom();

test("messages: an old page with the events since, heard twice, is a fresh page", () =>
  withServer(async ({ url }) => {
    const { people, id } = await createRoom(url);
    const [ann] = people as [Client];
    await live(people, id, 40);
    const fetchPage = () => ann.ok("GET", `/discussions/${id}/messages?limit=200`);
    const old = await fetchPage();
    await live(people, id, 60);
    const between = await fetchPage();
    await live(people, id, 60);
    const fresh = await fetchPage();
    const events = await eventsSince(ann, old.cursor, fresh.cursor);
    // From the oldest page; and from a later one, to which most events are old.
    for (const page of [old, between]) {
      const messages = new Messages();
      await messages.load(async () => page);
      for (const _round of ["once", "twice"]) {
        for (const event of events) messages.apply(event);
        assert.deepEqual(stateOf(messages), fresh.items.map(comparable));
      }
    }
    // What is heard while a page is on its way is not lost under it.
    const messages = new Messages();
    const { promise, resolve } = Promise.withResolvers();
    const loading = messages.load(() => promise);
    for (const event of events) messages.apply(event);
    resolve(old);
    await loading;
    assert.deepEqual(stateOf(messages), fresh.items.map(comparable));
  }));

test("messages: a stretch that does not end with the newest takes in no new ones", () =>
  withServer(async ({ url }) => {
    const { people, id } = await createRoom(url);
    const [ann] = people as [Client];
    for (let n = 1; n <= 30; n++) await ann.send(id, `Line ${n}`);
    const messages = new Messages();
    const load = (query: string) =>
      messages.load(() => ann.ok("GET", `/discussions/${id}/messages?limit=10&${query}`));
    await load("around=12");
    const { message } = { message: await ann.send(id, "Line 31") };
    assert.deepEqual(messages.apply({ type: "message.new", message }), []);
    while (!messages.isAtNewest) await load(`after=${messages.last}`);
    await load(`before=${messages.first}`);
    assert.equal(messages.isAtNewest, true);
    assert.deepEqual(
      stateOf(messages).map(({ seq }) => seq),
      Array.from({ length: 31 }, (_, index) => index + 1),
    );
  }));

test("discussions: an old list with the events since, heard twice, is a fresh list", () =>
  withServer(async ({ url }) => {
    const { people, id } = await createRoom(url);
    for (const [reader, readerActs] of [...people, ...people].map((who, n) => [who, n < 3] as const)) {
      const others = people.filter((other) => other !== reader);
      await live(others, id, 15);
      const old = await listOf(reader);
      // Without the reader, what was unread stays so, and is deleted now and then.
      await live(readerActs ? people : others, id, 20);
      await live(others, id, 15);
      const fresh = await listOf(reader);
      const events = await eventsSince(reader, old.cursor, fresh.cursor);
      const discussions = new Discussions(reader.user.id, () => {});
      discussions.replace(structuredClone(old.items));
      await withPageAddresses(reader, async () => {
        for (const _round of ["once", "twice"]) {
          for (const event of events) await discussions.apply(event);
          assert.deepEqual(discussions.list().map(known), fresh.items.map(known));
        }
      });
    }
  }));

test.run();

async function createRoom(url: string): Promise<{ people: Client[]; id: string }> {
  const people = await Promise.all(["ann", "bob", "cem"].map((name) => register(url, name)));
  const member_ids = people.slice(1).map(({ user }) => user.id);
  const { id } = await (people[0] as Client).ok("POST", "/discussions", {
    kind: "group",
    name: "Room",
    member_ids,
  });
  return { people, id };
}

/** People say things, change their minds, and read. */
async function live(people: Client[], id: string, acts: number): Promise<void> {
  const path = `/discussions/${id}`;
  for (let n = 0; n < acts; n++) {
    const who = pick(random, people);
    const { last_seq } = await who.ok("GET", path);
    // Few messages at a time, so that what is done to them meets.
    const seq = Math.max(0, last_seq - Math.floor(random.between(0, 5)));
    const act = pick(random, ["send", "send", "edit", "delete", "react", "react", "unreact", "read"]);
    const emoji = encodeURIComponent(pick(random, ["👍", "shipit"]));
    // What is refused (another's message, a deleted one) changes nothing.
    if (act === "send") await who.send(id, `Hello @${pick(random, people).user.username}`);
    else if (seq === 0) continue;
    else if (act === "edit") await who.call("PATCH", `${path}/messages/${seq}`, { content: `Better ${n}` });
    else if (act === "delete") await who.call("DELETE", `${path}/messages/${seq}`);
    else if (act === "read") await who.ok("PUT", `${path}/read`, { seq });
    else if (act === "react") await who.call("PUT", `${path}/messages/${seq}/reactions/${emoji}`);
    else await takeBack(people, path);
  }
}

/** One of the latest reactions. */
async function takeBack(people: readonly Client[], path: string): Promise<void> {
  const { items } = await (people[0] as Client).ok("GET", `${path}/messages?limit=5`);
  const whole = items.filter((message: Json) => !message.deleted_at).toReversed();
  for (const { seq, reactions } of whole)
    for (const { emoji, user_ids } of reactions) {
      const who = people.find(({ user }) => user_ids.includes(user.id));
      if (who) return who.ok("DELETE", `${path}/messages/${seq}/reactions/${encodeURIComponent(emoji)}`);
    }
}

function pick<T>({ between }: Random, items: readonly T[]): T {
  return items[Math.floor(between(0, items.length))] as T;
}

async function eventsSince(client: Client, since: string, until: string): Promise<Json[]> {
  const stream = await openReady("sse", client, { since });
  const position = (cursor: string) => Number(cursor.split(".")[1]);
  stream.cut();
  return eventsOf(stream).filter(({ cursor }) => position(cursor) <= position(until));
}

function listOf(client: Client): Promise<Json> {
  return client.ok("GET", "/discussions");
}

/** The order of reactions depends on whether one was there when another came. */
function comparable(message: Json): Json {
  const byEmoji = (a: Json, b: Json) => (a.emoji < b.emoji ? -1 : 1);
  const reactions = message.reactions.map(({ emoji, user_ids }: Json) => ({
    emoji,
    user_ids: user_ids.toSorted(),
  }));
  return { ...message, reactions: reactions.sort(byEmoji) };
}

function known({ cursor, ...discussion }: Json): Json {
  return { ...discussion, last_message: discussion.last_message && comparable(discussion.last_message) };
}

function stateOf(messages: Json): Json[] {
  const seqs = Array.from({ length: messages.last - messages.first + 1 }, (_, n) => messages.first + n);
  return seqs.map((seq) => comparable(messages.get(seq)));
}

async function withPageAddresses(client: Client, act: () => Promise<void>): Promise<void> {
  const original = globalThis.fetch;
  globalThis.fetch = ((path: string, init: RequestInit) =>
    original(`${client.url}${path}`, {
      ...init,
      headers: { ...init.headers, authorization: `Bearer ${client.token}` },
    })) as typeof fetch;
  try {
    await act();
  } finally {
    globalThis.fetch = original;
  }
}
