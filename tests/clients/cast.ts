/** Who reads and who writes while there is trouble, in Node and in pages. */
import { setTimeout as pause } from "node:timers/promises";
import type { Client } from "../support/client.ts";
import type { PagePerson } from "./browser.ts";
import {
  countOf,
  type Ledger,
  type Reader,
  readWithCurl,
  readWithEventSource,
  readWithWebSocket,
  restWriter,
  socketWriter,
  type Work,
} from "./readers.ts";

/** A reader that is to have seen everything, or only one discussion. */
export interface Watched {
  name: string;
  discussionId: string | null;
  count(content: string): Promise<number>;
  ledger(): Promise<Ledger>;
}

export interface Cast {
  watched: Watched[];
  works(): Promise<Work[]>;
  stopWriting(): Promise<void>;
  isDone(): Promise<boolean>;
  /** How many signals were accepted; each reader must hear of some. */
  signalled(): number;
  /** Ends a process of curl, as an impatient person would. */
  killCurl(): void;
  close(): Promise<void>;
}

export interface Stage {
  /** Each of them may log in once, at an address that is a proxy's. */
  people: { ann: Client; bob: Client; cem: Client; dan: Client };
  discussionIds: [string, string];
  since: string;
}

/** npm's EventSource and WebSocket and curl; Ann writes by REST, Bob on the socket he reads. */
export function playInNode({ people: { ann, bob, cem, dan }, discussionIds, since }: Stage): Cast {
  const [first, second] = discussionIds;
  const bobWrites = socketWriter({ author: "bob", discussionIds, everyMs: 25 });
  const writers = [restWriter(ann, { author: "ann", discussionIds, everyMs: 20 }), bobWrites];
  const all = { since, path: "/events" };
  const curl = readWithCurl({ ...all, client: dan, name: "curl" });
  const readers: [Reader, string | null][] = [
    [readWithEventSource({ ...all, client: cem, name: "npm EventSource" }), null],
    [readWithWebSocket({ ...all, client: bob, name: "npm WebSocket", path: "/ws" }, bobWrites), null],
    [curl, null],
    [
      readWithEventSource({
        since,
        client: cem,
        name: "npm EventSource on one discussion",
        path: `/discussions/${first}/events`,
      }),
      first,
    ],
    [
      readWithWebSocket(
        { since, client: dan, name: "npm WebSocket on one discussion", path: `/discussions/${second}/ws` },
        null,
      ),
      second,
    ],
  ];
  const chatter = makeChatter(dan, discussionIds);
  return {
    watched: readers.map(([{ ledger }, discussionId]) => ({
      name: ledger.name,
      discussionId,
      count: async (content) => countOf(ledger, content),
      ledger: async () => ledger,
    })),
    works: async () => writers.map(({ work }) => work),
    stopWriting: async () => {
      for (const writer of writers) writer.stop();
      await chatter.stop();
    },
    isDone: async () => writers.every((writer) => writer.isDone()),
    signalled: () => chatter.signalled(),
    killCurl: () => curl.kill(),
    close: async () => {
      for (const [reader] of readers) reader.close();
    },
  };
}

/**
 * The browser's own: Eve's page has a cookie, writes by REST and on its socket; Fay's page has an access
 * token in memory only and takes a ticket for each stream.
 */
export async function playInPages(stage: Stage, eve: PagePerson, fay: PagePerson): Promise<Cast> {
  const { discussionIds, since } = stage;
  const [first, second] = discussionIds;
  const open = async (
    person: PagePerson,
    what: "readEvents" | "readSocket",
    discussionId: string | null,
    writing?: object,
  ): Promise<Watched> => {
    const kind = what === "readEvents" ? "EventSource" : "WebSocket";
    const name = `browser ${kind} by ${person === eve ? "cookie" : "ticket"}${discussionId ? ", one" : ""}`;
    const end = what === "readEvents" ? "/events" : "/ws";
    await person.tell(what, name, discussionId ? `/discussions/${discussionId}${end}` : end, since, writing);
    return {
      name,
      discussionId,
      count: (content) => person.tell("count", name, content),
      ledger: async () => (await person.tell("ledgers")).find((ledger: Ledger) => ledger.name === name),
    };
  };
  const watched = [
    await open(eve, "readEvents", null),
    await open(eve, "readSocket", null, { author: "eve's socket", discussionIds, everyMs: 30 }),
    await open(eve, "readEvents", second),
    await open(fay, "readEvents", null),
    await open(fay, "readSocket", null),
    await open(fay, "readSocket", first),
  ];
  await eve.tell("writeByRest", { author: "eve", discussionIds, everyMs: 40 });
  return {
    watched,
    works: () => eve.tell("works"),
    stopWriting: () => eve.tell("stopWriting"),
    isDone: () => eve.tell("isDone"),
    signalled: () => 0,
    killCurl: () => {},
    close: async () => {
      for (const person of [eve, fay]) await person.tell("close");
    },
  };
}

export function together(...casts: Cast[]): Cast {
  const each = async (act: (cast: Cast) => unknown) => {
    for (const cast of casts) await act(cast);
  };
  return {
    watched: casts.flatMap(({ watched }) => watched),
    works: async () => (await Promise.all(casts.map((cast) => cast.works()))).flat(),
    stopWriting: () => each((cast) => cast.stopWriting()),
    isDone: async () => (await Promise.all(casts.map((cast) => cast.isDone()))).every(Boolean),
    signalled: () => casts.reduce((sum, cast) => sum + cast.signalled(), 0),
    killCurl: () => void each((cast) => cast.killCurl()),
    close: () => each((cast) => cast.close()),
  };
}

/** Events and signals of other kinds, between the messages: Dan reads and types. */
function makeChatter(dan: Client, discussionIds: string[]): { stop(): Promise<void>; signalled(): number } {
  let stopped = false;
  let signalled = 0;
  const done = (async () => {
    for (let n = 0; !stopped; n++) {
      const path = `/discussions/${discussionIds[n % discussionIds.length]}`;
      // Requests that the network eats are not tried again.
      await dan.call("PUT", `${path}/read`, { seq: n + 1 }).catch(() => {});
      const typing = await dan.call("POST", `${path}/typing`).catch(() => null);
      if (typing?.status === 204) signalled++;
      await pause(100);
    }
  })();
  return {
    stop: () => {
      stopped = true;
      return done;
    },
    signalled: () => signalled,
  };
}
