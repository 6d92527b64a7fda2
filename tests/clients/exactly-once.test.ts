// time limit: 240 s
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { test } from "uvu";
import { Client, password, register } from "../support/client.ts";
import { createRandom, type Random } from "../support/random.ts";
import { eventually } from "../support/server.ts";
import { hasBrowser, openPerson, type PagePerson, withBrowser } from "./browser.ts";
import { type Cast, playInNode, playInPages, type Stage, together } from "./cast.ts";
import { type LastingProgram, withLastingProgram } from "./program.ts";
import { openProxy, type RoughProxy } from "./proxy.ts";
import { countOf, type Entry, readWithEventSource, type Work } from "./readers.ts";

// Real clients on a rough network: while people write, connections break in the middle of a word, are
// refused or go silent, and the server itself is ended, once by asking and once by force. In the end all
// have seen the same.

const troubleMs = 18_000;
/** Longer only until everyone has come back often enough. */
const mostTroubleMs = 60_000;
const catchUpMs = 20_000;
/** So often at least each reader must have come back, else the test has shown nothing. */
const leastReturns = 3;
const leastMessages = 500;

interface Scene extends Stage {
  program: LastingProgram;
  proxy: RoughProxy;
  random: Random;
}

test(`everyone sees the same, each once and in order: npm, curl${hasBrowser ? ", Chromium" : ""}`, () =>
  withScene(async (scene) => {
    if (!hasBrowser) return await actOut(scene, playInNode(scene));
    await withBrowser(async (browser) => {
      // The chat page allows what its own content security policy allows; /healthz is bare.
      const eve = await openPerson(browser, `${scene.proxy.url}/`);
      await eve.tell("logIn", "eve", password, true);
      const fay = await openPerson(browser, `${scene.proxy.url}/healthz`);
      await fay.tell("logIn", "fay", password, false);
      await actOut(scene, together(playInNode(scene), await playInPages(scene, eve, fay)));
      await assertTicketOpensOnce(scene, fay);
    });
  }));

if (!hasBrowser) test.skip("a browser's own EventSource and WebSocket", () => {});

async function withScene(act: (scene: Scene) => Promise<void>): Promise<void> {
  const random = createRandom();
  await withLastingProgram(async (program) => {
    const proxy = await openProxy(program.url(), random);
    try {
      const join = (name: string) => register(proxy.url, name);
      const [ann, bob, cem, dan, eve, fay] = [
        await join("ann"),
        await join("bob"),
        await join("cem"),
        await join("dan"),
        await join("eve"),
        await join("fay"),
      ];
      const member_ids = [bob, cem, dan, eve, fay].map(({ user }) => user.id);
      const first = await ann.ok("POST", "/discussions", { kind: "group", name: "first", member_ids });
      const second = await ann.ok("POST", "/discussions", { kind: "group", name: "second", member_ids });
      const { cursor: since } = await ann.ok("GET", "/discussions");
      const people = { ann, bob, cem, dan };
      await act({ program, proxy, random, people, discussionIds: [first.id, second.id], since });
      assert.deepEqual(program.complaints(), [], "the server logged errors");
    } finally {
      await proxy.close();
    }
  });
}

async function actOut(scene: Scene, cast: Cast): Promise<void> {
  try {
    await makeTrouble(scene, cast);
    await cast.stopWriting();
    await eventually(async () => assert.ok(await cast.isDone(), "all is sent and acknowledged"), catchUpMs);
    // A mark after all else; and another after one more return of everyone, so that repeats would show.
    await markAndWait(scene, cast, "first mark");
    scene.proxy.cut();
    await markAndWait(scene, cast, "last mark");
    await assertAllSawTheSame(scene, cast);
  } finally {
    await cast.close();
  }
}

async function makeTrouble({ proxy, program, random }: Scene, cast: Cast): Promise<void> {
  const ends: [NodeJS.Signals, number][] = [
    ["SIGTERM", troubleMs * random.between(0.2, 0.4)],
    ["SIGKILL", troubleMs * random.between(0.5, 0.8)],
  ];
  const startedAt = performance.now();
  for (;;) {
    const ms = performance.now() - startedAt;
    if (ms > mostTroubleMs || (ms > troubleMs && ends.length === 0 && (await allCameBack(cast)))) return;
    const [signal, at] = ends[0] ?? [];
    if (signal !== undefined && at !== undefined && ms > at) {
      ends.shift();
      const code = await program.restart(signal);
      if (signal === "SIGTERM") assert.equal(code, 0, "asked to end, the server ends in good order");
      proxy.target(program.url());
    }
    const what = random.between(0, 1);
    if (what < 0.15) await proxy.refuse(random.between(100, 1_200));
    else if (what < 0.3) await proxy.silence(random.between(100, 800));
    else if (what < 0.5) proxy.cut(0.5);
    else if (what < 0.6) cast.killCurl();
    else proxy.cut();
    // An EventSource comes back after two seconds: it is to be cut off sometimes before that, sometimes
    // long after.
    await pause(random.chance(0.4) ? random.between(100, 1_000) : random.between(2_300, 3_500));
  }
}

async function allCameBack({ watched }: Cast): Promise<boolean> {
  const ledgers = await Promise.all(watched.map(({ ledger }) => ledger()));
  return ledgers.every(({ readies }) => readies > leastReturns);
}

async function markAndWait(scene: Scene, cast: Cast, content: string): Promise<void> {
  const ann = direct(scene);
  for (const id of scene.discussionIds) await ann.send(id, content);
  const waiting = new Set(cast.watched);
  const check = async () => {
    for (const watched of waiting) {
      const expected = watched.discussionId === null ? scene.discussionIds.length : 1;
      if ((await watched.count(content)) >= expected) waiting.delete(watched);
    }
    if (waiting.size === 0) return;
    const ledgers = await Promise.all([...waiting].map((watched) => watched.ledger()));
    const states = ledgers.map((ledger) =>
      [ledger.name, `${ledger.events.length} events`, ledger.cursor, ...ledger.faults].join(", "),
    );
    throw new Error(`have not seen the ${content}:\n${states.join("\n")}`);
  };
  await eventually(async () => {
    await pause(80);
    await check();
  }, catchUpMs);
}

async function assertAllSawTheSame(scene: Scene, cast: Cast): Promise<void> {
  const expected = await replay(scene);
  const messages = expected.filter(([, type]) => type === "message.new");
  assert.equal(new Set(expected.map(([cursor]) => cursor)).size, expected.length, "each event has a cursor");
  for (const id of scene.discussionIds) {
    const seen = messages.filter((entry) => entry[2] === id).map(([, , , seq, content]) => [seq, content]);
    assertSame("the log against history", seen, await readHistory(direct(scene), id));
    assert.deepEqual(
      seen.map(([seq]) => seq),
      seen.map((_, index) => index + 1),
    );
  }
  const works = await cast.works();
  assert.equal(
    messages.length,
    works.reduce((sum, { sent }) => sum + sent.length, 0) + 2 * scene.discussionIds.length,
    "as many messages as were sent",
  );
  assert.ok(messages.length >= leastMessages, `only ${messages.length} messages: too few to show anything`);

  for (const { name, discussionId, ledger } of cast.watched) {
    const { events, faults, readies, losses, signals, closings } = await ledger();
    console.log(
      `${name}: ${events.length} events, ${losses} losses, ${readies} × ready, ${signals} signals`,
      `close codes ${[...new Set(closings)].sort().join(" ")}`,
    );
    assert.deepEqual(faults, []);
    const own = expected.filter((entry) => discussionId === null || entry[2] === discussionId);
    assertSame(name, events, own);
    assert.ok(readies > leastReturns, `${name} was hardly disturbed`);
    assert.ok(signals > 0 || cast.signalled() === 0, `${name} heard none of ${cast.signalled()} signals`);
  }
  const repeats = works.reduce((sum, work) => sum + work.repeats, 0);
  assert.ok(repeats > 0, "no send had to be repeated");
  console.log(
    `${messages.length} messages, ${expected.length} events,`,
    `${scene.proxy.cuts} cuts, ${repeats} sends repeated`,
  );
  for (const work of works) assertStoredInOrder(work, messages);
}

/** What one reads who was never disturbed, from the beginning. */
async function replay(scene: Scene): Promise<Entry[]> {
  const { since, discussionIds } = scene;
  const client = direct(scene);
  const reader = readWithEventSource({ name: "replay", client, path: "/events", since });
  try {
    await eventually(
      () => assert.equal(countOf(reader.ledger, "last mark"), discussionIds.length),
      catchUpMs,
    );
    assert.deepEqual(reader.ledger.faults, []);
    return reader.ledger.events;
  } finally {
    reader.close();
  }
}

async function readHistory(client: Client, discussionId: string): Promise<[number, string][]> {
  const read: [number, string][] = [];
  for (;;) {
    const after = read.at(-1)?.[0] ?? 0;
    const page = await client.ok("GET", `/discussions/${discussionId}/messages?after=${after}&limit=200`);
    for (const { seq, content } of page.items) read.push([seq, content]);
    if (!page.has_after) return read;
  }
}

function assertStoredInOrder({ author, sent, faults }: Work, messages: Entry[]): void {
  assert.deepEqual(faults, [], `${author} heard complaints`);
  const stored = messages
    .map(([, , , , content]) => content)
    .filter((content) => sent.includes(content ?? ""));
  assertSame(`what ${author} sent`, stored, sent);
}

/** The whole difference would fill the screen: the first one is enough. */
function assertSame(name: string, actual: unknown[], expected: unknown[]): void {
  const length = Math.max(actual.length, expected.length);
  for (let at = 0; at < length; at++) {
    const [is, should] = [JSON.stringify(actual[at]), JSON.stringify(expected[at])];
    if (is === should) continue;
    assert.fail(
      `${name}: ${actual.length} instead of ${expected.length}; at ${at} is ${is}, should be ${should}; ` +
        `before it ${JSON.stringify(actual[at - 1])}, after it ${JSON.stringify(actual[at + 1])}`,
    );
  }
}

/** A browser comes back by itself with the address it has; with a used ticket it is refused, and stops. */
async function assertTicketOpensOnce({ proxy }: Scene, fay: PagePerson): Promise<void> {
  const { ticket } = await fay.tell("call", "POST", "/auth/tickets");
  const ended = fay.tell("untilGivenUp", `/api/v1/events?ticket=${ticket}`);
  const cutting = setInterval(() => proxy.cut(), 500);
  try {
    assert.deepEqual(await ended, { opened: 1 });
  } finally {
    clearInterval(cutting);
  }
}

/** Ann, past the proxy. */
function direct({ program, people }: Scene): Client {
  const client = new Client(program.url());
  client.token = people.ann.token;
  return client;
}

test.run();
