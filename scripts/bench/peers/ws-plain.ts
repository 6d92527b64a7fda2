/**
 * What `ws` can do without a database: each message goes to all sockets. MODE=frame writes each to every
 * socket as one frame that was built once; MODE=tick collects those of a turn of the event loop and writes
 * them to every socket in one piece, which is as fast as Node gets.
 */
import type { AddressInfo, Socket } from "node:net";
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
const sockets = new Set<Socket>();
let waiting: Buffer[] = [];
let id = 0;

server.on("connection", (client, { socket }) => {
  sockets.add(socket);
  client.on("close", () => sockets.delete(socket));
  client.on("message", (data) => {
    const { room, sender, content } = JSON.parse(String(data));
    const message = { type: "message", id: ++id, room, sender, content, created_at: new Date() };
    const frame = buildFrame(JSON.stringify(message));
    if (process.env.MODE === "tick") {
      if (waiting.length === 0) setImmediate(flush);
      waiting.push(frame);
    } else {
      for (const each of sockets) each.write(frame);
    }
    client.send('{"type":"ack"}');
  });
});

function flush(): void {
  const frames = Buffer.concat(waiting);
  waiting = [];
  for (const each of sockets) each.write(frames);
}

/** An unmasked text frame (RFC 6455, section 5.2) of 126 to 65,535 bytes. */
function buildFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  const head = Buffer.from([0x81, 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([head, payload]);
}

server.on("listening", () => console.log(`listens on ${(server.address() as AddressInfo).port}`));
