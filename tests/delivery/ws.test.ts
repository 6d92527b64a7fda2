// time limit: 240 s
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "uvu";
import { WebSocket } from "ws";
import { assertProblem, type Client, type Json, password, register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { openTestStream, type TestStream } from "../support/streams.ts";
import { testContract } from "./contract.ts";
import {
  contentsOf,
  createDirect,
  createGroup,
  endedWith,
  eventsOf,
  heard,
  heardMessage,
  ofType,
  openReady,
} from "./help.ts";
import { openRaw } from "./raw.ts";

testContract("ws");

const bearer = (client: Client, more: Record<string, string> = {}) => ({
  headers: { authorization: `Bearer ${client.token}`, ...more },
});

/** Sends a frame and gives its answer: the next frame that is none of an event. */
async function ask(socket: TestStream, frame: unknown): Promise<Json> {
  const answers = () => socket.received.filter(({ type }) => ["ack", "error", "pong"].includes(type));
  const before = answers().length;
  socket.send(frame);
  await socket.until(() => answers().length > before);
  return answers()[before];
}

function assertRefused(answer: Json, ref: string | undefined, code: string): void {
  assert.equal(answer.type, "error", JSON.stringify(answer));
  assert.equal(answer.ref, ref);
  assert.equal(answer.code, code);
  assert.equal(typeof answer.detail, "string");
}

test("a sent message is acknowledged with its ref and the JSON that everybody sees", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const socket = await openReady("ws", ann, { discussionId: discussion.id });
    const first = await ask(socket, { type: "message.send", ref: "r", content: "hello" });
    assert.deepEqual(Object.keys(first).sort(), ["message", "ref", "type"]);
    assert.equal(first.ref, "r");
    const reply = await ask(socket, { type: "message.send", ref: "s", content: "yes?", reply_to_seq: 1 });
    assert.equal(reply.message.reply_to_seq, 1);
    await heard(socket, "message.new", 2);
    const { items } = await ann.ok("GET", `/discussions/${discussion.id}/messages`);
    assert.deepEqual(items, [first.message, reply.message]);
    assert.deepEqual(
      eventsOf(socket).map(({ message }) => message),
      items,
    );
    socket.cut();
  }));

test("any string is a ref, and comes back as it was", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const socket = await openReady("ws", ann, { discussionId: discussion.id });
    const refs = [
      "",
      "0",
      "null",
      'a\n\t"\\\u0000\u2028',
      "é🙂".repeat(20),
      "r".repeat(65),
      "é🙂".repeat(2_000),
    ];
    for (const ref of refs) {
      assert.deepEqual(await ask(socket, { type: "ping", ref }), { type: "pong", ref });
      const ack = await ask(socket, { type: "message.send", ref, content: "x" });
      assert.equal(ack.type, "ack");
      assert.equal(ack.ref, ref);
      assertRefused(await ask(socket, { type: "message.send", ref }), ref, "invalid_request");
    }
    assert.equal((await ask(socket, { type: "ping" })).type, "pong");
    // Where the header of a frame changes its form.
    const empty = JSON.stringify({ type: "pong", ref: "" }).length;
    for (const length of [125, 126, 127, 65_535, 65_536]) {
      const ref = "r".repeat(length - empty);
      assert.deepEqual(await ask(socket, { type: "ping", ref }), { type: "pong", ref });
    }
    socket.cut();
  }));

test("the same client_id stores a message once, whoever asks for how often", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const socket = await openReady("ws", ann);
    const frame = { type: "message.send", discussion_id: discussion.id, content: "once", client_id: "c1" };
    for (const ref of ["1", "2", "3"]) socket.send({ ...frame, ref });
    await heard(socket, "ack", 3);
    const acks = ofType(socket, "ack");
    assert.deepEqual(
      acks.map(({ ref }) => ref),
      ["1", "2", "3"],
    );
    const again = await ann.send(discussion.id, "once", { client_id: "c1" });
    for (const { message } of acks) assert.deepEqual(message, again);
    const other = await ask(socket, { ...frame, ref: "4", content: "another" });
    assertRefused(other, "4", "client_id_reused");
    await ann.send(discussion.id, "the end");
    await heardMessage(socket, "the end");
    assert.deepEqual(contentsOf(socket), ["once", "the end"]);
    socket.cut();
  }));

test("a frame that is refused is answered with its ref, and the socket stays open", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const own = await createDirect(ann, ann);
    const hidden = await createGroup(bob, "hidden", []);
    const open = await createGroup(bob, "open", [], { visibility: "public" });
    const socket = await openReady("ws", ann);
    const send = { type: "message.send", ref: "r", discussion_id: own.id, content: "x" };
    const refused: [string, Record<string, unknown>][] = [
      ["invalid_request", { ref: "r", type: "message.sned" }],
      ["invalid_request", { ref: "r" }],
      ["invalid_request", { ref: "r", type: 7 }],
      ["invalid_request", { ref: "r", type: "ping", extra: true }],
      ["invalid_request", { ...send, content: "" }],
      ["invalid_request", { ...send, content: "x".repeat(16_001) }],
      ["invalid_request", { ...send, content: 7 }],
      ["invalid_request", { ...send, content: "\ud800" }],
      ["invalid_request", { ...send, content: "a\0b" }],
      ["invalid_request", { ...send, client_id: "" }],
      ["invalid_request", { ...send, client_id: "c".repeat(65) }],
      ["invalid_request", { ...send, unknown: 1 }],
      ["invalid_request", { ...send, reply_to_seq: 0 }],
      ["invalid_request", { ...send, reply_to_seq: 1.5 }],
      ["invalid_request", { ...send, discussion_id: "nonsense" }],
      ["invalid_request", { ...send, discussion_id: undefined }],
      ["reply_not_found", { ...send, reply_to_seq: 99 }],
      ["discussion_not_found", { ...send, discussion_id: hidden.id }],
      ["discussion_not_found", { ...send, discussion_id: "01900000-0000-7000-8000-000000000000" }],
      ["not_a_member", { ...send, discussion_id: open.id }],
    ];
    for (const [code, frame] of refused) assertRefused(await ask(socket, frame), "r", code);
    assertRefused(await ask(socket, { ...send, ref: 7 }), undefined, "invalid_request");
    for (const json of ["null", "7", '"ping"', "[]", "{}", '{"__proto__":{"type":"ping"}}'])
      assertRefused(await ask(socket, json), undefined, "invalid_request");
    assert.equal((await ask(socket, send)).type, "ack");
    await heard(socket, "message.new");
    assert.deepEqual(contentsOf(socket), ["x"]);
    socket.cut();
  }));

test("what is no JSON, or binary, ends the socket with 4500, and a frame over 64 KiB with 1009", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    for (const text of ["", "nonsense", "{", '{"type":"ping"} x']) {
      const socket = await openReady("ws", ann);
      socket.send(text);
      await endedWith(socket, 4500);
    }
    const frame = JSON.stringify({ type: "message.send", ref: "r", content: "exactly" });
    const closeCodeOf = (data: string | Buffer) =>
      new Promise<number>((resolve, reject) => {
        const address = `${t.url.replace("http", "ws")}/api/v1/ws`;
        const socket = new WebSocket(address, bearer(ann));
        socket.on("open", () => socket.send(data)).on("close", resolve);
        socket.on("error", reject);
      });
    assert.equal(await closeCodeOf(Buffer.from(frame)), 4500);
    assert.equal(await closeCodeOf(Buffer.alloc(0)), 4500);
    assert.equal(await closeCodeOf(frame.padEnd(65_537)), 1009);
    assert.equal(await closeCodeOf(`"${"é".repeat(40_000)}"`), 1009);
    const socket = await openReady("ws", ann, { discussionId: discussion.id });
    assert.equal((await ask(socket, frame.padEnd(65_536))).message.content, "exactly");
    socket.cut();
  }));

test("a discussion may be left out on its own socket, and must be named on the one of all", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const one = await openReady("ws", ann, { discussionId: discussion.id });
    const whole = await openReady("ws", ann);
    assert.equal((await ask(one, { type: "message.send", content: "left out" })).type, "ack");
    const named = { type: "message.send", discussion_id: discussion.id, content: "named" };
    assert.equal((await ask(one, named)).type, "ack");
    assert.equal((await ask(whole, named)).message.discussion_id, discussion.id);
    assertRefused(await ask(whole, { ...named, ref: "r", discussion_id: undefined }), "r", "invalid_request");
    for (const socket of [one, whole]) {
      await heard(socket, "message.new", 3);
      socket.cut();
    }
  }));

/** Frames of all sorts, of which some are refused and some have to wait for others. */
const assortedFrames = Array.from({ length: 200 }, (_, i): Json => {
  const ref = String(i);
  if (i % 7 === 3) return { type: "ping", ref };
  if (i % 11 === 5) return { type: "message.send", ref };
  if (i % 13 === 6) return { type: "message.send", ref, content: "no reply", reply_to_seq: 10_000 };
  // In one batch the second of these has to wait for the first.
  if (i % 17 === 0) return { type: "message.send", ref, content: "same", client_id: "same" };
  return { type: "message.send", ref, content: `frame ${i}` };
});

for (const burst of [200, 23, 5]) {
  test(`200 frames sent in bursts of ${burst} are carried out and answered in their order`, () =>
    withServer(async (t) => {
      const ann = await register(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      const socket = await openReady("ws", ann, { discussionId: discussion.id });
      const answers = () => socket.received.filter(({ ref }) => ref !== undefined);
      for (const [i, frame] of assortedFrames.entries()) {
        // The next burst comes while the last one is being carried out.
        if (i % burst === 0) await socket.until(() => answers().length > i - burst);
        socket.send(frame);
      }
      await socket.until(() => answers().length === assortedFrames.length);
      assert.deepEqual(
        answers().map(({ ref }) => ref),
        assortedFrames.map(({ ref }) => ref),
      );
      for (const [i, { type, message }] of answers().entries()) {
        const { content, reply_to_seq, type: sent } = assortedFrames[i];
        const refused = sent !== "ping" && (!content || reply_to_seq);
        assert.equal(type, sent === "ping" ? "pong" : refused ? "error" : "ack", `answer ${i}`);
        if (type === "ack") assert.equal(message.content, content);
      }
      const seqs = answers()
        .filter(({ type, message }) => type === "ack" && message.client_id === null)
        .map(({ message }) => message.seq);
      const rising = [...seqs].sort((a, b) => a - b);
      assert.deepEqual(seqs, rising);
      socket.cut();
    }));
}

test("an upgrade that is refused answers plain HTTP with a problem and the request's id", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const hidden = await createGroup(bob, "hidden", []);
    const open = await createGroup(bob, "open", [], { visibility: "public" });
    const refused: [string, number, string, Client | null][] = [
      ["/ws", 401, "unauthenticated", null],
      [`/discussions/${hidden.id}/ws`, 401, "unauthenticated", null],
      [`/discussions/${hidden.id}/ws`, 404, "discussion_not_found", ann],
      [`/discussions/${open.id}/ws`, 403, "not_a_member", ann],
      ["/wss", 404, "not_found", ann],
      ["/events", 404, "not_found", ann],
    ];
    for (const [path, status, code, client] of refused) {
      const id = { "x-request-id": "asked.by-test" };
      const answer = await openRaw("ws", t.url, path, client ? bearer(client, id) : { headers: id });
      assertProblem(answer, status, code);
      assert.equal(answer.headers.get("x-request-id"), "asked.by-test");
    }
  }));

test("an upgrade by cookie needs an allowed origin; one by Bearer token or ticket needs none", () =>
  withServer(
    async (t) => {
      const ann = await register(t.url, "ann");
      const body = { username: "ann", password, cookie: true };
      const { headers } = await ann.call("POST", "/auth/login", body);
      const cookie = headers.get("set-cookie")?.split(";")[0] ?? "";
      const statusOf = async (more: Record<string, string>, query = "") => {
        const answer = await openRaw("ws", t.url, `/ws${query}`, { headers: more });
        if (answer.status === 403) assertProblem(answer, 403, "origin_not_allowed");
        answer.cut();
        return answer.status;
      };
      const { port } = new URL(t.url);
      assert.equal(await statusOf({ cookie }), 403, "without an origin");
      const foreign = ["null", "https://evil.example", "https://chat.example.evil.example", ""];
      foreign.push("https://evilchat.example", "https://sub.chat.example", "http://chat.example");
      foreign.push("https://chat.example:8443", "https://chat.example.", "chat.example");
      foreign.push(`https://localhost:${port}`, `http://localhost:${Number(port) ^ 1}`, "http://localhost");
      foreign.push(`http://localhost:${port}.evil.example`, `http://evil@localhost:${port}`);
      foreign.push(`http://127.0.0.1:${port}`, "https://chat.example, https://evil.example");
      for (const origin of foreign) assert.equal(await statusOf({ cookie, origin }), 403, origin);
      for (const origin of [t.url, "https://chat.example"])
        assert.equal(await statusOf({ cookie, origin }), 101, origin);
      const origin = "https://evil.example";
      assert.equal(await statusOf({ origin, authorization: `Bearer ${ann.token}` }), 101);
      const { ticket } = await ann.ok("POST", "/auth/tickets");
      assert.equal(await statusOf({ origin }, `?ticket=${ticket}`), 101);
    },
    { ALLOWED_ORIGINS: "https://chat.example" },
  ));

test("strange handshakes and connections reset during the upgrade do no harm", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const strange: Record<string, string>[] = [
      { "sec-websocket-protocol": "chat, superchat" },
      { "sec-websocket-protocol": ",,, ;" },
      { "sec-websocket-protocol": "a".repeat(4_000) },
      { "sec-websocket-extensions": "permessage-deflate; client_max_window_bits" },
      { "sec-websocket-extensions": "=;,=" },
      { "sec-websocket-version": "12" },
      { "sec-websocket-key": "short" },
      { upgrade: "h2c" },
    ];
    for (const headers of strange) {
      const answer = await openRaw("ws", t.url, "/ws", bearer(ann, headers)).catch(() => undefined);
      answer?.cut();
    }
    const protocols = await openRaw("ws", t.url, "/ws", bearer(ann, strange[0]));
    assert.equal(protocols.status, 101);
    protocols.cut();
    const { port } = new URL(t.url);
    const reset = Array.from({ length: 20 }, () => resetDuringUpgrade(Number(port), ann.token));
    await Promise.all(reset);
    const socket = await openReady("ws", ann);
    assert.equal((await ask(socket, { type: "ping", ref: "alive" })).ref, "alive");
    socket.cut();
  }));

function resetDuringUpgrade(port: number, token: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "localhost", () => {
      const lines = ["GET /api/v1/ws HTTP/1.1", "Host: localhost", `Authorization: Bearer ${token}`];
      lines.push("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13");
      lines.push("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", "");
      socket.write(lines.join("\r\n"), () => socket.resetAndDestroy());
    });
    socket.on("close", () => resolve()).on("error", reject);
  });
}

test("the address of a socket answers a plain GET with 426", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    for (const path of ["/ws", `/discussions/${discussion.id}/ws`]) {
      assertProblem(await ann.call("GET", path), 426, "upgrade_required");
      assertProblem(await ann.call("POST", path), 405, "method_not_allowed");
    }
  }));

test("pings of the client are answered between events, and break no frame", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const socket = new WebSocket(`${t.url.replace("http", "ws")}/api/v1/ws`, bearer(ann));
    const received: Json[] = [];
    const pongs: string[] = [];
    socket.on("message", (data) => received.push(JSON.parse(String(data))));
    socket.on("pong", (data) => pongs.push(String(data)));
    await eventually(() => assert.equal(received[0]?.type, "ready"));
    const sent = Array.from({ length: 200 }, (_, i) => {
      socket.ping(String(i));
      return ann.send(discussion.id, `${i}`.repeat(1 + (i % 100)));
    });
    await Promise.all(sent);
    await eventually(() => assert.equal(received.length, 201));
    await eventually(() => assert.equal(pongs.length, 200));
    assert.deepEqual(
      pongs,
      sent.map((_, i) => String(i)),
    );
    socket.terminate();
  }));

test("a socket that is cut without a word is opened again by its client as if nothing had been", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const sending = await openTestStream("ws", ann, { discussionId: discussion.id });
    const frame = { type: "message.send", content: "sent twice", client_id: "kept" };
    sending.send(frame);
    sending.cut();
    const again = await openReady("ws", ann, { discussionId: discussion.id, since: discussion.cursor });
    const ack = await ask(again, frame);
    assert.equal(ack.message.seq, 1);
    await heard(again, "message.new");
    await ann.send(discussion.id, "the end");
    await heardMessage(again, "the end");
    assert.deepEqual(contentsOf(again), ["sent twice", "the end"]);
    again.cut();
  }));

test.run();
