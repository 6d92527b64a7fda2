import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Client, Outgoing } from "../generator/client.ts";
import { jwtSecret, seedParley } from "../seed.ts";
import { type System, startServer } from "./system.ts";

const procfile = join(import.meta.dirname, "../../../Procfile");
const webLine = /^web: .*\bnode (.*)server\/main\.ts$/m;

/** This project, started as operators start it: with the options of the Procfile. */
export const parley: System = {
  id: "parley",
  title: "Parley",
  hasDatabase: true,
  prepare: seedParley,
  start: (databaseUrl, options) => {
    const nodeOptions = webLine.exec(readFileSync(procfile, "utf8"))?.[1]?.trim().split(" ") ?? [];
    const env = { DATABASE_URL: databaseUrl, JWT_SECRET: jwtSecret, PORT: "0" };
    return startServer(
      "server/main.ts",
      { ...env, RATE_LIMITS: "off", LOG_LEVEL: "warn", ...options.env },
      /^Parley listens on http:\/\/localhost:(\d+)\n/m,
      { ...options, nodeOptions },
    );
  },
};

const letterA = "a".charCodeAt(0);
const letterM = "m".charCodeAt(0);
const typeAt = '{"type":"'.length;

export const parleyClient: Client = {
  opening: ({ person, roomId, format, since }) => {
    const kind = format === "ws" ? "ws" : "events";
    const path = `/api/v1${roomId === null ? "" : `/discussions/${roomId}`}/${kind}`;
    return {
      path: since === null ? path : `${path}?since=${since}`,
      headers: { authorization: `Bearer ${person.token}` },
    };
  },
  readyWhenOpen: false,
  // A frame begins {"type":"message.new" or {"type":"ack", an event "event: message.new".
  kindOf: (data, at) => {
    const type = data[at + (data[at] === 0x7b ? typeAt : "event: ".length)];
    return type === letterM ? "delivery" : type === letterA ? "ack" : "control";
  },
  react: (text) => {
    const isReady = text.startsWith('{"type":"ready"') || text.startsWith("event: ready");
    if (isReady) return { ready: true };
    // The stream's first lines (its retry time), heartbeats, and what else happens in a discussion.
    const isRefusal = /^(\{"type":"|event: )(error|closed|reset)/.test(text);
    return isRefusal ? { refused: text } : null;
  },
  frame: ({ roomId, content }) =>
    `{"type":"message.send","ref":"1","discussion_id":"${roomId}","content":"${content}"}`,
  request: ({ person, roomId, content }: Outgoing) => ({
    path: `/api/v1/discussions/${roomId}/messages`,
    headers: { authorization: `Bearer ${person.token}`, "content-type": "application/json" },
    body: `{"content":"${content}"}`,
  }),
};
