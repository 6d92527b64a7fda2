import assert from "node:assert/strict";
import pg from "pg";
import { test } from "uvu";
import { openDatabase } from "../../sql/database.ts";
import { renewEpoch } from "../../sql/log.ts";
import { register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { openTestStream, type StreamKind } from "../support/streams.ts";

const kinds: StreamKind[] = ["sse", "ws"];

test("streams end with 4001 when their session's time runs out", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const soon = "UPDATE sessions SET expires_at = now() + interval '3 seconds' WHERE user_id = $1";
    await execute(t.databaseUrl, soon, [ann.user.id]);
    const hers = await Promise.all(kinds.map((kind) => openTestStream(kind, ann)));
    const his = await Promise.all(kinds.map((kind) => openTestStream(kind, bob)));
    for (const stream of hers) await eventually(() => assert.equal(stream.ended(), 4001), 15_000);
    for (const stream of his) {
      assert.equal(stream.ended(), undefined);
      stream.cut();
    }
    assert.equal((await ann.call("GET", "/users/me")).status, 401);
  }));

test("a stream outlives its access token's session's first end if the session was renewed", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    await execute(t.databaseUrl, "UPDATE sessions SET expires_at = now() + interval '1 second'");
    const stream = await openTestStream("ws", ann);
    await ann.ok("POST", "/auth/refresh", { refresh_token: ann.refreshToken });
    const bob = await register(t.url, "bob");
    await execute(
      t.databaseUrl,
      "UPDATE sessions SET expires_at = now() + interval '1 second' WHERE user_id = $1",
      [bob.user.id],
    );
    const other = await openTestStream("ws", bob);
    // The same look at the sessions that ends Bob's stream spares Ann's.
    await eventually(() => assert.equal(other.ended(), 4001), 15_000);
    assert.equal(stream.ended(), undefined);
    stream.cut();
  }));

test("a new epoch sends all streams away and resets their cursors", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const streams = await Promise.all(
      kinds.map((kind) => openTestStream(kind, ann, { since: discussion.cursor })),
    );
    for (const stream of streams)
      await stream.until((received) => received.some(({ type }) => type === "ready"));

    const pool = await openDatabase({ url: t.databaseUrl, maxConnections: 1 });
    await renewEpoch(pool);
    await pool.end();

    for (const stream of streams) await eventually(() => assert.equal(stream.ended(), 1012));
    for (const kind of kinds) {
      const stream = await openTestStream(kind, ann, { since: discussion.cursor });
      await stream.until((received) => received.some(({ type }) => type === "ready"));
      assert.equal(stream.received[0].type, "reset");
      assert.equal(stream.received[0].reason, "epoch_changed");
      assert.notEqual(stream.received[0].cursor.split(".")[0], discussion.cursor.split(".")[0]);
      await ann.send(discussion.id, `after the reset, ${kind}`);
      await stream.until((received) => received.some(({ type }) => type === "message.new"));
      stream.cut();
    }
  }));

async function execute(url: string, statement: string, values: unknown[] = []): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement, values);
  } finally {
    await client.end();
  }
}

test.run();
