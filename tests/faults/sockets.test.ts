// time limit: 420 s
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import pg from "pg";
import { test } from "uvu";
import { type Client, type Json, register } from "../support/client.ts";
import { countLockWaits, query } from "../support/postgres.ts";
import { type Program, settledBytes, withProgram } from "../support/process.ts";
import { eventually } from "../support/server.ts";
import { openTestStream, type StreamKind, type TestStream } from "../support/streams.ts";
import { streamHead } from "../support/wire.ts";

const mebibyte = 1024 * 1024;
/**
 * Garbage and free lists kept small, so that resident memory shows what is held; who holds more than the heap
 * may be large is ended.
 */
const frugal = { NODE_OPTIONS: "--max-old-space-size=128 --max-semi-space-size=2", MALLOC_ARENA_MAX: "1" };
const opened: { cut(): void }[] = [];
/** Also after a failure, or they would hold the test's process. */
test.after.each(() => {
  for (const one of opened.splice(0)) one.cut();
});

/** A connection by hand: nobody reads, frames or closes for us. */
interface Raw {
  socket: Socket;
  /** All bytes that were read, head of the answer included. */
  text(): string;
  bytes(): number;
  closed: Promise<void>;
  cut(): void;
}

/** Connects and sends the head of a stream's request; resolves when that is written. */
async function ask(client: Client, kind: StreamKind, path?: string): Promise<Raw> {
  const socket = connect(Number(new URL(client.url).port), "localhost");
  const chunks: Buffer[] = [];
  let bytes = 0;
  socket.on("error", () => {});
  socket.on("data", (data) => {
    chunks.push(data);
    bytes += data.length;
  });
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const raw = {
    socket,
    text: () => Buffer.concat(chunks).toString("latin1"),
    bytes: () => bytes,
    closed,
    cut: () => socket.destroy(),
  };
  opened.push(raw);
  await once(socket, "connect");
  socket.write(streamHead(client, kind, path));
  return raw;
}

/** The same, until `ready` has come. */
async function open(client: Client, kind: StreamKind): Promise<Raw> {
  const raw = await ask(client, kind);
  await eventually(() => assertHas(raw, /"type":"ready"/));
  return raw;
}

/** A client's frame. `first` is the whole first byte: FIN, RSV and opcode. */
function frame(first: number, payload: Buffer | string, { masked = true, length = -1 } = {}): Buffer {
  const data = Buffer.from(payload);
  const size = length < 0 ? data.length : length;
  const head =
    size < 126
      ? Buffer.from([first, size])
      : size < 65_536
        ? Buffer.from([first, 126, size >> 8, size & 255])
        : Buffer.concat([Buffer.from([first, 127]), bigEndian(size)]);
  if (!masked) return Buffer.concat([head, data]);
  head[1] = Number(head[1]) | 0x80;
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, data.map((byte, index) => byte ^ Number(mask[index % 4]))]);
}

function bigEndian(size: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(size));
  return bytes;
}

/** Not assert.match, which would print megabytes. */
function assertHas(raw: Raw, pattern: RegExp, from = 0): void {
  const text = raw.text();
  assert.ok(pattern.test(text.slice(from)), `no ${pattern} in … ${JSON.stringify(text.slice(-150))}`);
}

/** The code of the close frame at the end of what a socket got. */
function closeCode(raw: Raw): number | undefined {
  const text = raw.text();
  const at = text.lastIndexOf("\x88");
  return at < 0 ? undefined : Buffer.from(text.slice(at + 2, at + 4), "latin1").readUInt16BE();
}

async function assertAlive(program: Program): Promise<void> {
  const response = await fetch(`${program.url}/healthz`, { signal: AbortSignal.timeout(5_000) });
  assert.equal(response.status, 200);
  await response.body?.cancel();
  assert.ok(program.isRunning(), program.stderr());
}

async function directOf(ann: Client, bob: Client): Promise<Json> {
  return ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
}

async function watch(client: Client, kind: StreamKind, since?: string): Promise<TestStream> {
  const stream = await openTestStream(kind, client, { since });
  opened.push(stream);
  return stream;
}

function hold(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Holds up the session check of every stream that opens, while `act` runs. */
async function withSlowSessions(databaseUrl: string, act: (waiting: () => Promise<number>) => Promise<void>) {
  const lock = new pg.Client({ connectionString: databaseUrl });
  await lock.connect();
  try {
    await lock.query("BEGIN");
    await lock.query("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE");
    await act(() => countLockWaits(databaseUrl));
    await lock.query("COMMIT");
  } finally {
    await lock.end();
  }
}

for (const kind of ["sse", "ws"] as const) {
  test(`${kind}: 200 connections reset while their stream opens end nothing else`, () =>
    withProgram({}, async (program) => {
      const ann = await register(program.url, "ann");
      await withSlowSessions(program.databaseUrl, async (waiting) => {
        const raws = await Promise.all(Array.from({ length: 200 }, () => ask(ann, kind)));
        await eventually(async () => assert.ok((await waiting()) > 0, "openings wait for the database"));
        raws.forEach(({ socket }, index) => {
          if (index % 3 === 0) socket.destroy();
          else socket.resetAndDestroy();
        });
        await Promise.all(raws.map(({ closed }) => closed));
        await assertAlive(program);
      });
      const stream = await watch(ann, kind);
      await stream.until((received) => received.some(({ type }) => type === "ready"));
      stream.cut();
      await assertNothingLeft(program);
    }));
}

/** Streams that nobody reads any more are not kept. */
async function assertNothingLeft(program: Program): Promise<void> {
  await eventually(async () => {
    const text = await (await fetch(`${program.url}/metrics`)).text();
    const open = [...text.matchAll(/^parley_streams_open\S* (\d+)$/gm)].map(([, count]) => Number(count));
    assert.ok(open.length > 0, "it tells");
    assert.deepEqual(
      open.filter((count) => count > 0),
      [],
    );
  });
  program.kill("SIGTERM");
  assert.equal(await program.exited, 0);
}

test("resets in the middle of frames and half frames harm nobody else", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    const bob = await register(program.url, "bob");
    const discussion = await directOf(ann, bob);
    const stream = await watch(bob, "ws");
    const text = JSON.stringify({
      type: "message.send",
      discussion_id: discussion.id,
      content: "x".repeat(3_000),
    });
    const whole = frame(0x81, text);
    const silent: { raw: Raw; size: number }[] = [];
    for (let size = 1; size < whole.length; size += 97) {
      const raw = await open(ann, "ws");
      raw.socket.write(whole.subarray(0, size));
      if (size % 2 === 0) silent.push({ raw, size });
      else raw.socket.resetAndDestroy();
    }
    await assertAlive(program);
    await ann.send(discussion.id, "still there");
    const contents = () =>
      stream.received.filter((e) => e.message).map((e) => e.message.content.slice(0, 20));
    await eventually(() => assert.deepEqual(contents(), ["still there"], "no half was sent"));
    for (const { raw } of silent) await eventually(() => assertHas(raw, /still there/));
    // Silence is no offence: a frame that is finished later counts.
    const last = silent.pop();
    assert.ok(last && silent.length > 5);
    last.raw.socket.write(whole.subarray(last.size));
    await eventually(() => assertHas(last.raw, /"type":"ack"/));
    await eventually(() => assert.deepEqual(contents(), ["still there", "x".repeat(20)]));
    for (const { raw } of silent) raw.socket.resetAndDestroy();
    await assertAlive(program);
  }));

test("4,000 quick connects and disconnects, of both kinds, leave nothing behind", () =>
  withProgram(frugal, async (program) => {
    const ann = await register(program.url, "ann");
    const round = async (count: number) => {
      let left = count;
      const worker = async () => {
        for (let number = left--; number > 0; number = left--) {
          const kind = number % 2 ? "ws" : "sse";
          const raw = number % 3 ? await ask(ann, kind) : await open(ann, kind);
          if (number % 5 === 0) raw.socket.resetAndDestroy();
          else if (number % 7 === 0) raw.socket.end();
          else raw.socket.destroy();
        }
      };
      await Promise.all(Array.from({ length: 20 }, worker));
      for (const one of opened.splice(0)) one.cut();
    };
    await round(500); // Warm: code, pools and buffers.
    const before = await settledBytes(program);
    await round(4_000);
    await assertAlive(program);
    const after = await settledBytes(program);
    if (process.env.TEST_LOG_LEVEL) console.log({ before: before / mebibyte, after: after / mebibyte });
    assert.ok(after - before < 30 * mebibyte, `${(after - before) / mebibyte} MiB more`);
    assert.equal(program.stderr(), "");
    await assertNothingLeft(program);
  }));

const text = (value: unknown) => frame(0x81, typeof value === "string" ? value : JSON.stringify(value));
/** What a client may not send, and the code that its socket is closed with. */
const malformed: [what: string, bytes: Buffer, code: number][] = [
  ["an RSV bit", frame(0xc1, "{}"), 1002],
  ["all RSV bits", frame(0xf1, "{}"), 1002],
  ["a reserved data opcode", frame(0x83, "{}"), 1002],
  ["a reserved control opcode", frame(0x8b, "{}"), 1002],
  ["no mask", frame(0x81, "{}", { masked: false }), 1002],
  ["a fragmented ping", frame(0x09, "x"), 1002],
  ["a ping of 126 bytes", frame(0x89, "x".repeat(126)), 1002],
  ["a continuation of nothing", frame(0x80, "{}"), 1002],
  ["a new message inside a fragmented one", Buffer.concat([frame(0x01, "{"), frame(0x81, "{}")]), 1002],
  ["a close frame of one byte", frame(0x88, "x"), 1002],
  ["a close code that may not be sent", frame(0x88, Buffer.from([3, 237])), 1002],
  ["text that is not UTF-8", frame(0x81, Buffer.from([0x22, 0xff, 0xfe, 0x22])), 1007],
  ["a length of 2^63 - 1", Buffer.from([0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255]), 1009],
  ["a length above the limit", frame(0x81, "", { length: 64 * 1024 + 1 }), 1009],
  [
    "fragments above the limit",
    Buffer.concat([frame(0x01, "x".repeat(40_000)), frame(0x80, "x".repeat(40_000))]),
    1009,
  ],
  ["a binary frame", frame(0x82, "{}"), 4500],
  ["an empty binary frame", frame(0x82, ""), 4500],
  ["an empty text frame", text(""), 4500],
  ["text that is no JSON", text("hello"), 4500],
  ["half of JSON", text('{"type":"ping"'), 4500],
  ["JSON nested 30,000 deep and never closed", text("[".repeat(30_000)), 4500],
];
/** What a client may send but is refused: the socket answers with an error and stays open. */
const refused: [what: string, bytes: Buffer][] = [
  ["null", text("null")],
  ["a number", text("1e999")],
  ["a string", text('"ping"')],
  ["an array", text([{ type: "ping" }])],
  ["an unknown type", text({ type: "shout" })],
  ["a type that is inherited", text({ type: "__proto__" })],
  ["a type that is a method", text({ type: "toString" })],
  ["a prototype", text('{"__proto__":{"type":"ping"}}')],
  ["a ref that is no string", text({ type: "ping", ref: { toString: 1 } })],
  ["JSON nested 30,000 deep", text("[".repeat(30_000) + "]".repeat(30_000))],
  ["content with NUL", text({ type: "message.send", content: "\0" })],
  ["content with half a surrogate pair", text('{"type":"message.send","content":"\\ud800"}')],
  ["an id that is none", text({ type: "message.send", discussion_id: "' OR 1=1", content: "x" })],
];

test("malformed frames close their own socket with the right code, refused ones not even that", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    const witness = await open(ann, "ws");
    const wrong: string[] = [];
    const closing = malformed.map(async ([what, bytes, code]) => {
      const raw = await open(ann, "ws");
      raw.socket.write(bytes);
      // We do not answer the close frame, so the server has to end the connection when the grace is over.
      const timer = setTimeout(() => raw.socket.destroy(), 10_000);
      const at = performance.now();
      await raw.closed;
      clearTimeout(timer);
      const ms = performance.now() - at;
      if (closeCode(raw) !== code || ms > 9_000)
        wrong.push(`${what}: ${closeCode(raw)}, not ${code}, after ${ms} ms`);
    });
    await Promise.all(closing);
    await assertAlive(program);
    for (const [what, bytes] of refused) {
      const raw = await open(ann, "ws");
      raw.socket.write(bytes);
      await eventually(() => assert.match(raw.text(), /"type":"error"/, what));
      raw.socket.write(text({ type: "ping", ref: what }));
      await eventually(() => assert.match(raw.text(), /"type":"pong"/, what));
      raw.cut();
    }
    witness.socket.write(text({ type: "ping", ref: "witness" }));
    await eventually(() => assert.match(witness.text(), /"type":"pong","ref":"witness"/));
    assert.deepEqual(wrong, [], "closed as they should be");
    assert.equal(program.stderr(), "", "a client's mistakes are not ours");
  }));

test("fragments, pings between them and frames byte by byte are understood", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    const raw = await open(ann, "ws");
    const pieces = [frame(0x01, '{"type":"pi'), frame(0x89, "are you there"), frame(0x80, 'ng","ref":"a"}')];
    for (const byte of Buffer.concat(pieces)) raw.socket.write(Buffer.from([byte]));
    await eventually(() => assert.match(raw.text(), /"type":"pong","ref":"a"/));
    assert.ok(raw.text().includes("\x8a\x0dare you there"));
  }));

/** How a stream ends that is closed with 4000. */
const tooSlow = {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the head and the code of a close frame
  ws: /\x88.\x0f\xa0[ -~]*$/s,
  sse: /event: closed\ndata: {"type":"closed","code":4000/,
};

/** About 64 KB of JSON each, as four bytes per character. */
const largest = "😀".repeat(16_000);

/** Sends `count` messages of the largest size, a few at a time; gives the last seq. */
async function flood(client: Client, discussionId: string, count: number, atOnce = 4): Promise<void> {
  let left = count;
  const worker = async () => {
    while (left-- > 0) await client.send(discussionId, largest);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** The seqs of a raw stream's messages: without holes from 1 on, as far as it got. */
function assertPrefix(raw: Raw): number {
  const seqs = [...raw.text().matchAll(/"type":"message\.new".{0,200}?"seq":(\d+)/g)].map(([, seq]) =>
    Number(seq),
  );
  assert.deepEqual(
    seqs,
    seqs.map((_, index) => index + 1),
  );
  return seqs.length;
}

for (const kind of ["sse", "ws"] as const) {
  test(`${kind}: who does not read is closed with 4000 and comes back for the rest; others get all`, () =>
    withProgram(frugal, async (program) => {
      const ann = await register(program.url, "ann");
      const bob = await register(program.url, "bob");
      const discussion = await directOf(ann, bob);
      const readers = [await watch(ann, "sse"), await watch(ann, "ws")];
      const stopped = await Promise.all(Array.from({ length: 20 }, () => open(bob, kind)));
      await flood(ann, discussion.id, 20); // Warm.
      const before = await program.residentBytes();
      for (const { socket } of stopped) socket.pause();
      let highest = 0;
      const sampler = setInterval(async () => {
        highest = Math.max(highest, await program.residentBytes());
      }, 50).unref();
      const count = 380;
      // Some read again, one after the other, however fast the machine is: before they are too slow, within
      // the grace, or after it. The others are cut off when the grace is over.
      const [resumed, others] = [stopped.slice(0, 9), stopped.slice(9)];
      for (const { socket } of resumed) {
        await flood(ann, discussion.id, (count - 20) / resumed.length);
        socket.resume();
      }
      for (const reader of readers) {
        await reader.until((received) => received.filter((e) => e.type === "message.new").length === count);
        assert.equal(reader.ended(), undefined, "who reads is not closed");
        const seqs = reader.received.filter((e) => e.type === "message.new").map((e) => e.message.seq);
        assert.deepEqual(
          seqs,
          Array.from({ length: count }, (_, index) => index + 1),
        );
      }
      await hold(6_000);
      clearInterval(sampler);
      for (const raw of others) raw.socket.resume();
      await Promise.all(others.map(({ closed }) => closed));
      for (const raw of others) assert.ok(assertPrefix(raw) < count);
      const after = await settledBytes(program);
      const told = resumed.find((raw) => tooSlow[kind].test(raw.text().slice(-150)));
      assert.ok(told, "who reads again within the grace is told");
      const got = assertPrefix(told);
      assert.ok(got < count, `${got} messages`);
      const figures = { before, highest, after, read: told.bytes() };
      if (process.env.TEST_LOG_LEVEL)
        console.log(
          Object.fromEntries(Object.entries(figures).map(([k, v]) => [k, Math.round(v / mebibyte)])),
        );
      // 20 streams with an outbox of 1 MiB and the one write that overfills it, and what is kept of recent
      // events.
      assert.ok(highest - before < 200 * mebibyte, `${(highest - before) / mebibyte} MiB at most`);
      assert.ok(after - before < 150 * mebibyte, `${(after - before) / mebibyte} MiB stay`);
      const back = await watch(bob, kind, [...told.text().matchAll(/"cursor":"([^"]+)"/g)].at(-1)?.[1]);
      await back.until((received) => received.some(({ type }) => type === "ready"), 60_000);
      const rest = back.received.filter((e) => e.type === "message.new").map((e) => e.message.seq);
      assert.deepEqual(
        rest,
        Array.from({ length: count - got }, (_, index) => got + 1 + index),
      );
      await assertAlive(program);
    }));

  test(`${kind}: who stops reading during a long replay is waited for, not buffered for`, () =>
    withProgram(frugal, async (program) => {
      const ann = await register(program.url, "ann");
      const bob = await register(program.url, "bob");
      const discussion = await directOf(ann, bob);
      const count = 500; // 32 MiB, twice of what is kept in memory.
      await flood(ann, discussion.id, count);
      const before = await settledBytes(program);
      const since = encodeURIComponent(discussion.cursor);
      const path = `/${kind === "ws" ? "ws" : "events"}?since=${since}`;
      const raws = await Promise.all(
        Array.from({ length: 20 }, async () => {
          const raw = await ask(bob, kind, path);
          raw.socket.pause();
          return raw;
        }),
      );
      let highest = 0;
      for (let sample = 0; sample < 60; sample++) {
        highest = Math.max(highest, await program.residentBytes());
        await hold(50);
      }
      if (process.env.TEST_LOG_LEVEL)
        console.log({ before: before / mebibyte, highest: highest / mebibyte, kind });
      assert.ok(highest - before < 250 * mebibyte, `${(highest - before) / mebibyte} MiB for 20 of 32 MiB`);
      // It goes on where it stood, however long that was.
      for (const raw of raws) raw.socket.resume();
      for (const raw of raws) {
        await eventually(() => assertHas(raw, /"type":"(ready|closed)"|too_slow/, -1_000), 120_000);
        assertHas(raw, /"type":"ready"/, -1_000);
        assert.equal(assertPrefix(raw), count);
        raw.cut();
      }
      await assertAlive(program);
    }));
}

/** All messages up to `count`, and still open. */
async function assertAll(stream: TestStream, count: number): Promise<void> {
  const seqs = () => stream.received.filter((e) => e.type === "message.new").map((e) => e.message.seq);
  await eventually(() => assert.ok(stream.ended() || seqs().length >= count), 30_000).catch(() => {});
  assert.equal(stream.ended(), undefined, `closed after ${seqs().length} of ${count}`);
  assert.deepEqual(
    seqs(),
    Array.from({ length: count }, (_, index) => index + 1),
  );
}

test("who reads is never too slow for bursts and long backlogs of the largest messages", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    const bob = await register(program.url, "bob");
    const discussion = await directOf(ann, bob);
    const live = [await watch(ann, "sse"), await watch(ann, "ws")];
    await flood(ann, discussion.id, 200, 32);
    // As an import would: all at once, by one transaction that is no request of ours.
    await query(
      program.databaseUrl,
      `INSERT INTO messages (discussion_id, seq, sender_id, content)
       SELECT $1, seq, $2, $3 FROM generate_series(201, 400) AS seq`,
      [discussion.id, ann.user.id, largest],
    );
    for (const stream of live) await assertAll(stream, 400);
    for (const kind of ["ws", "sse"] as const)
      await assertAll(await watch(bob, kind, discussion.cursor), 400);
  }));

test.run();
