// time limit: 120 s
import assert from "node:assert/strict";
import { mkdtemp, readdir, readlink, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { H3Event } from "h3";
import { test } from "uvu";
import { serve } from "../../server/api/serving.ts";
import { type Client, register } from "../support/client.ts";
import { upload } from "../support/files.ts";
import { eventually, withServer } from "../support/server.ts";

/** More than the buffers of the system hold between two processes. */
const size = 48 * 1024 * 1024;
const env = { RATE_LIMITS: "off", ATTACHMENT_MAX_BYTES: `${size}` };

/** A client that asks for a file and reads nothing by itself. */
async function ask(client: Client, url: string): Promise<Socket> {
  const socket = connect(Number(new URL(client.url).port), "localhost");
  socket.on("error", () => {});
  socket.pause();
  socket.write(`GET ${url} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${client.token}\r\n\r\n`);
  return socket;
}

/** Files of a folder that this process, in which the server is too, has open. Linux only: else none. */
async function openFiles(folder: string): Promise<string[]> {
  const names = await readdir("/proc/self/fd").catch(() => []);
  const paths = await Promise.all(names.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => "")));
  return paths.filter((path) => path.startsWith(folder));
}

test("a download of which nothing is read is broken off; who reads slowly gets all", async () => {
  const folder = await mkdtemp(join(tmpdir(), "parley-test-folder-"));
  try {
    await withServer(
      async (t) => {
        const ann = await register(t.url, "ann");
        const { url } = await upload(ann, Buffer.alloc(size, "x"));
        const [silent, slow] = [await ask(ann, url), await ask(ann, url)];
        await eventually(async () => {
          if (process.platform === "linux") assert.equal((await openFiles(folder)).length, 2);
        });
        let read = 0;
        slow.on("data", (data) => {
          read += data.length;
          // A piece every few seconds, for longer than a download may stand still.
          if (read > size * 0.9 || read % (8 * 1024 * 1024) >= data.length) return;
          slow.pause();
          setTimeout(() => slow.resume(), 7_000);
        });
        slow.resume();
        await eventually(() => {
          // Who reads nothing does not see that it was cut off; a write does.
          silent.write("\r\n");
          assert.ok(silent.destroyed, "still open");
        }, 60_000);
        await eventually(() => assert.ok(read > size, `${read} bytes of ${size}`), 60_000);
        slow.destroy();
        await eventually(async () => assert.deepEqual(await openFiles(folder), []));
        await ann.ok("GET", "/users/me");
      },
      { ...env, ATTACHMENTS_URL: pathToFileURL(folder).href },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a file goes out in pieces that a slow network takes in time", async () => {
  const event = new H3Event(new Request("http://localhost/"));
  const { body } = await serve(event, {
    ...{ media_type: "text/plain", size: 300_000, etag: "e", inPlace: false, name: "a" },
    read: async function* () {
      yield Buffer.alloc(300_000, "x");
    },
  });
  const sizes: number[] = [];
  for await (const piece of body as ReadableStream<Uint8Array>) sizes.push(piece.length);
  assert.ok(Math.max(...sizes) <= 64 * 1024, `${sizes}`);
  assert.equal(
    sizes.reduce((sum, size) => sum + size),
    300_000,
  );
});

test.run();
