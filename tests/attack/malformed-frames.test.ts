// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { type Client, type Json, register } from "../support/client.ts";
import { type Program, settledBytes, withProgram } from "../support/process.ts";
import { eventually } from "../support/server.ts";
import {
  cutAll,
  dial,
  ended,
  first,
  frame,
  heard,
  openSocket,
  readFrames,
  upgradeHead,
} from "../support/wire.ts";
import { all } from "./target.ts";

// What comes over a socket and is no frame, or is one that costs more than it says.

test.after.each(cutAll);

const mebibyte = 1024 * 1024;
/** Little garbage is kept, so that resident memory shows what is held. */
const frugal = { NODE_OPTIONS: "--max-semi-space-size=2", MALLOC_ARENA_MAX: "1" };
const ping = (ref: string) => frame(first.text, { type: "ping", ref });
const send = (discussionId: string, content: string, more: Json = {}) =>
  ({ type: "message.send", discussion_id: discussionId, content, ...more }) as Json;

interface Attacked {
  program: Program;
  ann: Client;
  discussionId: string;
}

/**
 * Runs an attack by ann while bob, on a socket of the same process, goes on: he is answered before, between
 * and after, and the process neither ends nor complains.
 */
function withWitness(act: (attacked: Attacked) => Promise<void>, env: NodeJS.ProcessEnv = {}): Promise<void> {
  return withProgram(env, async (program) => {
    const ann = await register(program.url, "ann");
    const bob = await register(program.url, "bob");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const witness = await openSocket(bob);
    let asked = 0;
    const look = async () => {
      asked++;
      witness.write(ping(`witness ${asked}`));
      await heard(witness, new RegExp(`"pong","ref":"witness ${asked}"`));
    };
    await look();
    const unanswered: unknown[] = [];
    const watch = setInterval(() => void look().catch((error) => unanswered.push(error)), 250);
    try {
      await act({ program, ann, discussionId: id });
    } finally {
      clearInterval(watch);
    }
    await look();
    assert.deepEqual(unanswered, []);
    assert.equal(readFrames(witness).close, undefined);
    assert.ok(program.isRunning());
    assert.equal(program.stderr(), "", "a client's mistakes are not ours");
  });
}

async function contents(client: Client, discussionId: string): Promise<string[]> {
  const { items } = await client.ok("GET", `/discussions/${discussionId}/messages?limit=200`);
  return items.map(({ content }: Json) => content);
}

const oneByte = (byte: number) => Buffer.from([byte]);
const closing = (code: number, reason: Buffer | string = "") =>
  frame(first.close, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));

/** Frames as RFC 6455 forbids them, and with what it has them closed. */
const malformed: [what: string, bytes: Buffer, code: number | number[]][] = [
  ...[0x40, 0x20, 0x10, 0x70].flatMap((bits): [string, Buffer, number][] => [
    [`RSV bits ${bits} of a text`, frame(first.text | bits, '{"type":"ping"}'), 1002],
    [`RSV bits ${bits} of a ping`, frame(first.ping | bits, ""), 1002],
    [`RSV bits ${bits} of a close`, frame(first.close | bits, ""), 1002],
  ]),
  ["RSV1 in a continuation", Buffer.concat([frame(first.textBegin, "{"), frame(0xc0, "}")]), 1002],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].flatMap((opcode): [string, Buffer, number][] => [
    [`opcode ${opcode}`, frame(0x80 | opcode, "{}"), 1002],
    [`opcode ${opcode}, unfinished`, frame(opcode, "{}"), 1002],
  ]),
  ["a ping in fragments", frame(0x09, "x"), 1002],
  ["a pong in fragments", frame(0x0a, "x"), 1002],
  ["a close in fragments", frame(0x08, Buffer.from([3, 232])), 1002],
  ["a ping of 126 bytes", frame(first.ping, "x".repeat(126)), 1002],
  ["a pong of 64 KiB", frame(first.pong, "x".repeat(65_536)), 1002],
  ["a close of 126 bytes", closing(1000, "x".repeat(124)), 1002],
  ["a close of one byte", frame(first.close, "x"), 1002],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map(
    (code): [string, Buffer, number] => [`close code ${code}`, closing(code), 1002],
  ),
  ["a close reason that is not UTF-8", closing(1000, Buffer.from([0xc3, 0x28])), 1007],
  ["a close reason cut in a character", closing(1000, Buffer.from("é").subarray(0, 1)), 1007],
  ["no mask", frame(first.text, "{}", { masked: false }), 1002],
  ["a ping without mask", frame(first.ping, "", { masked: false }), 1002],
  ["a continuation of nothing", frame(first.last, "{}"), 1002],
  ["an unfinished continuation of nothing", frame(first.middle, "{}"), 1002],
  ["a continuation after a whole text", Buffer.concat([ping("1"), frame(first.last, "x")]), 1002],
  ["a text within another", Buffer.concat([frame(first.textBegin, "{"), ping("1")]), 1002],
  ["a binary within a text", Buffer.concat([frame(first.textBegin, "{"), frame(first.binary, "")]), 1002],
  ...[
    [0xff],
    [0xc0, 0x80],
    [0xc0, 0xaf],
    [0xe0, 0x80, 0xaf],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xf8, 0x88, 0x80, 0x80, 0x80],
    [0xe2, 0x82],
    [0x80],
  ].map((bytes): [string, Buffer, number] => [
    `text with the bytes ${bytes.map((byte) => byte.toString(16))}`,
    frame(
      first.text,
      Buffer.concat([Buffer.from('{"type":"ping","ref":"'), Buffer.from(bytes), Buffer.from('"}')]),
    ),
    1007,
  ]),
  [
    "fragments that together are not UTF-8",
    Buffer.concat([
      frame(first.textBegin, Buffer.from([0x22, 0xe2])),
      frame(first.last, Buffer.from([0x28, 0x22])),
    ]),
    1007,
  ],
  ["a length above the bound", frame(first.text, "", { length: 64 * 1024 + 1 }), 1009],
  ["a length of 4 GiB", frame(first.text, "", { length: 2 ** 32 }), 1009],
  ["a length of 2^53", frame(first.text, "", { length: 2n ** 53n, lengthBytes: 8 }), 1009],
  ["a length of 2^63 - 1", frame(first.text, "", { length: 2n ** 63n - 1n, lengthBytes: 8 }), 1009],
  [
    "a length with the highest bit",
    frame(first.text, "", { length: 2n ** 63n, lengthBytes: 8 }),
    [1002, 1009],
  ],
  ["a length of all bits", frame(first.text, "", { length: 2n ** 64n - 1n, lengthBytes: 8 }), [1002, 1009]],
  ["a binary of 4 GiB", frame(first.binary, "", { length: 2 ** 32 }), 1009],
  [
    "fragments above the bound",
    Buffer.concat([frame(first.textBegin, "x".repeat(40_000)), frame(first.last, "x".repeat(40_000))]),
    1009,
  ],
  ["a binary", frame(first.binary, '{"type":"ping"}'), 4500],
  ["an empty binary", frame(first.binary, ""), 4500],
  ["a binary in fragments", Buffer.concat([frame(0x02, "{"), frame(first.last, "}")]), 4500],
  ["an empty text", frame(first.text, ""), 4500],
  ["empty fragments", Buffer.concat([frame(first.textBegin, ""), frame(first.last, "")]), 4500],
  ["no JSON", frame(first.text, "ping"), 4500],
  ["JSON and more", frame(first.text, '{"type":"ping"} {}'), 4500],
  ["a byte order mark before JSON", frame(first.text, '\ufeff{"type":"ping"}'), 4500],
  ["a request of HTTP", Buffer.from("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"), 1002],
  ["random bytes of TLS", Buffer.from("1603010200010001fc0303", "hex"), 1002],
];

test("each malformed frame ends its own socket with the right code, and nothing after it is done", () =>
  withWitness(async ({ ann, discussionId }) => {
    await all(malformed, async ([what, bytes, code]) => {
      const wire = await openSocket(ann);
      wire.write(Buffer.concat([bytes, frame(first.text, send(discussionId, what))]));
      await eventually(() => assert.ok(readFrames(wire).close, what)).catch((error) => {
        throw new Error(`${what}: ${error.message} ${JSON.stringify(wire.text().slice(-200))}`);
      });
      const { close, events } = readFrames(wire);
      assert.ok([code].flat().includes(close?.code ?? 0), `${what}: ${close?.code}, not ${code}`);
      assert.deepEqual(
        events.filter(({ type }) => ["ack", "message.new"].includes(type)),
        [],
        what,
      );
      wire.write(frame(first.close, ""));
      await ended(wire);
    });
    assert.deepEqual(await contents(ann, discussionId), []);
  }));

test("what is allowed is understood, however odd: lengths, fragments, controls between, close codes", () =>
  withWitness(async ({ ann }) => {
    const text = JSON.stringify({ type: "ping", ref: "odd – é 😀" });
    const bytes = Buffer.from(text);
    const pieces = [...bytes].map((byte, index) =>
      frame(
        index === 0 ? first.textBegin : index === bytes.length - 1 ? first.last : first.middle,
        oneByte(byte),
      ),
    );
    const odd: Record<string, Buffer> = {
      "a fragment per byte, in the middle of characters": Buffer.concat(pieces),
      "pings and pongs between fragments": Buffer.concat(
        pieces.flatMap((piece) => [piece, frame(first.ping, "x"), frame(first.pong, "")]),
      ),
      "empty fragments between": Buffer.concat(
        pieces.flatMap((piece) => [piece, frame(first.middle, "")]).slice(0, -1),
      ),
      "a mask of zeros": Buffer.concat([Buffer.from([first.text, 0x80 | bytes.length, 0, 0, 0, 0]), bytes]),
      "white space as far as there is room": frame(first.text, text.padEnd(64 * 1024 - 16, " ")),
    };
    await all(Object.entries(odd), async ([what, sent]) => {
      const wire = await openSocket(ann);
      wire.write(sent);
      await eventually(() => {
        const { events, close } = readFrames(wire);
        assert.equal(close, undefined, what);
        assert.ok(
          events.some((event) => event.ref === "odd – é 😀"),
          what,
        );
      });
    });
    // RFC 6455, 5.2, asks for the shortest form; who takes another one must take it for what it says.
    for (const lengthBytes of [2, 8] as const) {
      const wire = await openSocket(ann);
      wire.write(frame(first.text, text, { lengthBytes }));
      await eventually(() => {
        const { events, close } = readFrames(wire);
        assert.ok(close?.code === 1002 || events.some(({ type }) => type === "pong"), `${lengthBytes}`);
      });
    }
    for (const code of [1000, 1001, 1011, 3000, 4000, 4999]) {
      const wire = await openSocket(ann);
      wire.write(closing(code, "bye é"));
      await ended(wire);
      assert.equal(readFrames(wire).close?.code, code, "a close is answered with its own code");
    }
    const silent = await openSocket(ann);
    silent.write(frame(first.close, ""));
    await ended(silent);
  }));

test("compression that was not agreed on is refused, whatever the client offered", () =>
  withWitness(async ({ ann }) => {
    for (const offer of [
      "permessage-deflate",
      "permessage-deflate; client_max_window_bits=99",
      "=;,=",
      "x-webkit-deflate-frame",
    ]) {
      const wire = await dial(ann.url);
      wire.write(upgradeHead(ann, "/ws", [`Sec-WebSocket-Extensions: ${offer}`]));
      await heard(wire, /"type":"ready"/);
      assert.doesNotMatch(wire.text(), /sec-websocket-extensions/i);
      // A bomb: 1,000 zeros and more, as deflate packs them.
      wire.write(frame(0xc1, Buffer.from("4a05020000ffff", "hex")));
      await eventually(() => assert.equal(readFrames(wire).close?.code, 1002));
    }
  }));

test("10,000 tiny fragments are one message; endless ones end, with or without anything in them", () =>
  withWitness(async ({ program, ann, discussionId }) => {
    const text = JSON.stringify(send(discussionId, "x".repeat(9_900))).padEnd(10_000, " ");
    const wire = await openSocket(ann);
    const pieces = [...Buffer.from(text)].map((byte, index) =>
      frame(index === 0 ? first.textBegin : index === 9_999 ? first.last : first.middle, oneByte(byte)),
    );
    wire.write(Buffer.concat(pieces));
    await eventually(() => assert.ok(readFrames(wire).events.some(({ type }) => type === "ack")));
    assert.deepEqual(await contents(ann, discussionId), ["x".repeat(9_900)]);
    const before = await settledBytes(program);
    await all(["", "x"], async (payload) => {
      const endless = await openSocket(ann);
      endless.write(frame(first.textBegin, '{"type":"ping"'));
      const many = Buffer.concat(Array.from({ length: 1_000 }, () => frame(first.middle, payload)));
      for (let sent = 0; sent < 500 && !endless.isClosed() && !readFrames(endless).close; sent++) {
        endless.write(many);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await eventually(() => assert.ok([1008, 1009].includes(readFrames(endless).close?.code ?? 0)));
    });
    const more = (await settledBytes(program)) - before;
    assert.ok(more < 40 * mebibyte, `${more / mebibyte} MiB more`);
  }, frugal));

test("bytes that come right behind the upgrade request are the first frames, in their order", () =>
  withWitness(async ({ ann, discussionId }) => {
    for (const count of [1, 50]) {
      const wire = await dial(ann.url);
      const sends = Array.from({ length: count }, (_, index) =>
        frame(first.text, send(discussionId, `${count}: ${index}`, { ref: `${index}` })),
      );
      wire.write(Buffer.concat([Buffer.from(upgradeHead(ann)), ...sends]));
      await eventually(() => {
        const acks = readFrames(wire).events.filter(({ type }) => type === "ack");
        assert.deepEqual(
          acks.map(({ ref }) => ref),
          Array.from({ length: count }, (_, index) => `${index}`),
        );
      });
    }
    const refused = await dial(ann.url);
    const head = upgradeHead(ann).replace(/Authorization: .*\r\n/, "");
    refused.write(Buffer.concat([Buffer.from(head), frame(first.text, send(discussionId, "no"))]));
    await ended(refused);
    assert.match(refused.text(), /^HTTP\/1\.1 401 /);
    const wrong = await dial(ann.url);
    wrong.write(Buffer.concat([Buffer.from(upgradeHead(ann)), frame(0xf1, "")]));
    await ended(wrong, 15_000);
    assert.equal(readFrames(wrong).close?.code, 1002);
    assert.equal((await contents(ann, discussionId)).filter((content) => content === "no").length, 0);
  }));

test("a message whose frame is cut at any byte is stored as a whole, or not at all", () =>
  withWitness(async ({ program, ann, discussionId }) => {
    const whole = frame(first.text, send(discussionId, "all or nothing", { client_id: "cut-000" }));
    const cuts = Array.from({ length: whole.length + 1 }, (_, size) => size);
    await all(cuts, async (size) => {
      const wire = await openSocket(ann);
      const id = `cut-${`${size}`.padStart(3, "0")}`;
      const bytes = frame(first.text, send(discussionId, "all or nothing", { client_id: id }));
      await new Promise<void>((resolve) => wire.socket.write(bytes.subarray(0, size), () => resolve()));
      if (size % 3 === 0) wire.socket.resetAndDestroy();
      else if (size % 3 === 1) wire.socket.destroy();
      else wire.socket.end();
      await wire.closed;
    });
    // Whoever comes after them stands behind all that was stored.
    await ann.send(discussionId, "the end");
    const { items } = await ann.ok("GET", `/discussions/${discussionId}/messages?limit=200`);
    const cut = items.filter(({ client_id }: Json) => client_id?.startsWith("cut-"));
    for (const { content, client_id } of cut) {
      assert.equal(content, "all or nothing");
      assert.equal(client_id, `cut-${whole.length}`, "only what came whole");
    }
    assert.ok(cut.length <= 1);
    // The whole one, sent again over a new socket, is the same message or the first.
    const again = await openSocket(ann);
    again.write(
      frame(first.text, send(discussionId, "all or nothing", { client_id: `cut-${whole.length}` })),
    );
    await eventually(() => assert.ok(readFrames(again).events.some(({ type }) => type === "ack")));
    assert.equal((await contents(ann, discussionId)).filter((one) => one === "all or nothing").length, 1);
    assert.ok(program.isRunning());
  }));

test.run();
