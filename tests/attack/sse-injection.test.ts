// time limit: 240 s
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "uvu";
import { cleanName } from "../../server/api/uploads.ts";
import { ask, createRoom, env, history, kinds, replays, upload } from "../chat/help.ts";
import { eventsOf, heard, heardMessage, openReady } from "../delivery/help.ts";
import { openRaw, streamPath } from "../delivery/raw.ts";
import { assertRefused, type Client, type Json, register } from "../support/client.ts";
import { download } from "../support/files.ts";
import { withProgram } from "../support/process.ts";
import { eventually, withServer } from "../support/server.ts";
import type { TestStream } from "../support/streams.ts";
import { refusedTexts, sqlTexts, wireTexts } from "./texts.ts";

// Whatever people write, it goes out as one event, and the same one everywhere: live, from an instance's
// memory, from the table, on either kind of stream, and in history.

/** Around what fits into one NOTIFY, by itself and once it is escaped. */
const long = [
  "\n".repeat(3_900),
  "\t".repeat(8_000),
  "data: x\r\n".repeat(1_000),
  "\u2028".repeat(7_990),
  "\u0001".repeat(5_000),
  "x".repeat(7_400),
  "x".repeat(7_900),
  "🦀".repeat(16_000),
];
const texts = [...wireTexts, ...sqlTexts, ...long];

test("every text that can be written comes out as one event, the same in history, live and in a replay", () =>
  withServer(async (t) => {
    const { ann, bob, id, cursor } = await createRoom(t.url);
    const listening = await Promise.all(kinds.map((kind) => openReady(kind, bob, { since: cursor })));
    const socket = await openReady("ws", ann, { discussionId: id });
    const headers = { authorization: `Bearer ${bob.token}` };
    const raw = await openRaw("sse", t.url, `${streamPath("sse")}?since=${cursor}`, { headers });
    const names = await writeAll(ann, socket, id);
    await ann.send(id, "the last");
    for (const stream of [...listening, socket]) await heardMessage(stream, "the last");
    await raw.until((text) => /"content":"the last".*\n\n/.test(text), 30_000);

    const stored = await history(bob, id);
    assert.deepEqual(
      stored.slice(0, texts.length).map(({ content }) => content),
      texts,
    );
    const [live = [], bySocket] = listening.map((stream) => eventsOf(stream));
    assert.deepEqual(bySocket, live, "both kinds of streams tell the same");
    assert.deepEqual(
      eventsOf(socket),
      live.filter(({ discussion_id }) => discussion_id === id).slice(-names.since),
    );
    for (const { name, events } of await replays(t, bob, cursor))
      assert.deepEqual(
        events,
        live.map((event) => asNow(event, stored)),
        name,
      );
    const told = live.filter(({ type }) => type === "message.new").map(({ message }) => message);
    for (const message of told)
      assert.deepEqual(asNow({ message }, stored).message, { ...stored[message.seq - 1], reactions: [] });
    assert.deepEqual(
      live.filter(({ type }) => type === "discussion.updated").map(({ discussion }) => discussion.name),
      names.discussion,
    );
    assert.deepEqual(
      live.filter(({ type }) => type === "message.updated").map(({ message }) => message.content),
      names.edits,
    );
    assertOneEventEach(raw.text(), live);
    for (const stream of [...listening, socket, raw]) stream.cut();
  }, env));

test("what cannot be stored is refused everywhere and heard by nobody", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createRoom(t.url);
    const stream = await openReady("sse", bob);
    const socket = await openReady("ws", ann, { discussionId: id });
    for (const text of refusedTexts) {
      for (const [method, where, body] of [
        ["POST", `${path}/messages`, { content: text }],
        ["POST", `${path}/messages`, { content: "x", client_id: text }],
        ["PATCH", path, { name: text }],
        ["PATCH", "/users/me", { display_name: text }],
        ["PATCH", "/users/me", { status_text: text }],
      ] as const)
        assertRefused(await ann.call(method, where, body), [400]);
      for (const frame of [{ content: text }, { content: "x", client_id: text }])
        assert.equal((await ask(socket, { type: "message.send", ...frame })).code, "invalid_request");
      // Of the answer alone, so it may be any text.
      socket.send({ type: "ping", ref: `ref ${text}` });
      await socket.until((received) => received.some(({ ref }) => ref === `ref ${text}`));
    }
    for (const text of wireTexts) {
      for (const username of [text, `ann${text}`, `${text}ann`].filter(
        (name) => !/^[\w.-]{3,32}$/.test(name),
      ))
        assertRefused(await ann.call("POST", "/auth/register", { username, password: "x".repeat(9) }), [400]);
      const emoji = encodeURIComponent(text);
      assertRefused(await ann.call("PUT", `${path}/messages/1/reactions/${emoji}`), [400]);
    }
    await ann.send(id, "the first");
    await heardMessage(stream, "the first");
    const heard = eventsOf(stream).map(({ type }) => type);
    assert.deepEqual(heard, ["message.new"]);
    for (const one of [stream, socket]) one.cut();
  }, env));

test("nothing in an address or a header adds a line to a stream's head, its events or a problem", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const forged = "\r\n\r\ndata: forged\r\n\r\n";
    const headers = { authorization: `Bearer ${ann.token}` };
    for (const kind of kinds)
      for (const since of [forged, `0.0${forged}`, "0.0\n", "\n0.0", "0.0\u2028", "0.0\u0000"]) {
        const path = `${streamPath(kind)}?since=${encodeURIComponent(since)}`;
        const refused = await openRaw(kind, t.url, path, { headers });
        assert.equal(refused.status, 400, path);
        assert.equal(refused.headers.get("x-content-type-options"), "nosniff");
        assert.doesNotMatch(JSON.stringify(refused.body), /forged/);
      }
    const authorization = `authorization: ${headers.authorization}`;
    for (const id of ["0.0\r\n data: x", "0.0\ndata: x", "0.0\rdata: x", "0.0 x", "\u0085"]) {
      const head = await headOf(t.url, "GET /api/v1/events HTTP/1.1", authorization, `last-event-id: ${id}`);
      assert.match(head, /^(HTTP\/1.1 400|$)/, JSON.stringify(id));
      assert.doesNotMatch(head, /data:/);
    }
    const sane = "a.B:9-_".repeat(9);
    for (const [given, echoed] of [
      ["x\r\ninjected: yes", "x"],
      ["x\r\n injected: yes", null],
      ["x\ninjected: yes", null],
      ["x\rinjected: yes", null],
      ["x\u0085injected: yes", null],
      ["x y", null],
      ['x"}', null],
      ["<b>", null],
      ["x".repeat(65), null],
      [sane, sane],
    ] as const)
      for (const path of ["/healthz", "/api/v1/users/me", "/api/v1/events", "/nowhere"]) {
        const head = await headOf(t.url, `GET ${path} HTTP/1.1`, `x-request-id: ${given}`);
        const echo = /^x-request-id: (.*)$/im.exec(head)?.[1] ?? null;
        if (echoed === null) assert.notEqual(echo?.slice(0, 2), given.slice(0, 2), `${path} ${given}`);
        else assert.equal(echo, echoed, path);
        assert.doesNotMatch(head, /^ *injected/im, `${path} ${given}`);
      }
  }, env));

test("nothing in a file's name adds a header, and nothing in it can hide or turn what follows", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createRoom(t.url);
    for (const text of [...wireTexts, ...sqlTexts.slice(0, 60)].filter((text) => !/["\r\n]/.test(text))) {
      const { body: file } = await upload(ann, `${text}.txt`, "the text");
      assert.equal(file.name, cleanName(`${text}.txt`), text);
      assert.doesNotMatch(file.name, /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069/\\]/u, text);
      const message = await ann.send(id, "", { attachment_ids: [file.id] });
      assert.deepEqual(message.attachments, [file]);
      const got = await download(bob, file.url);
      assert.equal(got.bytes.toString(), "the text");
      const disposition = got.headers.get("content-disposition") ?? "";
      assert.match(disposition, /^attachment; filename(="|\*=UTF-8''|=)[\x20-\x7e]*$/, text);
      const encoded = /filename\*=UTF-8''(.*)$/.exec(disposition)?.[1];
      if (encoded) assert.equal(decodeURIComponent(encoded), file.name, disposition);
      assert.deepEqual(
        [...got.headers.keys()].filter((name) => /inject|cookie/.test(name)),
        [],
      );
    }
  }, env));

test("each line of the log is one that the server wrote", () =>
  withProgram({ LOG_LEVEL: "trace" }, async (program) => {
    const forged = '{"level":60,"msg":"forged"}';
    const asked: string[] = [];
    for (const text of ["\n", "\r\n", "\u2028", "\u0085", "\u0000", '"', '"}\n{"', "\u001b[2J"])
      for (const path of ["/x", "/api/v1/users/", "/api/v1/discussions/"]) {
        asked.push(path + encodeURIComponent(text + forged));
        await fetch(program.url + asked.at(-1), { headers: { "x-request-id": "a b", "user-agent": "x" } });
      }
    const malformed = [`GET /x${forged} HTTP/1.1`, "GET /\u001b[2J HTTP/1.1", "GET /\u2028 HTTP/1.1"];
    for (const line of malformed)
      await headOf(program.url, line, `x-request-id: ${forged}`, "x-forwarded-for: \u001b[2J");
    const requests = () => program.lines().filter((line) => line.includes('"msg":"request"'));
    await eventually(() => assert.equal(requests().length, asked.length + malformed.length));
    assert.equal(requests().filter((line) => line.includes("forged")).length, asked.length);
    for (const line of program.lines()) {
      assert.notEqual(JSON.parse(line).msg, "forged", line);
      // Neither what ends lines elsewhere nor what steers a terminal.
      assert.match(line, /^[\x20-\x7e]*$/);
    }
  }));

test.run();

/** Sends all texts, half of them by frames; renames, edits and attaches. Gives what was written where. */
async function writeAll(ann: Client, socket: TestStream, id: string) {
  for (const [index, content] of texts.entries()) {
    const client_id = content.length <= 60 ? `${index}${content}`.slice(0, 64) : null;
    const isFrame = index % 2 === 1 && JSON.stringify(content).length < 60_000;
    const answer = isFrame
      ? (await ask(socket, { type: "message.send", content, client_id })).message
      : await ann.send(id, content, { client_id });
    assert.deepEqual([answer.seq, answer.content, answer.client_id], [index + 1, content, client_id]);
  }
  const names = texts.filter((text) => text.length <= 100 && text.trim() !== "");
  for (const name of names) await ann.ok("PATCH", `/discussions/${id}`, { name });
  const edits = [...wireTexts, ...long];
  const { seq } = await ann.send(id, "to be edited");
  await ann.ok("PUT", `/discussions/${id}/messages/${seq}/reactions/${encodeURIComponent("👩‍🚀")}`);
  for (const [index, content] of edits.entries()) {
    await ann.ok("PATCH", `/discussions/${id}/messages/${seq}`, { content });
    // One too long for a NOTIFY is read from the table, where the next edit may stand already.
    await heard(socket, "message.updated", index + 1);
  }
  for (const name of wireTexts) {
    const { body } = await upload(ann, name, "x");
    await ann.send(id, "", { attachment_ids: [body.id] });
  }
  return {
    discussion: names,
    edits,
    since: texts.length + names.length + edits.length + wireTexts.length + 3,
  };
}

/** An event as a later replay tells it: its message as it is now, with the reactions of that time. */
function asNow(event: Json, stored: readonly Json[]): Json {
  if (!event.message) return event;
  return { ...event, message: { ...stored[event.message.seq - 1], reactions: event.message.reactions } };
}

/** By the rules of the HTML standard what came is just these events, each with one line of data. */
function assertOneEventEach(text: string, events: readonly Json[]): void {
  const came = text.split(/(?:\r\n|\r|\n){2}/).map((block) => block.split(/\r\n|\r|\n/));
  const durable = came.filter(
    (lines) => lines.some((line) => /^id: /.test(line)) && !lines.includes("event: ready"),
  );
  assert.deepEqual(
    durable.slice(0, events.length).map((lines) => lines.map((line) => line.slice(0, line.indexOf(": ")))),
    events.map(() => ["event", "id", "data"]),
  );
  for (const [index, [type, id, data = ""]] of durable.slice(0, events.length).entries()) {
    const event = events[index];
    assert.deepEqual(
      [type, id, JSON.parse(data.slice(6))],
      [`event: ${event.type}`, `id: ${event.cursor}`, event],
    );
  }
}

/**
 * The head of the answer to a request as it is written; empty if the server hung up before it was read, as it
 * may where it cannot read the request.
 */
function headOf(url: string, line: string, ...headers: string[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    let text = "";
    socket.setEncoding("latin1").on("data", (more) => {
      text += more;
      if (text.includes("\r\n\r\n")) socket.destroy();
    });
    socket.on("error", () => {}).on("close", () => resolve(text.split("\r\n\r\n")[0] ?? ""));
    socket.write([line, "host: localhost", "connection: close", ...headers, "", ""].join("\r\n"));
  });
}
