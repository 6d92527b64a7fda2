// time limit: 150 s
import assert from "node:assert/strict";
import fc from "fast-check";
import { test } from "uvu";
import type { Client, Json } from "../support/client.ts";
import { checkEvent } from "../support/documents.ts";
import { createRandom } from "../support/random.ts";
import { eventually, withServer } from "../support/server.ts";
import {
  cutAll,
  dial,
  ended,
  first,
  frame,
  head,
  openSocket,
  readAnswers,
  readFrames,
} from "../support/wire.ts";
import { createTarget, post } from "./target.ts";

// Whatever comes: an answer as the documents tell, never a fault of ours, and the process lives.

test.after.each(cutAll);

const { seed } = createRandom();
const env = { RATE_LIMITS: "off" };

/** Bounded by time, so that a slow machine tries less; a seed gives the same in the same order. */
async function holds<T>(arbitrary: fc.Arbitrary<T>, property: (value: T) => Promise<void>): Promise<void> {
  let runs = 0;
  const counted = fc.asyncProperty(arbitrary, (value) => {
    runs++;
    return property(value);
  });
  const bounds = { seed, numRuns: 400, interruptAfterTimeLimit: 6_000, markInterruptAsFailure: false };
  await fc.assert(counted, bounds);
  assert.ok(runs >= 10, `only ${runs} were tried`);
}

/** What RFC 6455 and the contract have a socket closed with for what its client sent. */
const closeCodes = new Set([1002, 1007, 1008, 1009, 4002, 4500]);

const strange = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.constantFrom("", "\0", "\ud800", "👍", "__proto__", -1, 0, 1, 2 ** 53, 1e300, null, [], {}, true),
);

/** An object that is nearly right: some of its members are, some are anything, some are none of it. */
function nearly(members: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Json> {
  const loose = Object.entries(members).map(([name, good]) => [
    name,
    fc.oneof({ arbitrary: good, weight: 5 }, { arbitrary: strange, weight: 1 }),
  ]);
  const known = fc.record(Object.fromEntries(loose) as Record<string, fc.Arbitrary<unknown>>, {
    requiredKeys: [],
  });
  const more = fc.dictionary(fc.string({ maxLength: 12 }), strange, { maxKeys: 2 });
  return fc
    .tuple(known, fc.oneof({ arbitrary: fc.constant({}), weight: 4 }, { arbitrary: more, weight: 1 }))
    .map(([a, b]) => ({ ...a, ...b }));
}

function membersOf(id: string, own: string) {
  return {
    ref: fc.string({ unit: "binary", maxLength: 40 }),
    discussion_id: fc.constant(id),
    content: fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 }),
    client_id: fc.string({ unit: "binary", minLength: 1, maxLength: 70 }),
    reply_to_seq: fc.integer({ min: 1, max: 5 }),
    seq: fc.integer({ min: 0, max: 6 }),
    emoji: fc.constantFrom("👍", "🎉", "not one", "👩🏾‍🚀", "a_b"),
    attachment_ids: fc.array(fc.uuid(), { maxLength: 3 }),
    name: fc.string({ unit: "grapheme", maxLength: 120 }),
    visibility: fc.constantFrom("public", "private"),
    kind: fc.constantFrom("direct", "group"),
    user_id: fc.constantFrom(own, id),
    user_ids: fc.array(fc.constantFrom(own, id), { maxLength: 3 }),
    member_ids: fc.array(fc.constantFrom(own, id), { maxLength: 3 }),
    role: fc.constantFrom("owner", "admin", "member"),
    until: fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
    status_text: fc.string({ unit: "binary", maxLength: 150 }),
    display_name: fc.string({ unit: "binary", maxLength: 70 }),
    email: fc.emailAddress(),
    cookie: fc.boolean(),
  };
}

const types = ["message.send", "message.edit", "message.delete", "reaction.add", "reaction.remove"];
types.push("read", "typing", "ping", "message", "ready", "closed");

/** Bytes of one frame or of something like it. */
function frameBytes(id: string, own: string): fc.Arbitrary<Buffer> {
  const { ref, discussion_id, content, client_id, reply_to_seq, seq, emoji, attachment_ids } = membersOf(
    id,
    own,
  );
  const members = { ref, discussion_id, content, client_id, reply_to_seq, seq, emoji, attachment_ids };
  const json = nearly({ type: fc.constantFrom(...types), ...members }).map((value) => JSON.stringify(value));
  const texts = fc.oneof({ arbitrary: json, weight: 6 }, { arbitrary: fc.json(), weight: 1 });
  const whole = texts.map((text) => frame(first.text, text));
  const fragments = fc.tuple(texts, fc.nat(200)).map(([text, at]) => {
    const bytes = Buffer.from(text);
    const parts = [frame(first.textBegin, bytes.subarray(0, at)), frame(first.ping, "x")];
    return Buffer.concat([...parts, frame(first.last, bytes.subarray(at))]);
  });
  const payload = fc.uint8Array({ maxLength: 140 }).map((bytes) => Buffer.from(bytes));
  const raw = fc
    .tuple(fc.integer({ min: 0, max: 255 }), payload, fc.boolean(), fc.constantFrom(0, 2, 8))
    .map(([firstByte, bytes, masked, lengthBytes]) =>
      frame(firstByte, bytes, { masked, lengthBytes: (lengthBytes || undefined) as never }),
    );
  const control = fc
    .tuple(fc.constantFrom(first.ping, first.pong), payload)
    .map(([byte, bytes]) => frame(byte, bytes));
  const flipped = fc.tuple(whole, fc.nat(), fc.integer({ min: 1, max: 255 })).map(([bytes, at, bits]) => {
    const changed = Buffer.from(bytes);
    changed[at % changed.length] = Number(changed[at % changed.length]) ^ bits;
    return changed;
  });
  return fc.oneof(
    { arbitrary: whole, weight: 12 },
    { arbitrary: fragments, weight: 4 },
    { arbitrary: control, weight: 3 },
    { arbitrary: flipped, weight: 1 },
    { arbitrary: raw, weight: 1 },
    { arbitrary: payload, weight: 1 },
  );
}

test("whatever comes over a socket is answered as documented, or closes it with a documented code", () =>
  withServer(async (t) => {
    const { ann, discussionId: id } = await createTarget(t.url);
    const witness = await openSocket(ann);
    const sent = fc.tuple(
      fc.array(frameBytes(id, ann.user.id), { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(600), { maxLength: 4 }),
    );
    let round = 0;
    await holds(sent, async ([frames, cuts]) => {
      round++;
      const wire = await openSocket(ann, round % 2 ? "/ws" : `/discussions/${id}/ws`);
      // In pieces as a network may make them, and at last something that ends it in whichever state it is.
      const bytes = Buffer.concat(frames);
      const ends = [0, ...[...cuts].sort((a, b) => a - b).filter((at) => at < bytes.length), bytes.length];
      for (const [index, end] of ends.slice(1).entries()) {
        wire.write(bytes.subarray(ends[index], end));
        await new Promise((resolve) => setImmediate(resolve));
      }
      wire.write(Buffer.alloc(70_000, 0xff));
      await eventually(() => assert.ok(readFrames(wire).close || wire.isClosed(), "is not closed"));
      const { events, close } = readFrames(wire);
      for (const event of events) {
        checkEvent(event);
        assert.doesNotMatch(event.code ?? "", /internal|unavailable|overloaded/, JSON.stringify(event));
      }
      assert.ok(close && (closeCodes.has(close.code) || close.code === ownClose(bytes)), `${close?.code}`);
      wire.cut();
    });
    witness.write(frame(first.text, { type: "ping", ref: "witness" }));
    await eventually(() => assert.ok(readFrames(witness).events.some(({ ref }) => ref === "witness")));
  }, env));

/** The code of a client's first close frame, with which it is answered; 1005 if it has none. */
function ownClose(bytes: Buffer): number | undefined {
  for (let at = 0; at + 2 <= bytes.length; ) {
    const [opcode, short] = [Number(bytes[at]) & 15, Number(bytes[at + 1]) & 127];
    const size = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (at + size + 4 > bytes.length) return;
    const length =
      size === 2 ? short : size === 4 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
    const mask = bytes.readUInt16BE(at + size);
    at += size + 4;
    if (opcode === 8) return length === 0 ? 1005 : bytes.readUInt16BE(at) ^ mask;
    at += length;
  }
}

const lists = ["/users", "/discussions", "/messages", "/search", "/auth/sessions", "/users/me/blocks"];
const names = [
  "query",
  "q",
  "email",
  "limit",
  "cursor",
  "visibility",
  "discussion_id",
  "sender_id",
  "before",
];
names.push("after", "around", "since", "ticket", "__proto__");

function queries(id: string): fc.Arbitrary<string> {
  const good = fc.constantFrom("1", "200", "public", id, "one", "a b", '"a b"', "W10", "WyJhIl0", "0", "");
  const text = fc
    .string({ unit: "binary", maxLength: 300 })
    .map((value) => encodeURIComponent(value.toWellFormed()));
  const escaped = fc
    .uint8Array({ maxLength: 40 })
    .map((bytes) => Buffer.from(bytes).toString("hex").replace(/../g, "%$&"));
  const cursor = fc.json({ maxDepth: 2 }).map((value) => Buffer.from(value).toString("base64url"));
  const raw = fc.stringMatching(/^[!$&'()*+,;=:@/?\w.~%-]{0,40}$/);
  const value = fc.oneof(good, text, escaped, cursor, raw);
  const name = fc.oneof({ arbitrary: fc.constantFrom(...names), weight: 8 }, { arbitrary: raw, weight: 1 });
  return fc
    .array(fc.tuple(name, value), { maxLength: 5 })
    .map((pairs) => pairs.map((pair) => pair.join("=")).join("&"));
}

async function answers(client: Client, method: string, path: string, body?: Json): Promise<void> {
  const { status } = await client.call(method, path, body);
  assert.ok(status < 500, `${method} ${path} ${JSON.stringify(body)} → ${status}`);
}

test("whatever is asked for is answered in the documented form, and never by a fault of ours", () =>
  withServer(async (t) => {
    const { ann, discussionId: id } = await createTarget(t.url);
    await ann.send(id, 'one "two" three %_\\');
    const paths = [...lists, `/discussions/${id}/messages`, `/discussions/${id}/members`];
    paths.push(`/discussions/${id}/messages/1/edits`);
    const segment = fc
      .string({ unit: "binary", maxLength: 30 })
      .map((value) => encodeURIComponent(value.toWellFormed()));
    const path = fc.oneof(
      { arbitrary: fc.constantFrom(...paths), weight: 8 },
      { arbitrary: segment.map((one) => `/users/${one}`), weight: 1 },
      { arbitrary: segment.map((one) => `/discussions/${id}/messages/${one}/edits`), weight: 1 },
    );
    await holds(fc.tuple(path, queries(id)), ([one, query]) => answers(ann, "GET", `${one}?${query}`));
  }, env));

test("whatever is sent as a body is answered in the documented form, and never by a fault of ours", () =>
  withServer(async (t) => {
    const { ann, discussionId: id } = await createTarget(t.url);
    await ann.send(id, "one");
    const own = ann.user.id;
    const member = membersOf(id, own);
    const pick = (...names: (keyof typeof member)[]) =>
      nearly(Object.fromEntries(names.map((name) => [name, member[name]])));
    const routes: [string, string, fc.Arbitrary<Json>][] = [
      ["POST", `/discussions/${id}/messages`, pick("content", "client_id", "reply_to_seq", "attachment_ids")],
      ["PATCH", `/discussions/${id}/messages/1`, pick("content")],
      ["PUT", `/discussions/${id}/read`, pick("seq")],
      ["PUT", `/discussions/${id}/mute`, pick("until")],
      ["POST", "/discussions", pick("kind", "user_id", "name", "member_ids", "visibility")],
      ["POST", `/discussions/${id}/members`, pick("user_ids")],
      ["PATCH", `/discussions/${id}/members/${own}`, pick("role")],
      ["PATCH", "/users/me", pick("display_name", "email", "status_text")],
      ["POST", "/auth/refresh", pick("ref")],
    ];
    const request = fc.oneof(
      ...routes.map(([method, path, body]) => fc.tuple(fc.constant(method), fc.constant(path), body)),
    );
    await holds(request, ([method, path, body]) => answers(ann, method, path, body));
  }, env));

test("whatever comes where a request should is answered below 500, or not at all", () =>
  withServer(async (t) => {
    const { ann, auth, discussionId } = await createTarget(t.url);
    const json = [auth, "Content-Type: application/json"];
    const good = [
      head("GET", "/api/v1/users/me?query=a", [auth, "X-Request-Id: a", "Cookie: a=b; c=d"]),
      post({ ann, auth, discussionId }, "x"),
      `${head("POST", "/api/v1/discussions", [...json, "Transfer-Encoding: chunked"])}2\r\n{}\r\n0\r\n\r\n`,
      head("GET", "/api/v1/ws", [
        auth,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
      ]),
    ];
    const token = fc.constantFrom(
      "\r\n",
      "\n",
      "\r",
      "\0",
      " ",
      ":",
      ",",
      "%",
      "Host: a\r\n",
      "Content-Length: 1\r\n",
      "é",
      "\x7f",
    );
    const change = fc.tuple(fc.nat(), fc.constantFrom("insert", "replace", "cut"), token);
    const request = fc
      .tuple(fc.constantFrom(...good), fc.array(change, { minLength: 1, maxLength: 3 }))
      .map(([bytes, changes]) =>
        changes.reduce((text, [where, how, piece]) => {
          const at = where % text.length;
          if (how === "cut") return text.slice(0, at) + text.slice(at + 1);
          return text.slice(0, at) + piece + text.slice(how === "insert" ? at : at + piece.length);
        }, bytes),
      );
    await holds(request, async (bytes) => {
      const wire = await dial(t.url);
      wire.write(bytes);
      // What is still waited for will never come.
      wire.socket.end();
      await ended(wire, 15_000);
      if (/^HTTP\/1\.1 101/.test(wire.text()) || wire.text() === "") return;
      for (const { status } of readAnswers(wire))
        assert.ok(status < 500, `${JSON.stringify(bytes)} → ${status}`);
    });
    await ann.ok("GET", "/users/me");
  }, env));

test.run();
