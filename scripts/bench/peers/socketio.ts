/**
 * A chat on socket.io with its Postgres adapter: a socket.io room per room, INSERT, then emit. The adapter
 * tells other instances by a NOTIFY per emit.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdapter } from "@socket.io/postgres-adapter";
import pg from "pg";
import { Server } from "socket.io";

const insert = {
  name: "insert",
  text: `INSERT INTO messages (room, sender, content) VALUES ($1, $2, $3)
    RETURNING id, room, sender, content, created_at`,
};

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  adapter: createAdapter(pool),
});

io.on("connection", async (socket) => {
  const { person } = socket.handshake.auth;

  socket.on("message", async ({ room, content }, ack) => {
    if (!socket.rooms.has(room)) return ack({ error: "not a member" });
    const { rows } = await pool.query({ ...insert, values: [room, person, content] });
    io.to(room).emit("message", rows[0]);
    ack({ id: rows[0].id });
  });

  const { rows } = await pool.query("SELECT room FROM members WHERE person = $1", [person]);
  await socket.join(rows.map(({ room }) => room));
  socket.emit("ready");
});

http.listen(0, "127.0.0.1", () => console.log(`listens on ${(http.address() as AddressInfo).port}`));
