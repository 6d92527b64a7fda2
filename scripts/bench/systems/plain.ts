import { randomUUID } from "node:crypto";
import type { Client } from "../generator/client.ts";
import { type Population, range, type Seeded } from "../population.ts";
import { type System, startPeer } from "./system.ts";
import { wsNotifyClient } from "./ws-notify.ts";

/** `ws` without a database: each message is one write to each socket … */
export const wsFrame: System = {
  id: "ws-frame",
  title: "ws alone, a write per frame",
  hasDatabase: false,
  prepare: inventIds,
  start: (_, options) => startPeer("ws-plain", { MODE: "frame" }, options),
};

/** … or all messages of a turn of the event loop are. */
export const wsTick: System = {
  id: "ws-tick",
  title: "ws alone, a write per tick",
  hasDatabase: false,
  prepare: inventIds,
  start: (_, options) => startPeer("ws-plain", { MODE: "tick" }, options),
};

export const httpPlain: System = {
  id: "http-plain",
  title: "node:http response",
  hasDatabase: false,
  prepare: inventIds,
  start: (_, options) => startPeer("http-plain", {}, options),
};

export const wsPlainClient: Client = {
  ...wsNotifyClient,
  opening: () => ({ path: "/", headers: {} }),
  readyWhenOpen: true,
  frame: ({ person, roomId, content }) =>
    `{"room":"${roomId}","sender":"${person.id}","content":"${content}"}`,
};

export const httpPlainClient: Client = {
  ...wsPlainClient,
  readyWhenOpen: false,
  kindOf: () => "control",
  react: (text) => (text.startsWith("event: ready") ? { ready: true } : { refused: text }),
};

async function inventIds(_: string, population: Population): Promise<Seeded> {
  const people = range(population.people).map(() => ({ id: randomUUID(), token: "" }));
  return { people, roomIds: population.rooms.map(() => randomUUID()) };
}
