// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { type Client, type Json, register } from "../support/client.ts";
import {
  assertExact,
  assertUnbroken,
  listenerPids,
  query,
  startWriters,
  withPostgres,
} from "../support/postgres.ts";
import { withProgram } from "../support/process.ts";
import { withRoad } from "../support/road.ts";
import { eventually, startTestParley, withServer } from "../support/server.ts";
import { openTestStream, type TestStream } from "../support/streams.ts";

const opened: TestStream[] = [];
/** Also after a failure, or they would try again for ever. */
test.after.each(() => {
  for (const stream of opened.splice(0)) stream.cut();
});

/** Two people in a discussion, and streams of the second one, at the instance `streamsAt`. */
async function prepare(url: string, streamsAt = url) {
  const ann = await register(url, "ann");
  const bob = await register(url, "bob");
  const discussion = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
  const streams = await openStreams(Object.assign(bob, { url: streamsAt }), discussion);
  return { ann, bob: Object.assign(bob, { url }), discussion, streams };
}

async function openStreams(client: Client, discussion: Json): Promise<TestStream[]> {
  const since = discussion.cursor;
  const streams = await Promise.all([
    openTestStream("sse", client, { since }),
    openTestStream("ws", client, { since }),
    openTestStream("sse", client, { discussionId: discussion.id, since }),
    openTestStream("ws", client, { discussionId: discussion.id, since }),
  ]);
  opened.push(...streams);
  for (const stream of streams) await stream.until((received) => received.some((e) => e.type === "ready"));
  return streams;
}

async function readiness(url: string): Promise<number> {
  const response = await fetch(`${url}/readyz`);
  await response.body?.cancel();
  return response.status;
}

const becomes = (url: string, status: number, ms: number) =>
  eventually(async () => assert.equal(await readiness(url), status), ms);

function hold(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Sends one message and gives the milliseconds until every stream has it. */
async function timeToArrive(ann: Client, discussion: Json, streams: TestStream[], ms: number) {
  const started = performance.now();
  const { seq } = await ann.send(discussion.id, "are you there?");
  for (const stream of streams)
    await stream.until((received) => received.some((e) => e.message?.seq === seq), ms);
  return performance.now() - started;
}

test("a listener that is terminated again and again loses, repeats and reorders nothing", () =>
  withServer(
    async (t) => {
      const { ann, bob, discussion, streams } = await prepare(t.url);
      const writers = startWriters([ann, bob, ann, bob], discussion.id);
      let terminated = 0;
      for (const deadline = Date.now() + 6_000; Date.now() < deadline; await hold(300)) {
        for (const pid of await listenerPids(t.databaseUrl))
          terminated += (await query(t.databaseUrl, "SELECT pg_terminate_backend($1)", [pid])).length;
      }
      await writers.stop();
      assert.ok(terminated >= 4, `terminated ${terminated}`);
      assert.ok(writers.stored.length > 200, `${writers.stored.length} messages`);
      assert.deepEqual(writers.refusals, [], "the writers did not notice");
      for (const stream of streams) {
        await assertExact(stream, writers.stored);
        assertUnbroken(stream);
      }
      await becomes(t.url, 200, 10_000);
    },
    { RATE_LIMITS: "off" },
  ));

test("a listener that hears nothing more, as after UNLISTEN, is replaced", () =>
  withServer((t) =>
    withRoad(t.databaseUrl, async (road) => {
      const other = await t.another({ LISTEN_DATABASE_URL: road.url });
      const { ann, discussion, streams } = await prepare(t.url, other.url);
      await becomes(other.url, 200, 5_000);
      const before = road.connections();
      road.deafen();
      const ms = await timeToArrive(ann, discussion, streams, 10_000);
      await eventually(() => assert.ok(road.connections() > before, "a new connection listens"));
      await becomes(other.url, 200, 10_000);
      const again = await timeToArrive(ann, discussion, streams, 10_000);
      assert.ok(again < 1_000, `after the repair ${again} ms`);
      if (process.env.TEST_LOG_LEVEL) console.log({ deaf: ms, again });
      for (const stream of streams) assertUnbroken(stream);
    }),
  ));

test("a listener's connection that swallows everything is noticed within ten seconds, under load", () =>
  withServer((t) =>
    withRoad(t.databaseUrl, async (road) => {
      const other = await t.another({ LISTEN_DATABASE_URL: road.url });
      const { ann, bob, discussion, streams } = await prepare(t.url, other.url);
      const writers = startWriters([ann, bob], discussion.id, 20);
      for (let round = 0; round < 3; round++) {
        const before = road.connections();
        road.swallow();
        await eventually(() => assert.ok(road.connections() > before, "a new connection listens"), 10_000);
        await becomes(other.url, 200, 10_000);
      }
      await writers.stop();
      for (const stream of streams) {
        await assertExact(stream, writers.stored);
        assertUnbroken(stream);
      }
    }),
  ));

test("while no listener gets through, events come late, /readyz says so, and it heals", () =>
  withServer((t) =>
    withRoad(t.databaseUrl, async (road) => {
      const other = await t.another({ LISTEN_DATABASE_URL: road.url });
      const { ann, discussion, streams } = await prepare(t.url, other.url);
      await becomes(other.url, 200, 5_000);
      road.trap(true);
      road.swallow();
      const late = await timeToArrive(ann, discussion, streams, 10_000);
      await becomes(other.url, 503, 10_000);
      const stillLate = await timeToArrive(ann, discussion, streams, 10_000);
      // What was connecting meanwhile gets no answer for ever: only a new attempt helps.
      road.trap(false);
      await becomes(other.url, 200, 15_000);
      const healed = await timeToArrive(ann, discussion, streams, 10_000);
      assert.ok(healed < 1_000, `after the repair ${healed} ms`);
      if (process.env.TEST_LOG_LEVEL) console.log({ late, stillLate, healed });
      for (const stream of streams) assertUnbroken(stream);
    }),
  ));

// On a Postgres of its own: a stopped backend also holds up whoever creates or drops a database.
test("a listener whose backend is stopped is replaced within ten seconds", () =>
  withPostgres(async (postgres) => {
    const parley = await startTestParley(postgres.url);
    const stopped: number[] = [];
    try {
      const { ann, bob, discussion, streams } = await prepare(parley.url);
      const writers = startWriters([ann, bob], discussion.id, 20);
      stopped.push(...(await listenerPids(postgres.url)));
      assert.equal(stopped.length, 1);
      for (const pid of stopped) process.kill(pid, "SIGSTOP");
      const ms = await timeToArrive(ann, discussion, streams, 10_000);
      await eventually(async () => {
        assert.ok((await listenerPids(postgres.url)).some((pid) => !stopped.includes(pid)));
      });
      await becomes(parley.url, 200, 10_000);
      if (process.env.TEST_LOG_LEVEL) console.log({ stopped: ms });
      await writers.stop();
      for (const pid of stopped.splice(0)) process.kill(pid, "SIGCONT");
      for (const stream of streams) {
        assertUnbroken(stream);
      }
      const { last_seq } = await ann.ok("GET", `/discussions/${discussion.id}`);
      for (const stream of streams)
        assert.equal(stream.received.filter((e) => e.type === "message.new").length, last_seq);
    } finally {
      for (const pid of stopped) process.kill(pid, "SIGCONT");
      await parley.close();
    }
  }));

const notify = (url: string, payload: string) => query(url, "SELECT pg_notify('events', $1)", [payload]);
const logEnd = async (url: string): Promise<number> =>
  Number((await query(url, "SELECT max(position) AS newest FROM log_events"))[0].newest);

test("notifications that are no announcements change nothing", () =>
  withServer(async (t) => {
    const { ann, bob, discussion, streams } = await prepare(t.url);
    const writers = startWriters([ann, bob], discussion.id, 20);
    const end = await logEnd(t.databaseUrl);
    const garbage = [
      "",
      "hello",
      "{}",
      "null",
      "1",
      " ",
      "-5 -1",
      "7 3",
      "0 0",
      `${end + 1_000_000} ${end + 2_000_000}`,
      "1 9007199254740991",
      "1 9007199254740993",
      "1e3 1e9",
      "NaN Infinity",
      "1 99999999\n",
      "1 99999999\n\n\n",
      "1 99999999\nnot an event line",
      "1 99999999\n1\t2\t3",
      "🙂 🙃\n🙂",
      "x".repeat(7_900),
      "\n".repeat(7_900),
      "\t".repeat(7_900),
    ];
    for (const payload of garbage) {
      await notify(t.databaseUrl, payload);
      await hold(50);
    }
    await writers.stop();
    for (const stream of streams) {
      await assertExact(stream, writers.stored);
      assertUnbroken(stream);
    }
    await becomes(t.url, 200, 10_000);
  }));

/** Event lines that only somebody with the right to connect to Postgres can forge. */
const forgeries: [name: string, payload: (end: number, userId: string, discussionId: string) => string][] = [
  ["a position that is no number", (end) => `${end + 1} ${end + 1}\nx\t\t\tmessage.new\tnow\t{}`],
  ["a fractional position", (end) => `${end + 1} ${end + 1}\n${end + 0.5}\t\t\tmessage.new\tnow\t{}`],
  [
    "data that is no JSON",
    (end, user) => `${end + 1} ${end + 1}\n${end + 1}\t\t${user}\tsession.revoked\tnow\tnot JSON`,
  ],
  [
    "data that is JSON null",
    (end, user) => `${end + 1} ${end + 1}\n${end + 1}\t\t${user}\tsession.revoked\tnow\tnull`,
  ],
  [
    "positions beyond the log's end",
    (end, _user, discussion) =>
      `${end + 50} ${end + 50}\n${end + 50}\t${discussion}\t\tmessage.new\tnow\t{"message":{"seq":99}}`,
  ],
  [
    "positions beyond the log's end in a range that begins before it",
    (end, _user, discussion) =>
      `1 ${end + 50}\n${end + 50}\t${discussion}\t\tmessage.new\tnow\t{"message":{"seq":99}}`,
  ],
  [
    "a position far beyond every log",
    (end) => `${end + 1} 9007199254740991\n9007199254740991\t\t\tmessage.new\tnow\t{}`,
  ],
];

test("forged announcements neither end the process nor stop the feed", () =>
  withProgram({}, async (program) => {
    const { url, databaseUrl } = program;
    const { ann, bob, discussion } = await prepare(url);
    for (const [name, payload] of forgeries) {
      await notify(databaseUrl, payload(await logEnd(databaseUrl), bob.user.id, discussion.id));
      // A forged event may break streams, which then come back; what they hear from then on is the log.
      await hold(3_000); // At least one look of the watchdog.
      assert.ok(program.isRunning(), `${name}: ${program.stderr()}`);
      await becomes(url, 200, 10_000);
      const since = (await bob.ok("GET", `/discussions/${discussion.id}`)).cursor;
      const fresh = await openStreams(bob, { id: discussion.id, cursor: since });
      const ms = await timeToArrive(ann, discussion, fresh, 10_000);
      assert.ok(ms < 5_000, `${name}: ${ms} ms`);
    }
  }));

test("an event that is forged in the right form costs streams at most their connection, never an event", () =>
  withServer(async (t) => {
    const { ann, discussion, streams } = await prepare(t.url);
    const forged = await ann.send(discussion.id, "before");
    const next = (await logEnd(t.databaseUrl)) + 1;
    const data = JSON.stringify({ message: { ...forged, seq: 99 } });
    await notify(
      t.databaseUrl,
      `${next} ${next}\n${next}\t${discussion.id}\t\tmessage.new\t2026-01-01T00:00:00.000Z\t${data}`,
    );
    const { seq } = await ann.send(discussion.id, "really");
    for (const stream of streams) {
      await eventually(() =>
        assert.ok(stream.ended() || stream.received.some((e) => e.message?.seq === seq), "lost an event"),
      );
    }
  }));

test.run();
