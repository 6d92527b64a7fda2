// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, type Client, register } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import { testContract } from "./contract.ts";
import { createDirect, createGroup, eventsOf, heardMessage, openReady } from "./help.ts";
import { openRaw } from "./raw.ts";

testContract("sse");

const bearer = (client: Client, more: Record<string, string> = {}) => ({
  headers: { authorization: `Bearer ${client.token}`, ...more },
});

/** Whether the replay is over, and its last block came whole. */
const isReady = (text: string) => /^event: ready\n[\s\S]*?\n\n/m.test(text);

/** The blocks of an event stream as lists of lines, comments left out. */
function blocksOf(text: string): string[][] {
  assert.ok(!text.includes("\r"), "lines end with LF alone");
  const blocks = text.split("\n\n").slice(0, -1);
  return blocks.map((block) => block.split("\n").filter((line) => !line.startsWith(":")));
}

/** The fields of one block; a field may come once. */
function fieldsOf(lines: string[] = []): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const line of lines) {
    const [, name = "", value = ""] = /^([a-z]+): ?(.*)$/.exec(line) ?? assert.fail(`not a field: ${line}`);
    assert.ok(!(name in fields), `${name} comes twice`);
    fields[name] = value;
  }
  return fields;
}

test("the bytes are retry, then for each event its type, its cursor as id and its JSON in one line", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    await ann.send(discussion.id, "replayed");
    const stream = await openRaw("sse", t.url, `/events?since=${discussion.cursor}`, bearer(ann));
    assert.equal(stream.status, 200);
    await stream.until(isReady);
    await ann.send(discussion.id, "live");
    await stream.until((text) => /"content":"live".*\n\n/.test(text));
    const [retry, ...rest] = blocksOf(stream.text()).map(fieldsOf);
    assert.deepEqual(retry, { retry: "2000" });
    assert.deepEqual(
      rest.map(({ event }) => event),
      ["message.new", "ready", "message.new"],
    );
    for (const { event, id, data, ...more } of rest) {
      const json = JSON.parse(data ?? "");
      assert.equal(json.type, event);
      assert.equal(json.cursor, id);
      assert.deepEqual(more, {});
    }
    stream.cut();
  }));

test("reset comes with its cursor as id, so that a browser resumes from it", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const stream = await openRaw("sse", t.url, "/events?since=0ther.1", bearer(ann));
    await stream.until(isReady);
    const { event, id, data } = fieldsOf(blocksOf(stream.text())[1]);
    assert.equal(event, "reset");
    assert.equal(JSON.parse(data ?? "").cursor, id);
    stream.cut();
  }));

test("Last-Event-ID wins over since, and serves alone", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    await ann.send(discussion.id, "first");
    const { cursor } = await ann.ok("GET", "/discussions");
    await ann.send(discussion.id, "second");
    const addresses = [`since=${discussion.cursor}`, "since=0ther.1", ""].map((query) => `/events?${query}`);
    for (const path of [...addresses, `/discussions/${discussion.id}/events?since=${discussion.cursor}`]) {
      const stream = await openRaw("sse", t.url, path, bearer(ann, { "last-event-id": cursor }));
      await stream.until(isReady);
      const types = blocksOf(stream.text())
        .slice(1)
        .map((lines) => fieldsOf(lines).event);
      assert.deepEqual(types, ["message.new", "ready"], `${path}: ${stream.text()}`);
      assert.ok(stream.text().includes('"content":"second"'));
      stream.cut();
    }
    const malformed = await openRaw("sse", t.url, "/events", bearer(ann, { "last-event-id": "nonsense" }));
    assertProblem(malformed, 400, "invalid_request");
  }));

test("contents with line breaks and lines that look like fields come as one identical event", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const contents = [
      "a\nb\r\nc\rd",
      "\n\ndata: {}\n\nevent: message.new\nid: 0ther.1\nretry: 1\n\n",
      "\u2028\u2029\u0085\v\f\u001c",
      ":\n:comment\n",
      "\ufeffdata:\tx\t\b\u0001\u007f\\n\\u000a\"'</script>",
      "👩‍👩‍👧‍👦 \u{10ffff} \u202e",
    ];
    const stream = await openReady("sse", ann);
    const raw = await openRaw("sse", t.url, "/events", bearer(ann));
    await raw.until(isReady);
    const sent = [];
    for (const content of contents) sent.push(await ann.send(discussion.id, content));
    await ann.send(discussion.id, "the end");
    await heardMessage(stream, "the end");
    await raw.until((text) => /"content":"the end".*\n\n/.test(text));
    const messages = eventsOf(stream).map(({ message }) => message);
    assert.deepEqual(messages.slice(0, -1), sent);
    assert.deepEqual(
      messages.slice(0, -1).map(({ content }) => content),
      contents,
    );
    // Its retry, its ready, and one block for each message.
    assert.equal(blocksOf(raw.text()).length, 2 + messages.length);
    for (const each of [stream, raw]) each.cut();
  }));

test("a stream ends with a closed event of code and reason, without an id", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const group = await createGroup(ann, "group", [bob]);
    const one = await openRaw("sse", t.url, `/discussions/${group.id}/events`, bearer(bob));
    const whole = await openRaw("sse", t.url, "/events", bearer(bob));
    await ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`);
    await one.until(() => one.hasEnded());
    await bob.ok("POST", "/auth/logout");
    await whole.until(() => whole.hasEnded());
    for (const [stream, code] of [[one, 4503] as const, [whole, 4502] as const]) {
      const { event, data, ...more } = fieldsOf(blocksOf(stream.text()).at(-1));
      assert.equal(event, "closed");
      const json = JSON.parse(data ?? "");
      assert.equal(json.code, code);
      assert.equal(typeof json.reason, "string");
      assert.deepEqual(more, {});
      assert.equal(stream.text().match(/event: closed/g)?.length, 1);
    }
  }));

test("neither caches nor proxies may hold the stream back", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const stream = await openRaw("sse", t.url, "/events", bearer(ann, { "x-request-id": "asked.by-test" }));
    assert.match(stream.headers.get("content-type") ?? "", /^text\/event-stream\b/);
    assert.match(stream.headers.get("cache-control") ?? "", /no-cache|no-store/);
    assert.match(stream.headers.get("cache-control") ?? "", /no-transform/);
    assert.equal(stream.headers.get("x-accel-buffering"), "no");
    assert.equal(stream.headers.get("content-length"), null);
    assert.equal(stream.headers.get("content-encoding"), null);
    assert.equal(stream.headers.get("x-request-id"), "asked.by-test");
    stream.cut();
  }));

test("a stream answers GET alone", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    for (const path of ["/events", `/discussions/${discussion.id}/events`]) {
      for (const method of ["HEAD", "POST", "PUT", "DELETE"]) {
        const answer = await openRaw("sse", t.url, path, { method, ...bearer(ann) });
        assert.equal(answer.status, 405, `${method} ${path}`);
        assert.match(answer.headers.get("allow") ?? "", /\bGET\b/);
        if (method === "HEAD") assert.equal(answer.body, null);
        else assertProblem(answer, 405, "method_not_allowed");
      }
    }
  }));

test("clients that go away while their streams are being opened leave nothing behind", () =>
  withServer(async (t) => {
    const instance = await t.another();
    const ann = await register(instance.url, "ann");
    const discussion = await createDirect(ann, ann);
    const aborted = Array.from({ length: 100 }, async (_, i) => {
      const abort = new AbortController();
      const asked = fetch(`${instance.url}/api/v1/events`, { ...bearer(ann), signal: abort.signal });
      setTimeout(() => abort.abort(), i / 2);
      await asked.then(({ body }) => body?.cancel()).catch(() => {});
    });
    await Promise.all(aborted);
    const stream = await openReady("sse", ann);
    for (let i = 0; i < 20; i++) await ann.send(discussion.id, `still ${i}`);
    await heardMessage(stream, "still 19");
    assert.equal(eventsOf(stream).length, 20);
    stream.cut();
    // Streams are sent away in batches over three seconds: an instance without any has none to send.
    const startedAt = performance.now();
    await instance.close();
    assert.ok(performance.now() - startedAt < 1_000, "it held streams that nobody reads");
  }));

test.run();
