import assert from "node:assert/strict";
import { connect } from "node:net";
import { H3 } from "h3";
import { serve as listen } from "srvx/node";
import { test } from "uvu";
import { type Served, serve } from "../../server/api/serving.ts";
import { eventually } from "../support/server.ts";

const megabyte = 1024 * 1024;

/** A server of one file, and how much of it was read. */
async function withFile(
  read: Served["read"],
  act: (port: number, state: { read: number; closed: boolean }) => Promise<void>,
): Promise<void> {
  const state = { read: 0, closed: false };
  const watched: Served["read"] = async function* (first, last) {
    try {
      for await (const piece of read(first, last)) {
        state.read += piece.length;
        yield piece;
      }
    } finally {
      state.closed = true;
    }
  };
  const file = { media_type: "text/plain", size: 256 * megabyte, etag: "x", inPlace: false, name: "x" };
  const app = new H3({ silent: true }).get("/", (event) => serve(event, { ...file, read: watched }));
  const server = listen({
    port: 0,
    silent: true,
    gracefulShutdown: false,
    fetch: (request) => app.fetch(request),
  });
  await server.ready();
  const port = Number(new URL(server.url ?? "").port);
  try {
    await act(port, state);
  } finally {
    await server.close(true);
  }
}

async function* endless(): AsyncIterable<Uint8Array> {
  for (;;) yield Buffer.alloc(megabyte / 4);
}

function ask(port: number) {
  const socket = connect(port, "localhost");
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  return socket;
}

test("of a file that its client does not take no more is read, and none once the client is gone", () =>
  withFile(endless, async (port, state) => {
    const socket = ask(port);
    socket.pause();
    let before = -1;
    await eventually(async () => {
      const stands = state.read > 0 && state.read === before;
      before = state.read;
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.ok(stands && state.read === before, `${state.read} bytes, and more`);
    });
    assert.ok(state.read < 32 * megabyte, `${state.read} bytes wait for a client that takes none`);
    assert.equal(state.closed, false);
    socket.destroy();
    await eventually(() => assert.equal(state.closed, true));
  }));

test("a file whose rest cannot be read breaks off, and is not taken for whole", () => {
  const breaking = async function* () {
    yield Buffer.alloc(1000);
    throw new Error("it is being removed");
  };
  return withFile(breaking, async (port) => {
    await assert.rejects(async () => (await fetch(`http://localhost:${port}/`)).arrayBuffer());
  });
});

test("a file that cannot be read at all is an error, not an answer", () => {
  const missing = async function* (first: number) {
    if (first === 0) throw new Error("it is not there");
    yield Buffer.alloc(1);
  };
  return withFile(missing, async (port) => {
    assert.equal((await fetch(`http://localhost:${port}/`)).status, 500);
  });
});

test.run();
