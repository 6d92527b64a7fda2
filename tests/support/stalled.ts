import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { eventually } from "./server.ts";
import type { StreamKind } from "./streams.ts";
import { streamHead } from "./wire.ts";

/** A stream of all of a person's discussions that is open, and of which nothing more is read. */
export async function openStalled(url: string, token: string, kind: StreamKind): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), "localhost");
  socket.on("error", () => {});
  socket.write(streamHead({ token }, kind));
  let text = "";
  await new Promise<void>((resolve, reject) => {
    socket.once("close", () => reject(new Error(`not opened: ${text}`)));
    socket.on("data", function read(data: Buffer) {
      text += data.toString("latin1");
      if (!text.includes('"ready"')) return;
      socket.off("data", read);
      socket.pause();
      resolve();
    });
  });
  return socket;
}

/** Reads what is left until the server ends it, and gives how many bytes that was; fails if it does not. */
export async function readToEnd(socket: Socket): Promise<number> {
  let bytes = 0;
  let isClosed = socket.destroyed;
  socket.on("data", (data: Buffer) => {
    bytes += data.length;
  });
  socket.once("close", () => {
    isClosed = true;
  });
  socket.resume();
  await eventually(() => assert.ok(isClosed, `open after ${bytes} bytes`), 20_000);
  return bytes;
}
