// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { type Answer, assertProblem, type Client, type Json, register } from "../support/client.ts";
import { assertExact, assertUnbroken, query, startWriters, withPostgres } from "../support/postgres.ts";
import { runScript, withProgram } from "../support/process.ts";
import { withRoad } from "../support/road.ts";
import { eventually, testSecret } from "../support/server.ts";
import { openTestStream, type TestStream } from "../support/streams.ts";

const awayMs = 10_000;

const opened: TestStream[] = [];
/** Also after a failure, or they would try again for ever. */
test.after.each(() => {
  for (const stream of opened.splice(0)) stream.cut();
});

async function prepare(url: string) {
  const ann = await register(url, "ann");
  const bob = await register(url, "bob");
  const discussion = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
  const streams = await openStreams(bob, discussion);
  return { ann, bob, discussion, streams };
}

async function openStreams(client: Client, { id, cursor: since }: Json): Promise<TestStream[]> {
  const streams = await Promise.all([
    openTestStream("sse", client, { since }),
    openTestStream("ws", client, { since }),
    openTestStream("sse", client, { discussionId: id, since }),
    openTestStream("ws", client, { discussionId: id, since }),
  ]);
  opened.push(...streams);
  for (const stream of streams) await stream.until((received) => received.some((e) => e.type === "ready"));
  return streams;
}

/** An operations route, which is outside /api/v1. */
async function ask(url: string, path: string): Promise<Answer> {
  const response = await fetch(url + path, { signal: AbortSignal.timeout(15_000) });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

function assertUnavailable(answer: Answer): void {
  assertProblem(answer, 503, "unavailable");
  assert.ok(Number(answer.headers.get("retry-after")) >= 1, "Retry-After in seconds");
  assert.equal(answer.body.retry_after, Number(answer.headers.get("retry-after")));
}

function hold(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test("a crash of Postgres under load costs time, but neither a message, a stream nor the process", () =>
  withPostgres((postgres) =>
    withProgram({ DATABASE_URL: postgres.url }, async (program) => {
      const { url } = program;
      const { ann, bob, discussion, streams } = await prepare(url);
      const writers = startWriters([ann, bob, ann, bob], discussion.id, 10);
      await eventually(() => assert.ok(writers.stored.length > 50));

      await postgres.crash();
      const wentAt = performance.now();
      await eventually(async () => assert.equal((await ask(url, "/readyz")).status, 503));
      while (performance.now() - wentAt < awayMs) {
        assertUnavailable(await ask(url, "/readyz"));
        assert.equal((await ask(url, "/healthz")).status, 200);
        assertUnavailable(await ann.call("GET", `/discussions/${discussion.id}/messages`));
        assertUnavailable(await ann.call("GET", "/users/me"));
        const login = { username: "ann", password: "wrong but long enough" };
        assertUnavailable(await ann.call("POST", "/auth/login", login));
        assertUnavailable(await ann.call("GET", `/discussions/${discussion.id}`));
        await assert.rejects(openTestStream("sse", bob), /503/);
        await assert.rejects(openTestStream("ws", bob), /503/);
        await hold(200);
      }
      const storedBefore = writers.stored.length;

      await postgres.start();
      const backAt = performance.now();
      await eventually(() => assert.ok(writers.stored.length > storedBefore), 15_000);
      const writesMs = performance.now() - backAt;
      await eventually(async () => assert.equal((await ask(url, "/readyz")).status, 200), 15_000);
      const readyMs = performance.now() - backAt;
      await eventually(() => assert.ok(writers.stored.length > storedBefore + 50), 15_000);
      await writers.stop();

      for (const refusal of writers.refusals) {
        assert.ok(refusal, "each request was answered");
        assertUnavailable(refusal);
      }
      assert.ok(writers.refusals.length > 10, "the writers noticed");
      for (const stream of streams) {
        await assertExact(stream, writers.stored, 15_000);
        assertUnbroken(stream);
      }
      assert.ok(program.isRunning());
      if (process.env.TEST_LOG_LEVEL)
        console.log({ writesMs, readyMs, stored: writers.stored.length, refused: writers.refusals.length });
    }),
  ));

test("frames of a socket are refused as unavailable while Postgres is away, and the socket stays open", () =>
  withPostgres((postgres) =>
    withProgram({ DATABASE_URL: postgres.url }, async ({ url }) => {
      const { bob, discussion, streams } = await prepare(url);
      const socket = await openTestStream("ws", bob, { since: discussion.cursor });
      opened.push(socket);
      const frame = { type: "message.send", discussion_id: discussion.id, content: "by socket" };
      const answerTo = async (ref: string) => {
        socket.send({ ...frame, ref, client_id: "one" });
        await socket.until((received) => received.some((answer) => answer.ref === ref));
        return socket.received.find((answer) => answer.ref === ref);
      };
      await postgres.crash();
      const refused = await answerTo("away");
      assert.equal(refused.type, "error");
      assert.equal(refused.code, "unavailable");
      await postgres.start();
      await eventually(async () => assert.equal((await answerTo(`${Math.random()}`)).type, "ack"));
      for (const stream of [socket, ...streams]) {
        await stream.until((received) => received.some(({ type }) => type === "message.new"));
        assertUnbroken(stream);
      }
    }),
  ));

// What a failover or a dead network node looks like: no reset comes, and TCP itself gives up after many
// minutes.
test("connections to Postgres that fall silent are given up, and the work goes on over new ones", () =>
  withPostgres((postgres) =>
    withRoad(postgres.url, (road) =>
      withProgram({ DATABASE_URL: road.url }, async (program) => {
        const { url } = program;
        const { ann, bob, discussion, streams } = await prepare(url);
        const writers = startWriters([ann, bob, ann, bob], discussion.id, 10);
        await eventually(() => assert.ok(writers.stored.length > 50));
        road.swallow();
        const at = performance.now();
        const before = writers.stored.length;
        assert.equal((await ask(url, "/healthz")).status, 200);
        await eventually(() => assert.ok(writers.stored.length > before + 50), 30_000);
        const writesMs = performance.now() - at;
        await eventually(async () => assert.equal((await ask(url, "/readyz")).status, 200), 30_000);
        if (process.env.TEST_LOG_LEVEL) console.log({ silentMs: writesMs });
        await writers.stop();
        for (const refusal of writers.refusals) assertUnavailable(refusal as Answer);
        for (const stream of streams) {
          await assertExact(stream, writers.stored, 15_000);
          assertUnbroken(stream);
        }
      }),
    ),
  ));

test("all connections of the pool are terminated under load: nothing is lost", () =>
  withProgram({}, async (program) => {
    const { ann, bob, discussion, streams } = await prepare(program.url);
    const writers = startWriters([ann, bob, ann, bob], discussion.id, 5);
    for (const deadline = Date.now() + 3_000; Date.now() < deadline; await hold(300)) {
      await query(
        program.databaseUrl,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      );
    }
    await writers.stop();
    for (const refusal of writers.refusals) assertUnavailable(refusal as Answer);
    for (const stream of streams) {
      await assertExact(stream, writers.stored);
      assertUnbroken(stream);
    }
  }));

test("a start without Postgres ends with one clear line", async () => {
  const at = performance.now();
  const ended = await runScript("server/main.ts", {
    PORT: "0",
    JWT_SECRET: testSecret,
    DATABASE_URL: "postgres://nobody:topsecret@127.0.0.1:9/parley",
    LOG_LEVEL: "warn",
  });
  assert.notEqual(ended.code, 0);
  assert.equal(ended.stdout, "");
  assert.match(ended.stderr, /DATABASE_URL|Postgres|database/);
  assert.doesNotMatch(ended.stderr, /topsecret/);
  assert.equal(ended.stderr.trim().split("\n").length, 1, ended.stderr);
  assert.ok(performance.now() - at < 15_000);
});

test.run();
