import assert from "node:assert/strict";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { viaInstance } from "../delivery/help.ts";
import { type Client, register } from "../support/client.ts";
import { newestPosition, query } from "../support/postgres.ts";
import { withRoad } from "../support/road.ts";
import { startTestParley, withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";

const flood = 30_000;
const streamCount = 12;

test("streams that join while the feed is behind wait for it, without a query after the other", () =>
  withServer((t) =>
    withRoad(t.databaseUrl, async (road) => {
      const parley = await startTestParley(road.url);
      try {
        const ann = viaInstance(await register(t.url, "ann"), parley.url);
        const bob = await register(t.url, "bob");
        const others = await bob.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
        const [before, filled] = [road.statements(), performance.now()];
        await fill(t.databaseUrl, others.id);
        const { position, streams } = await join(t.databaseUrl, ann);
        for (const stream of streams) {
          await stream.until((received) => received.some(({ type }) => type === "ready"), 60_000);
          const [{ cursor }] = stream.received;
          assert.ok(Number(cursor.split(".")[1]) >= position, "ready comes after what was stored before");
          stream.cut();
        }
        const asked = road.statements() - before;
        // The feed's own reads, for each stream a few, and what an instance asks every now and then.
        const seconds = (performance.now() - filled) / 1_000;
        const enough = flood / limits.logPage.limit + 5 * streamCount + 10 * seconds;
        console.log(`${asked} statements in ${Math.round(seconds)} s`);
        assert.ok(asked < enough, `${asked} statements, where ${Math.round(enough)} are enough`);
      } finally {
        await parley.close();
      }
    }),
  ));

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

test.run();
