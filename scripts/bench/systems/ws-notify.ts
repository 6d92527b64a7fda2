import type { Client } from "../generator/client.ts";
import { notifySchema, peerSchema } from "../peers/schema.ts";
import { seedPeer } from "../seed.ts";
import { type System, startPeer } from "./system.ts";

export const wsNotify: System = {
  id: "ws-notify",
  title: "ws + NOTIFY",
  hasDatabase: true,
  prepare: (url, population) => seedPeer(url, `${peerSchema} ${notifySchema}`, population),
  start: (databaseUrl, options) => startPeer("ws-notify", { DATABASE_URL: databaseUrl }, options),
};

const letterA = "a".charCodeAt(0);
const letterM = "m".charCodeAt(0);
const typeAt = '{"type":"'.length;

export const wsNotifyClient: Client = {
  opening: ({ person }) => ({ path: `/?person=${person.id}`, headers: {} }),
  readyWhenOpen: false,
  kindOf: (data, at) => {
    const type = data[at + typeAt];
    return type === letterM ? "delivery" : type === letterA ? "ack" : "control";
  },
  react: (text) => (text === '{"type":"ready"}' ? { ready: true } : { refused: text }),
  frame: ({ roomId, content }) => `{"ref":1,"room":"${roomId}","content":"${content}"}`,
};
