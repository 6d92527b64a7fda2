// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { type Client, register } from "../support/client.ts";
import { newestPosition, query } from "../support/postgres.ts";
import { withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";

const flood = 30_000;
const streamCount = 12;

test("streams that join while the feed is behind wait for it, without a query after the other", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const others = await bob.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    const [atRest, started] = [await statements(t.databaseUrl), performance.now()];
    const before = await statements(t.databaseUrl);
    const restingRate = (before - atRest) / (performance.now() - started);
    const filled = performance.now();
    await fill(t.databaseUrl, others.id);
    const { position, streams } = await join(t.databaseUrl, ann);
    for (const stream of streams) {
      await stream.until((received) => received.some(({ type }) => type === "ready"), 60_000);
      const [{ cursor }] = stream.received;
      assert.ok(Number(cursor.split(".")[1]) >= position, "ready comes after what was stored before");
      stream.cut();
    }
    const after = await statements(t.databaseUrl);
    const asked = after - before - restingRate * (performance.now() - filled);
    // The feed's own reads, and for each stream a few.
    const enough = flood / limits.logPage.limit + 5 * streamCount;
    assert.ok(asked < enough, `${Math.round(asked)} statements, where ${enough} are enough`);
  }));

async function join(databaseUrl: string, client: Client) {
  const position = await newestPosition(databaseUrl);
  const streams = await Promise.all(Array.from({ length: streamCount }, () => openTestStream("sse", client)));
  return { position, streams };
}

/** Many events at once, whose announcement tells their range alone. */
async function fill(databaseUrl: string, discussionId: string): Promise<void> {
  await query(
    databaseUrl,
    `SELECT append_events(array_agg(
       ROW($1::uuid, NULL, 'discussion.updated', '{"discussion":{}}', NULL)::event_draft))
     FROM generate_series(1, $2::int)`,
    [discussionId, flood],
  );
}

/** Ended so far in this database; a session tells that after ten seconds at most. */
async function statements(url: string): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 11_000));
  const [{ count }] = await query(
    url,
    "SELECT xact_commit::int AS count FROM pg_stat_database WHERE datname = current_database()",
  );
  return count;
}

test.run();
