// time limit: 240 s
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { register } from "../support/client.ts";
import { type Program, settledBytes, withProgram } from "../support/process.ts";
import { eventually } from "../support/server.ts";
import { cutAll, ended, first, frame, heard, openSocket, readFrames, type Wire } from "../support/wire.ts";

// Frames that are each as they should be, and meant to cost memory or time by what is between or after them.

test.after.each(cutAll);

const mebibyte = 1024 * 1024;
/** Little garbage is kept, so that resident memory shows what is held. */
const frugal = { NODE_OPTIONS: "--max-semi-space-size=2", MALLOC_ARENA_MAX: "1" };

/** Runs an attack over sockets of one person, and gives how much more memory is in use before they go. */
async function costOf(
  program: Program,
  count: number,
  act: (wires: Wire[]) => Promise<void>,
): Promise<number> {
  const ann = await register(program.url, `ann${Math.round(performance.now())}`);
  const wires = await Promise.all(Array.from({ length: count }, () => openSocket(ann)));
  const before = await settledBytes(program);
  await act(wires);
  const more = (await settledBytes(program)) - before;
  await ann.ok("GET", "/users/me");
  assert.equal(program.stderr(), "");
  cutAll();
  return more / mebibyte;
}

/** Writes as fast as it is taken; what is written to a socket that has ended goes nowhere. */
async function pour(wire: Wire, bytes: Buffer): Promise<void> {
  wire.write(bytes);
  if (!wire.isClosed() && wire.socket.writableNeedDrain) {
    await Promise.race([once(wire.socket, "drain").catch(() => {}), wire.closed]);
  }
}

for (const [what, control] of [
  ["pings", first.ping],
  ["pongs", first.pong],
] as const)
  test(`a message that never ends does not keep the ${what} between its fragments in memory`, () =>
    withProgram(frugal, async (program) => {
      // `ws` keeps each fragment as a part of the piece that it was read with, some 64 KiB of them.
      const filler = Buffer.concat(Array.from({ length: 495 }, () => frame(control, "x".repeat(125))));
      const more = await costOf(program, 10, async (wires) => {
        await Promise.all(
          wires.map(async (wire) => {
            wire.write(frame(first.textBegin, "{"));
            for (let sent = 0; sent < 200 && !wire.isClosed(); sent++)
              await pour(wire, Buffer.concat([frame(first.middle, "x"), filler]));
          }),
        );
        for (const wire of wires) {
          await ended(wire);
          assert.equal(readFrames(wire).close?.code ?? 4002, 4002, "told, or cut off before it could be");
        }
      });
      assert.ok(more < 50, `${more} MiB more for 130 MiB sent`);
    }));

test("pings by the ten thousand are answered; who sends nothing else for ever is closed with 4002", () =>
  withProgram(frugal, async (program) => {
    const ann = await register(program.url, "ann");
    const wire = await openSocket(ann);
    const pings = Buffer.concat(Array.from({ length: 1_000 }, (_, n) => frame(first.ping, `${n}`)));
    for (let round = 1; round <= 10; round++) {
      await pour(wire, pings);
      await eventually(() => assert.equal(readFrames(wire).pongs.length, round * 1_000));
    }
    // A message is a sign of more than a flood.
    wire.write(frame(first.text, { type: "ping", ref: "there" }));
    await heard(wire, /"pong","ref":"there"/);
    for (let round = 1; round <= 1_000 && !wire.isClosed(); round++) await pour(wire, pings);
    await ended(wire, 15_000);
    assert.equal(readFrames(wire).close?.code ?? 4002, 4002);
  }));

test("a frame that comes byte by byte is taken if it is short, and else not kept in its pieces", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    const wire = await openSocket(ann);
    const clock = await openSocket(ann);
    // What is answered on another socket of the process came after the byte was read, by itself.
    const drip = async (bytes: Buffer) => {
      for (const byte of bytes) {
        if (wire.isClosed()) return;
        wire.write(Buffer.from([byte]));
        const answered = once(clock.socket, "data");
        clock.write(frame(first.ping, ""));
        await answered;
      }
    };
    await drip(frame(first.text, { type: "ping", ref: "x".repeat(500) }));
    await heard(wire, /"type":"pong"/);
    await drip(frame(first.text, "", { length: 60_000 }));
    await drip(Buffer.alloc(limits.frameReads + 100, "x"));
    await eventually(() => assert.equal(readFrames(wire).close?.code, 1008));
  }));

test("frames that never come whole end with their sockets; who answers pings stays", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    const begin: Record<string, Buffer> = {
      "one byte of a head": Buffer.from([first.text]),
      "a head without its mask": Buffer.from([first.text, 0xfe, 0x10]),
      "a head": frame(first.text, "", { length: 60_000 }),
      "half of a frame": frame(first.text, '{"type":"ping"', { length: 100 }),
      "half of a message": frame(first.textBegin, '{"type":"ping"'),
      "half of a close": frame(first.close, "").subarray(0, 3),
    };
    const wires = await Promise.all(
      Object.entries(begin).flatMap(([what, bytes]) =>
        [false, true].map(async (drips) => {
          const wire = await openSocket(ann);
          wire.write(bytes);
          return { what: `${what}${drips ? ", and a byte now and then" : ""}`, drips, wire };
        }),
      ),
    );
    const honest = await openSocket(ann);
    let answered = 0;
    honest.socket.on("data", (data: Buffer) => {
      if (data[0] !== 0x89) return;
      answered++;
      honest.write(frame(first.pong, ""));
    });
    const drip = setInterval(() => {
      for (const { what, drips, wire } of wires)
        if (drips) wire.write(what.startsWith("half of a message") ? frame(first.middle, "x") : "x");
    }, 1_000);
    try {
      await eventually(() => {
        const open = wires.filter(({ wire }) => !wire.isClosed()).map(({ what }) => what);
        assert.deepEqual(open, []);
      }, 90_000);
    } finally {
      clearInterval(drip);
    }
    assert.ok(answered >= 1);
    honest.write(frame(first.text, { type: "ping", ref: "still" }));
    await heard(honest, /"pong","ref":"still"/);
    assert.equal(program.stderr(), "");
  }));

test.run();
