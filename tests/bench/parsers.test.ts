import assert from "node:assert/strict";
import { test } from "uvu";
import { readHead, readResponse } from "../../scripts/bench/generator/http.ts";
import { found, readMarker, writeContent } from "../../scripts/bench/generator/marker.ts";
import { SseReader } from "../../scripts/bench/generator/sse.ts";
import { readFrames } from "../../scripts/bench/generator/websocket.ts";
import { encodeFrame, encodeSse } from "../../server/delivery/encoding.ts";

/** Gives a reader bytes in pieces, as a connection does, and keeps for it what it could not use yet. */
function feed(
  bytes: Buffer,
  sizes: number[],
  read: (data: Buffer, from: number, to: number) => number,
): void {
  let rest = Buffer.alloc(0);
  for (let at = 0, piece = 0; at < bytes.length; piece++) {
    const size = sizes[piece % sizes.length] ?? 1;
    // With strange bytes on both sides, which must not be read.
    const data = Buffer.concat([Buffer.from("<#"), rest, bytes.subarray(at, at + size), Buffer.from("\n\n")]);
    at += size;
    const used = read(data, 2, data.length - 2);
    rest = Buffer.from(data.subarray(used, data.length - 2));
  }
  assert.equal(rest.length, 0, "all was used");
}

const cuts = [[1], [2], [3, 5], [7, 1, 1], [64], [100_000]];
const shortTexts = ["", "a", "x".repeat(125), "y".repeat(126), '{"type":"message.new"}'];

test("frames are read however they are cut", () => {
  for (const sizes of cuts) {
    // In pieces of few bytes, a long frame would be copied for each of them.
    const texts = sizes.some((size) => size > 60) ? [...shortTexts, "z".repeat(70_000)] : shortTexts;
    const bytes = Buffer.concat(texts.map((text) => encodeFrame(text)));
    const read: string[] = [];
    const sink = {
      text: (data: Buffer, from: number, to: number) => void read.push(data.toString("utf8", from, to)),
      ping: () => assert.fail("no ping was sent"),
      fail: (reason: string) => assert.fail(reason),
    };
    feed(bytes, sizes, (...range) => readFrames(...range, sink));
    assert.deepEqual(read, texts);
  }
});

test("a close frame is told with its code", () => {
  const reasons: string[] = [];
  const sink = {
    text: () => assert.fail(),
    ping: () => assert.fail(),
    fail: (reason: string) => void reasons.push(reason),
  };
  readFrames(Buffer.from([0x88, 4, 0x0f, 0xa0, 0x6e, 0x6f]), 0, 6, sink);
  assert.deepEqual(reasons, ["closed with 4000 no"]);
});

const events = [
  "event: ready\nid: e.1\ndata: {}",
  ":",
  ...Array.from({ length: 5 }, (_, index) => `event: message.new\nid: e.${index}\ndata: {"same":"length"}`),
  ":",
  'event: message.new\nid: e.10\ndata: {"another":"length"}',
];

/** The same text in HTTP chunks of these sizes. */
function chunked(text: Buffer, sizes: number[]): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0, chunk = 0; at < text.length; chunk++) {
    const data = text.subarray(at, at + (sizes[chunk % sizes.length] ?? 1));
    parts.push(Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from("\r\n"));
    at += data.length;
  }
  return Buffer.concat(parts);
}

test("events are read however they are cut, in chunks and without", () => {
  const text = Buffer.from(events.map((event) => `${event}\n\n`).join(""));
  for (const sizes of cuts) {
    for (const chunkSizes of [null, ...cuts]) {
      const read: string[] = [];
      const reader = new SseReader(chunkSizes !== null, (data, from, to) =>
        read.push(data.toString("utf8", from, to)),
      );
      const bytes = chunkSizes === null ? text : chunked(text, chunkSizes);
      feed(bytes, sizes, (...range) => reader.read(...range));
      assert.deepEqual(read, events);
    }
  }
});

test("the server's own events are read", () => {
  const read: string[] = [];
  const reader = new SseReader(false, (data, from, to) => read.push(data.toString("utf8", from, to)));
  const bytes = encodeSse("message.new", "e.1", '{"a":1}');
  assert.equal(reader.read(bytes, 0, bytes.length), bytes.length);
  assert.deepEqual(read, ['event: message.new\nid: e.1\ndata: {"a":1}']);
});

test("answers are read, with a length and in chunks, once they are whole", () => {
  const whole = (text: string, status: number, body: string) => {
    const bytes = Buffer.from(text);
    for (let cut = 0; cut < bytes.length; cut++) assert.equal(readResponse(bytes.subarray(0, cut)), null);
    assert.deepEqual(readResponse(bytes), { status, body, end: bytes.length });
  };
  whole("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello", 201, "hello");
  whole(
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    200,
    "hello",
  );
  assert.equal(readHead(Buffer.from("HTTP/1.1 200 OK\r\n\r\n"), 0, 19)?.length, Number.POSITIVE_INFINITY);
});

test("the marker is found where it is guessed, elsewhere, and nowhere", () => {
  const content = writeContent(12, 345);
  assert.equal(content.length, 100);
  assert.equal(JSON.stringify(content), `"${content}"`);
  const data = Buffer.from(`{"content":"${content}"}`);
  for (const guess of [12, 0, 50, 100_000]) {
    assert.equal(readMarker(data, 0, data.length, guess), 12);
    assert.deepEqual(found, { sender: 12, number: 345 });
  }
  assert.equal(readMarker(data, 0, 20, 12), -1);
  assert.equal(readMarker(data, 13, data.length, 12), -1);
  assert.equal(readMarker(Buffer.from("nothing"), 0, 7, 3), -1);
});

test.run();
