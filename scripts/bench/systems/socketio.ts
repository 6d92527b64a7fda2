import type { Client } from "../generator/client.ts";
import { attachmentsSchema, peerSchema } from "../peers/schema.ts";
import { seedPeer } from "../seed.ts";
import { type System, startPeer } from "./system.ts";

export const socketio: System = {
  id: "socketio",
  title: "socket.io + Postgres",
  hasDatabase: true,
  prepare: (url, population) => seedPeer(url, `${peerSchema} ${attachmentsSchema}`, population),
  start: (databaseUrl, options) => startPeer("socketio", { DATABASE_URL: databaseUrl }, options),
};

const four = "4".charCodeAt(0);
const two = "2".charCodeAt(0);
const three = "3".charCodeAt(0);

/**
 * Packets of Engine.IO 4 and in them of Socket.IO 5, as text: `0` opened, `2` ping, `3` pong, `40` connected,
 * `42` event, `43` acknowledgement.
 */
export const socketioClient: Client = {
  opening: () => ({ path: "/socket.io/?EIO=4&transport=websocket", headers: {} }),
  readyWhenOpen: false,
  kindOf: (data, at) => {
    if (data[at] !== four) return "control";
    if (data[at + 1] === three) return "ack";
    return data[at + 1] === two && data[at + 4] === "m".charCodeAt(0) ? "delivery" : "control";
  },
  react: (text, { person }) => {
    if (text.startsWith("0")) return { reply: `40{"person":"${person.id}"}` };
    if (text === "2") return { reply: "3" };
    if (text === '42["ready"]') return { ready: true };
    return text.startsWith("44") || text.startsWith("41") ? { refused: text } : null;
  },
  frame: ({ roomId, content }) => `421["message",{"room":"${roomId}","content":"${content}"}]`,
};
