// time limit: 90 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { register } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import { openRaw, type RawStream, streamPath } from "./raw.ts";

/** Waits for the first sign of life after `ready`. */
async function idle(stream: RawStream, limitMs: number, isAlive: (bytes: Buffer) => boolean): Promise<void> {
  await stream.until((text) => text.includes('"type":"ready"'));
  const before = stream.bytes().length;
  await stream.until(() => isAlive(stream.bytes().subarray(before)), limitMs);
}

// Both kinds at once, as all that this test does is to wait.
test("an idle stream gets a sign of life: a comment within 20 s, or a ping within 30 s", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const headers = { authorization: `Bearer ${ann.token}` };
    const sse = await openRaw("sse", t.url, streamPath("sse"), { headers });
    const ws = await openRaw("ws", t.url, streamPath("ws"), { headers });
    const isPing = (bytes: Buffer) => bytes.length >= 2 && bytes[0] === 0x89;
    const isComment = (bytes: Buffer) => /^:[^\n]*\n\n$/.test(bytes.toString());
    await Promise.all([idle(sse, 20_000, isComment), idle(ws, 30_000, isPing)]);
    assert.equal(sse.hasEnded(), false);
    assert.equal(ws.hasEnded(), false);
    for (const stream of [sse, ws]) stream.cut();
  }));

test.run();
