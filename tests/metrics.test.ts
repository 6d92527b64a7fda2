import assert from "node:assert/strict";
import { get } from "node:http";
import { test } from "uvu";
import { Tally } from "../server/tally.ts";
import { Client, register } from "./support/client.ts";
import { withProgram } from "./support/process.ts";
import { eventually, withServer } from "./support/server.ts";
import { openTestStream } from "./support/streams.ts";

test("a tally counts each value once, up to its bound", () => {
  const tally = new Tally([1, 10]);
  for (const value of [0.5, 1, 1.5, 10, 11, 1_000]) tally.add(value);
  assert.deepEqual(tally.counts, [2, 2, 2]);
  assert.equal(tally.sum, 1_024);
});

test("requests are counted by route, method and status, and never by path", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann.of.metrics");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    await ann.send(id, "one");
    await ann.send(id, "two", { client_id: "2" });
    await ann.send(id, "two", { client_id: "2" });
    await ann.call("GET", `/users/${ann.user.id}`);
    await ann.call("GET", "/users/0198c0de-0000-7000-8000-000000000000");
    await ann.call("GET", "/no/such/path/ann.of.metrics");
    await ann.call("DELETE", "/users");
    const metrics = await scrape(t.url);
    const requests = (route: string, method: string, status: number) =>
      metrics.value("parley_http_request_duration_seconds_count", { route, method, status: `${status}` });
    const send = "/api/v1/discussions/:id/messages";
    assert.equal(requests("/api/v1/auth/register", "POST", 201), 1);
    assert.equal(requests(send, "POST", 201), 2);
    assert.equal(requests(send, "POST", 200), 1);
    assert.equal(requests("/api/v1/users/:id", "GET", 200), 1);
    assert.equal(requests("/api/v1/users/:id", "GET", 404), 1);
    assert.equal(requests("none", "GET", 404), 1);
    assert.equal(requests("/api/v1/users", "DELETE", 405), 1);
    assert.equal(metrics.value("parley_sends_total", { result: "created" }), 2);
    assert.equal(metrics.value("parley_sends_total", { result: "stored" }), 1);
    assert.equal(metrics.value("parley_send_batch_messages_sum"), 3);
    assert.equal(
      metrics.value("parley_http_request_duration_seconds_bucket", {
        route: send,
        method: "POST",
        status: "201",
        le: "+Inf",
      }),
      2,
    );
    for (const name of ["ann.of.metrics", ann.user.id, id]) assert.ok(!metrics.text.includes(name), name);
  }));

test("streams, the log, the pool and the process are shown as they are", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const socket = await openTestStream("ws", ann);
    const events = await openTestStream("sse", ann, { discussionId: id });
    for (const stream of [socket, events]) {
      await stream.until((received) => received.some(({ type }) => type === "ready"));
    }
    const before = await scrape(t.url);
    assert.equal(before.value("parley_streams_open", { format: "sse" }), 1);
    assert.equal(before.value("parley_streams_open", { format: "websocket" }), 1);
    await ann.send(id, "hello");
    for (const stream of [socket, events]) {
      await stream.until((received) => received.some(({ type }) => type === "message.new"));
    }
    socket.send("this is not JSON");
    events.cut();
    await eventually(async () => {
      const after = await scrape(t.url);
      assert.equal(after.value("parley_streams_open", { format: "sse" }), 0);
      assert.equal(after.value("parley_streams_open", { format: "websocket" }), 0);
      assert.equal(after.value("parley_streams_ended_total", { reason: "bad_frame" }), 1);
      assert.equal(after.value("parley_streams_ended_total", { reason: "gone" }), 1);
      const upgraded = { route: "/api/v1/ws", method: "GET", status: "101" };
      assert.equal(after.value("parley_http_request_duration_seconds_count", upgraded), 1);
      const position = "parley_log_position";
      assert.equal(Number(after.value(position)) - Number(before.value(position)), 1);
      assert.equal(
        Number(after.value("parley_events_shown_total")) - Number(before.value("parley_events_shown_total")),
        2,
      );
      assert.equal(after.value("parley_log_behind"), 0);
      assert.equal(after.value("parley_listener_connected"), 1);
      assert.equal(after.value("parley_caught_up"), 1);
      assert.equal(after.value("parley_pool_waiting"), 0);
      assert.ok(Number(after.value("parley_pool_connections", { state: "idle" })) >= 1);
      assert.ok(Number(after.value("process_resident_memory_bytes")) > 1_000_000);
      assert.ok(Number(after.value("process_start_time_seconds")) > 1_700_000_000);
    });
  }));

test("refusals by rate limits are counted by class", () =>
  withServer(async (t) => {
    const client = new Client(t.url);
    for (let i = 0; i < 12; i++) {
      await client.call("POST", "/auth/login", { username: "nobody", password: "wrong" });
    }
    const metrics = await scrape(t.url);
    assert.equal(metrics.value("parley_rate_limited_total", { class: "login" }), 2);
  }));

test("with METRICS_TOKEN, only who shows it may read", () =>
  withServer(
    async (t) => {
      const status = async (headers: Record<string, string>) =>
        (await fetch(`${t.url}/metrics`, { headers })).status;
      assert.equal(await status({}), 401);
      assert.equal(await status({ authorization: "Bearer 0123456789abcdeF" }), 401);
      assert.equal(await status({ authorization: "Bearer 0123456789abcdef" }), 200);
    },
    { METRICS_TOKEN: "0123456789abcdef" },
  ));

test("with WEB_CONCURRENCY, whichever process is asked tells the numbers of all", () =>
  withProgram({ WEB_CONCURRENCY: "2" }, async (program) => {
    // The numbers of one process would not do: each connection may end at another one.
    for (let i = 0; i < 20; i++) assert.equal(await status(`${program.url}/healthz`), 200);
    for (let i = 0; i < 5; i++) {
      const metrics = await scrape(program.url);
      const healthz = { route: "/healthz", method: "GET", status: "200" };
      assert.equal(metrics.value("parley_http_request_duration_seconds_count", healthz), 20);
      assert.equal(metrics.value("parley_listener_connected"), 1);
      assert.equal(metrics.value("process_start_time_seconds"), undefined);
    }
    program.kill("SIGTERM");
    assert.equal(await program.exited, 0);
  }));

interface Scraped {
  text: string;
  /** Of the series with exactly these labels. */
  value(name: string, labels?: Record<string, string>): number | undefined;
}

/** Reads and parses all numbers; a line that is not of the format fails. */
async function scrape(url: string): Promise<Scraped> {
  const response = await fetch(`${url}/metrics`, { headers: { connection: "close" } });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  const series = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("# ")) continue;
    const [, name = "", labels = "", value] =
      /^([a-z0-9_]+)(?:\{(.+)\})? (\S+)$/.exec(line) ?? assert.fail(line);
    const key = `${name} ${sorted(labels.match(/[a-z_]+="[^"]*"/g) ?? [])}`;
    assert.ok(!series.has(key), `twice: ${line}`);
    series.set(key, Number(value));
  }
  return {
    text,
    value: (name, labels = {}) =>
      series.get(`${name} ${sorted(Object.entries(labels).map(([key, value]) => `${key}="${value}"`))}`),
  };
}

function sorted(labels: string[]): string {
  return labels.sort().join();
}

/** On a connection of its own. */
function status(url: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      response.resume().once("end", () => resolve(response.statusCode));
    }).once("error", reject);
  });
}

test.run();
