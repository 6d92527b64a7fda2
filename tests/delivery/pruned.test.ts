// time limit: 240 s
import assert from "node:assert/strict";
import { get, type IncomingMessage } from "node:http";
import { test } from "uvu";
import { WebSocket } from "ws";
import { eventReader } from "../../scripts/torture/load/connection.ts";
import { type Client, type Json, register } from "../support/client.ts";
import { newestPosition, pruneLog, query } from "../support/postgres.ts";
import { createRandom } from "../support/random.ts";
import { type TestServer, withServer } from "../support/server.ts";
import { openTestStream, type StreamKind, type TestStream } from "../support/streams.ts";
import { createGroup, endedWith, heardMessage, ofType, viaInstance } from "./help.ts";

const kinds: StreamKind[] = ["sse", "ws"];
const random = createRandom();
/** More than an instance keeps in memory, and more than the network takes in advance. */
const count = 8_000;
const contentBytes = 4_000;

/** A long log, and an instance that has to read its old part from the table. */
async function withLongLog(act: (t: TestServer, ann: Client, late: Client, group: Json) => Promise<void>) {
  await withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const group = await createGroup(ann, "a", []);
    for (let left = count; left > 0; left -= 500) {
      await query(
        t.databaseUrl,
        `INSERT INTO messages (discussion_id, sender_id, content)
         SELECT $1, $2, repeat('x', $3) FROM generate_series(1, 500)`,
        [group.id, ann.user.id, contentBytes],
      );
    }
    const late = await t.another();
    await act(t, ann, viaInstance(ann, late.url), group);
  });
}

/** A reader that stops reading with its first event until it is told to go on; gives all that came. */
interface Sleeper {
  /** Resolves when the first event is there and reading has stopped. */
  asleep: Promise<void>;
  /** Reads to the stream's end, or to where it went live after all, of code 0. */
  wake(): Promise<{ events: Json[]; code: number }>;
}

function openSleeper(kind: StreamKind, client: Client, since: string): Sleeper {
  const asleep = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<{ events: Json[]; code: number }>();
  const events: Json[] = [];
  const headers = { authorization: `Bearer ${client.token}` };
  const path = `/api/v1/${kind === "sse" ? "events" : "ws"}?since=${since}`;
  let source: Pick<IncomingMessage, "pause" | "resume"> | WebSocket | undefined;
  const take = (event: Json) => {
    if (events.length === 0) source?.pause();
    if (events.length === 0) asleep.resolve();
    events.push(event);
    if (event.type === "closed") ended.resolve({ events, code: event.code });
    if (event.type === "ready") ended.resolve({ events, code: 0 });
  };
  if (kind === "ws") {
    const socket = new WebSocket(client.url.replace("http", "ws") + path, { headers });
    socket.on("message", (data) => take(JSON.parse(String(data))));
    socket.on("close", (code) => ended.resolve({ events, code }));
    socket.on("error", asleep.reject);
    source = socket;
  } else {
    get(client.url + path, { headers, agent: false }, (response) => {
      source = response;
      response.setEncoding("utf8").on("data", eventReader(take));
    }).on("error", asleep.reject);
  }
  const wake = () => {
    source?.resume();
    return ended.promise;
  };
  return { asleep: asleep.promise, wake };
}

function assertConsecutive(events: readonly Json[], since: string): number {
  const positions = events.map(({ cursor }) => Number(cursor.split(".")[1]));
  const first = Number(since.split(".")[1]) + 1;
  assert.deepEqual(
    positions,
    positions.map((_, index) => first + index),
  );
  return positions.at(-1) ?? first - 1;
}

for (const kind of kinds) {
  test(`${kind}: a log that is pruned under a replay ends it, and who comes back is reset, once`, () =>
    withLongLog(async (t, ann, late, group) => {
      const sleeper = openSleeper(kind, late, group.cursor);
      await sleeper.asleep;
      const prunedTo = (await newestPosition(t.databaseUrl)) - 100;
      await pruneLog(t.databaseUrl, prunedTo);
      const { events, code } = await sleeper.wake();
      assert.equal(code, 1012, `after ${events.length} events, ${events.at(-1)?.type} the last`);
      const got = events.filter(({ type }) => type === "message.new");
      assert.ok(got.length > 0 && !events.some(({ type }) => type === "ready" || type === "reset"));
      const last = assertConsecutive(got, group.cursor);
      assert.ok(last < prunedTo, "it broke off before what was pruned");
      const stream = await openTestStream(kind, late, { since: got.at(-1)?.cursor });
      await ann.send(group.id, "live");
      await heardMessage(stream, "live");
      assert.deepEqual(
        stream.received.map(({ type, reason, message }) => reason ?? message?.content ?? type),
        ["cursor_expired", "ready", "live"],
      );
      stream.cut();
    }));
}

/** Broken off, then reset, then live; and as much again. */
const mostOpenings = 6;

/** Reads until it is live, coming back as clients do; gives what it heard, and its resets. */
async function catchUp(kind: StreamKind, client: Client, since: string) {
  const heard: Json[] = [];
  const resets: string[] = [];
  let cursor = since;
  for (let opening = 1; opening <= mostOpenings; opening++) {
    const stream: TestStream = await openTestStream(kind, client, { since: cursor });
    await stream.until(
      (received) => received.at(-1)?.type === "ready" || stream.ended() !== undefined,
      60_000,
    );
    if (stream.ended() !== undefined) await endedWith(stream, 1012);
    stream.cut();
    resets.push(...ofType(stream, "reset").map(({ reason }) => reason));
    heard.push(...ofType(stream, "message.new"));
    cursor = stream.cursor() ?? cursor;
    if (stream.received.at(-1)?.type === "ready") return { heard, resets };
  }
  return assert.fail(`${mostOpenings} times opened from ${since} and never live`);
}

test("a log that is pruned while streams open: each hears all after its cursor, or is reset, once", () =>
  withLongLog(async (t, _, late, group) => {
    const epoch = group.cursor.split(".")[0];
    const first = Number(group.cursor.split(".")[1]);
    const newest = await newestPosition(t.databaseUrl);
    let isOver = false;
    const prune = async () => {
      for (let to = first + 1; to < newest - 1 && !isOver; to += 40) await pruneLog(t.databaseUrl, to);
    };
    const outcomes = { whole: 0, reset: 0 };
    const readFrom = async (kind: StreamKind, position: number) => {
      const since = `${epoch}.${position}`;
      const { heard, resets } = await catchUp(kind, late, since);
      const last = assertConsecutive(heard, since);
      if (resets.length === 0) assert.equal(last, newest);
      else assert.deepEqual(resets, ["cursor_expired"]);
      const outcome = resets.length === 0 ? "whole" : "reset";
      outcomes[outcome]++;
      return outcome;
    };
    const read = async (kind: StreamKind) => {
      for (let i = 0; i < 12; i++) {
        const [{ pruned_to }] = await query(t.databaseUrl, "SELECT pruned_to FROM log_epoch");
        await readFrom(kind, Math.min(newest, Number(pruned_to) + random.integer(0, 100)));
      }
      // Nothing after this place is pruned; something after that one was.
      assert.equal(await readFrom(kind, newest - 1), "whole");
      assert.equal(await readFrom(kind, first), "reset");
    };
    const pruning = prune();
    await Promise.all(kinds.map(read)).finally(() => {
      isOver = true;
    });
    await pruning;
    // Nothing is missing to who has seen all that was pruned, and one event to who has seen all but that.
    const [{ pruned_to }] = await query(t.databaseUrl, "SELECT pruned_to FROM log_epoch");
    for (const kind of kinds) {
      assert.equal(await readFrom(kind, Number(pruned_to)), "whole");
      assert.equal(await readFrom(kind, Number(pruned_to) - 1), "reset");
    }
    console.log(outcomes);
  }));

test.run();
