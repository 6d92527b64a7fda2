// time limit: 300 s
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { connect } from "node:net";
import pg from "pg";
import { test } from "uvu";
import { WebSocket } from "ws";
import { type Client, type Json, register } from "../support/client.ts";
import { newestPosition, pruneLog, query } from "../support/postgres.ts";
import { type Program, settledBytes, withProgram } from "../support/process.ts";
import { eventually, withServer } from "../support/server.ts";
import { openStalled, readToEnd } from "../support/stalled.ts";
import { openTestStream, type TestStream } from "../support/streams.ts";
import { upgradeHead } from "../support/wire.ts";

test("a ping is answered with its data", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const headers = { authorization: `Bearer ${ann.token}` };
    const socket = new WebSocket(`${t.url.replace("http", "ws")}/api/v1/ws`, { headers });
    await new Promise((resolve) => socket.once("open", resolve));
    const data = randomBytes(125);
    const answered = new Promise<Buffer>((resolve) => socket.once("pong", resolve));
    socket.ping(data);
    assert.deepEqual(await answered, data);
    socket.terminate();
  }));

test("a client that floods with pings and never reads is cut off", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const socket = connect(Number(new URL(t.url).port), "localhost");
    let closed = false;
    socket.on("error", () => {});
    socket.once("close", () => {
      closed = true;
    });
    socket.pause();
    socket.write(upgradeHead(ann));
    // Masked with zeros: a client's frame whose payload reads as it is.
    const ping = Buffer.concat([Buffer.from([0x89, 0x80 | 125, 0, 0, 0, 0]), Buffer.alloc(125, "x")]);
    const burst = Buffer.concat(Array.from({ length: 500 }, () => ping));
    let written = 0;
    await eventually(() => {
      // A paused socket does not see that it was cut off; a write to it does, so some go on for ever.
      const bursts = written < 200 * 1024 * 1024 ? 20 : 1;
      if (!closed && socket.writableLength < 1024 * 1024) {
        for (let i = 0; i < bursts; i++) socket.write(burst);
        written += bursts * burst.length;
      }
      assert.ok(closed || socket.destroyed, `${written} bytes of pings and still open`);
    }, 60_000);
    await ann.ok("GET", "/users/me");
  }));

test("a log that is pruned under a replay ends the stream instead of leaving events out", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id, cursor } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const client = new pg.Client({ connectionString: t.databaseUrl });
    await client.connect();
    try {
      await client.query(
        `INSERT INTO messages (discussion_id, seq, sender_id, content)
         SELECT $1, n, $2, repeat('x', 4000) FROM generate_series(1, 10000) AS n`,
        [id, ann.user.id],
      );
      await followed(t.url);
      const replay = await openSlowly(`${t.url}/api/v1/discussions/${id}/events?since=${cursor}`, ann.token);
      // The buffers between are full and the replay waits, far from the part of the log that is in memory.
      await pruneLog(t.databaseUrl, (await newestPosition(t.databaseUrl)) - 4000);
      const text = await replay.readToEnd();
      const seqs = [...text.matchAll(/"seq":(\d+)/g)].map((match) => Number(match[1]));
      assert.ok(seqs.length > 0 && seqs.length < 6000, `${seqs.length} messages came`);
      assert.deepEqual(
        seqs,
        seqs.map((_, index) => index + 1),
        "what came is a stretch without holes",
      );
      assert.match(text, /event: closed\ndata: {"type":"closed","code":1012/);
    } finally {
      await client.end();
    }
  }));

test("the end of a session ends its stream at once, also in the middle of a long replay", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id, cursor } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    await query(
      t.databaseUrl,
      `INSERT INTO messages (discussion_id, seq, sender_id, content)
       SELECT $1, n, $2, repeat('x', 4000) FROM generate_series(1, 10000) AS n`,
      [id, ann.user.id],
    );
    await followed(t.url);
    const replay = await openSlowly(`${t.url}/api/v1/discussions/${id}/events?since=${cursor}`, ann.token);
    await ann.ok("POST", "/auth/logout");
    const text = await replay.readToEnd();
    assert.ok([...text.matchAll(/"seq":(\d+)/g)].length < 6000, "the replay was broken off");
    assert.match(text, /event: closed\ndata: {"type":"closed","code":4502/);
  }));

test("a socket that sends more than can be stored is closed with 4002 before it fills the memory", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const socket = await openTestStream("ws", ann, { discussionId: id });
    const client = new pg.Client({ connectionString: t.databaseUrl });
    await client.connect();
    try {
      await client.query("BEGIN");
      await client.query("SELECT pg_advisory_xact_lock(log_lock_key())");
      const content = "x".repeat(15_000);
      for (let i = 0; i < 700; i++) socket.send({ type: "message.send", content });
      await eventually(() => assert.equal(socket.ended(), 4002), 4_000);
    } finally {
      await client.end();
    }
  }));

test("a stream hears no signals while it is replaying", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const carl = await register(t.url, "carl");
    const { id, cursor } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: carl.user.id });
    await query(
      t.databaseUrl,
      `INSERT INTO messages (discussion_id, seq, sender_id, content)
       SELECT $1, n, $2, repeat('x', 4000) FROM generate_series(1, 10000) AS n`,
      [id, ann.user.id],
    );
    await followed(t.url);
    const live = await openTestStream("ws", carl);
    await live.until((received) => received.some(({ type }) => type === "ready"));
    const replay = await openSlowly(`${t.url}/api/v1/discussions/${id}/events?since=${cursor}`, carl.token);
    await ann.ok("POST", `/discussions/${id}/typing`);
    await live.until((received) => received.some(({ type }) => type === "typing"));
    live.cut();
    const text = await replay.readUntil("event: ready");
    assert.equal([...text.matchAll(/^event: message.new$/gm)].length, 10_000);
    assert.doesNotMatch(text, /event: (typing|presence)/);
  }));

test("a client that reads nothing is sent no more signals, is not closed for them, and loses no event", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    const slow = await openSlowly(`${t.url}/api/v1/events`, bob.token);
    const live = await openTestStream("ws", bob);
    await live.until((received) => received.some(({ type }) => type === "ready"));
    // Some 25 MB: more than fits into what the operating system keeps for the connection, and an outbox.
    await query(
      t.databaseUrl,
      `SELECT pg_notify('signals', (
         SELECT string_agg(concat_ws(' ', 'typing', gen_random_uuid(), $1::uuid), E'\n')
         FROM generate_series(1, 95) WHERE n > 0))
       FROM generate_series(1, 1600) AS n`,
      [id],
    );
    await ann.send(id, "the end");
    await live.until((received) => received.some(({ type }) => type === "message.new"), 30_000);
    live.cut();
    const text = await slow.readUntil('"content":"the end"');
    const signals = [...text.matchAll(/^event: typing$/gm)].length;
    assert.ok(signals > 95 && signals < 1600 * 95, `${signals} signals came`);
    assert.ok(!text.includes("event: closed"), "was closed");
  }));

const mebibyte = 1024 * 1024;
/** About 64 KB of JSON, as four bytes per character. */
const largest = "😀".repeat(16_000);

/** What runs while somebody does not read: a flood in one discussion, and short messages in another. */
interface Crowd {
  program: Program;
  ann: Client;
  bob: Client;
  floodedId: string;
  probedId: string;
  live: TestStream[];
}

async function createCrowd(program: Program): Promise<Crowd> {
  const [ann, bob, carl] = [
    await register(program.url, "ann"),
    await register(program.url, "bob"),
    await register(program.url, "carl"),
  ];
  const open = (other: Client) => ann.ok("POST", "/discussions", { kind: "direct", user_id: other.user.id });
  const [{ id: floodedId }, { id: probedId }] = [await open(bob), await open(carl)];
  const live = [await openTestStream("ws", carl), await openTestStream("sse", carl)];
  return { program, ann, bob, floodedId, probedId, live };
}

/** Sends some of the largest messages, and meanwhile short ones; gives how long those took to arrive. */
async function floodAndProbe({ ann, floodedId, probedId, live }: Crowd, count = 110): Promise<number> {
  let left = count;
  const flood = async () => {
    while (left-- > 0) await ann.send(floodedId, largest);
  };
  const flooding = Promise.all([flood(), flood()]);
  const took: number[] = [];
  while (left > 0 || took.length < 150) {
    const at = performance.now();
    const { seq } = await ann.send(probedId, "?");
    const arrived = (received: Json[]) =>
      received.findLast((e) => e.type === "message.new")?.message.seq >= seq;
    await Promise.all(live.map((stream) => stream.until(arrived)));
    took.push(performance.now() - at);
  }
  await flooding;
  took.sort((a, b) => a - b);
  return took[Math.ceil(took.length * 0.99) - 1] ?? 0;
}

/** Messages: 25 MB for each of the readers, 400 MB in all. */
const offered = 400;

test("16 readers that stall before 400 MB are dropped within bounds, and others do not wait for them", () =>
  withProgram({ NODE_OPTIONS: "--max-semi-space-size=2", MALLOC_ARENA_MAX: "1" }, async (program) => {
    const crowd = await createCrowd(program);
    await floodAndProbe(crowd, offered); // Warm: code, and what is kept of recent events.
    const before = await settledBytes(program);
    const rounds: { alone: number; beside: number; highest: number }[] = [];
    let mostKept = 0;
    const best = () => Math.min(...rounds.map(({ alone, beside }) => beside / alone));
    // The machine has other things to do too: what the server itself holds up is held up in each round.
    while (rounds.length === 0 || (best() > 2 && rounds.length < 5)) {
      const alone = await floodAndProbe(crowd);
      const stalled = await Promise.all(
        Array.from({ length: 16 }, (_, index) =>
          openStalled(program.url, crowd.bob.token, index % 2 ? "ws" : "sse"),
        ),
      );
      let highest = 0;
      const sampler = setInterval(async () => {
        highest = Math.max(highest, await program.residentBytes());
      }, 50);
      const beside = await floodAndProbe(crowd, offered).finally(() => clearInterval(sampler));
      rounds.push({ alone, beside, highest });
      // They read again: what they get ends early, with the reason or without it, once the grace was over.
      for (const socket of stalled) {
        const bytes = await readToEnd(socket);
        mostKept = Math.max(mostKept, bytes);
      }
    }
    const highest = Math.max(...rounds.map((round) => round.highest)) - before;
    console.log(`${Math.round(highest / mebibyte)} MiB more at most; ${mostKept} bytes came at last`);
    assert.ok(mostKept < (offered * 64_000) / 2, `${mostKept} bytes were kept for who does not read`);
    // 16 outboxes of 1 MiB, each with the one write that overfills it, and the garbage of sending: 118 MiB
    // were measured on a busy machine, of 400 that were offered.
    assert.ok(highest < 16 * 12 * mebibyte, `${highest / mebibyte} MiB more at most`);
    assert.ok(best() <= 2, `p99 of others, in ms, alone and beside: ${JSON.stringify(rounds)}`);
    await eventually(async () => {
      const stays = (await program.residentBytes()) - before;
      // What was freed stays with the process: 68, 92, 97 MiB after one, two and three rounds, and no more
      // after three without readers that stall.
      assert.ok(stays < 16 * 10 * mebibyte, `${stays / mebibyte} MiB stay`);
    }, 20_000);
    for (const stream of crowd.live) {
      assert.equal(stream.ended(), undefined);
      stream.cut();
    }
    assert.equal(program.stderr(), "");
  }));

/** Resolves when the instance itself has come through the log: what is sent now is heard live. */
async function followed(url: string): Promise<void> {
  const bob = await register(url, "bob");
  const note = await bob.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
  const live = await openTestStream("ws", bob);
  await live.until((received) => received.some(({ type }) => type === "ready"));
  await bob.send(note.id, "here?");
  await live.until((received) => received.some(({ type }) => type === "message.new"));
  live.cut();
}

/** An SSE stream whose client reads the head and then nothing, until it is told to. */
interface SlowStream {
  readToEnd(): Promise<string>;
  /** Goes away as soon as this came. */
  readUntil(words: string): Promise<string>;
}

function openSlowly(url: string, token: string): Promise<SlowStream> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent: false, headers: { authorization: `Bearer ${token}` } });
    asked.once("error", reject);
    asked.once("response", (response) => {
      assert.equal(response.statusCode, 200);
      response.pause();
      const read = async (isEnough: (chunk: Buffer) => boolean) => {
        const chunks: Buffer[] = [];
        for await (const chunk of response) {
          chunks.push(chunk);
          if (isEnough(chunk)) break;
        }
        return Buffer.concat(chunks).toString("utf8");
      };
      resolve({
        readToEnd: () => read(() => false),
        // One that is cut by two chunks is found by nobody; the heartbeat that follows would not help either.
        readUntil: (words) => read((chunk) => chunk.includes(words)),
      });
    });
    asked.end();
  });
}

test.run();
