/**
 * A chat as one writes it in a day: `ws`, an INSERT whose row trigger does pg_notify(row), and one LISTEN
 * from which all sockets are served.
 */
import type { AddressInfo } from "node:net";
import pg from "pg";
import { type WebSocket, WebSocketServer } from "ws";

const insert = {
  name: "insert",
  text: "INSERT INTO messages (room, sender, content) VALUES ($1, $2, $3) RETURNING id",
};

const connectionString = process.env.DATABASE_URL;
const pool = new pg.Pool({ connectionString, max: 10 });
const listener = new pg.Client({ connectionString });
const rooms = new Map<string, Set<WebSocket>>();
const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });

listener.on("notification", ({ payload }) => {
  const row = JSON.parse(payload ?? "");
  const frame = Buffer.from(JSON.stringify({ type: "message", ...row }));
  for (const socket of rooms.get(row.room) ?? []) socket.send(frame, { binary: false });
});

server.on("connection", async (socket, request) => {
  const person = new URL(request.url ?? "", "http://localhost").searchParams.get("person");
  const mine = new Set<string>();

  socket.on("message", async (data) => {
    const { ref, room, content } = JSON.parse(String(data));
    if (!mine.has(room)) return socket.send(JSON.stringify({ type: "error", ref, error: "not a member" }));
    const { rows } = await pool.query({ ...insert, values: [room, person, content] });
    socket.send(JSON.stringify({ type: "ack", ref, id: rows[0].id }));
  });
  socket.on("close", () => {
    for (const room of mine) rooms.get(room)?.delete(socket);
  });

  const { rows } = await pool.query("SELECT room FROM members WHERE person = $1", [person]);
  for (const { room } of rows) {
    mine.add(room);
    if (!rooms.has(room)) rooms.set(room, new Set());
    rooms.get(room)?.add(socket);
  }
  socket.send(JSON.stringify({ type: "ready" }));
});

await listener.connect();
await listener.query("LISTEN messages");
console.log(`listens on ${(server.address() as AddressInfo).port}`);
