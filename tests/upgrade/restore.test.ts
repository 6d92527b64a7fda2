// time limit: 480 s
import assert from "node:assert/strict";
import { test } from "uvu";
import type { Parley } from "../../server/parley.ts";
import { type Backup, database, dump, files, hasDump, recovery } from "../support/backups.ts";
import { Client, type Json, register } from "../support/client.ts";
import { newestPosition, type OwnPostgres, query, withPostgres } from "../support/postgres.ts";
import { runScript } from "../support/process.ts";
import { type Road, withRoad } from "../support/road.ts";
import { eventually, startTestParley, withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";
import { Follower } from "./follower.ts";

/** What was said before the backup, and after it. */
const kept = 5;
const lost = 10;

interface Scene {
  postgres: OwnPostgres;
  road: Road;
  ann: Client;
  discussionId: string;
  /** There all the time; away since before the restore. */
  present: Follower[];
  away: Follower[];
  instances(): readonly Parley[];
  start(): Promise<void>;
  stop(): Promise<void>;
}

async function withScene(act: (scene: Scene) => Promise<void>): Promise<void> {
  await withPostgres((postgres) =>
    withRoad(postgres.url, async (road) => {
      let running: Parley[] = [];
      let ports: (string | undefined)[] = [undefined, undefined];
      const start = async () => {
        for (const PORT of ports) running.push(await startTestParley(road.url, PORT ? { PORT } : {}));
        ports = running.map(({ url }) => new URL(url).port);
      };
      const stop = async () => {
        await Promise.all(running.map((parley) => parley.close()));
        running = [];
      };
      const followers: Follower[] = [];
      try {
        await start();
        const [first, second] = running.map(({ url }) => url) as [string, string];
        const ann = await register(first, "ann");
        const group = await ann.ok("POST", "/discussions", { kind: "group", name: "a", member_ids: [] });
        const elsewhere = Object.assign(new Client(second), { token: ann.token, user: ann.user });
        for (const client of [ann, elsewhere]) {
          for (const kind of ["sse", "ws", "sse", "ws"] as const) {
            followers.push(new Follower(kind, client, group.id));
          }
        }
        const away = followers.filter((_, index) => index % 4 > 1);
        const present = followers.filter((follower) => !away.includes(follower));
        await act({
          postgres,
          road,
          ann,
          discussionId: group.id,
          present,
          away,
          instances: () => running,
          start,
          stop,
        });
      } finally {
        await Promise.all(followers.map((follower) => follower.pause().catch(() => {})));
        await stop();
      }
    }),
  );
}

async function say({ ann, discussionId }: Scene, count: number, what: string): Promise<void> {
  for (let i = 0; i < count; i++) {
    const message = { content: `${what} ${i}`, client_id: `${what} ${i}` };
    await eventually(() => ann.ok("POST", `/discussions/${discussionId}/messages`, message), 30_000);
  }
}

/** As an instance would that works already, while ours do not reach Postgres. */
async function sayByHand({ postgres, ann, discussionId }: Scene, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await query(
      postgres.url,
      "INSERT INTO messages (discussion_id, sender_id, content) VALUES ($1, $2, 'grown ' || $3)",
      [discussionId, ann.user.id, i],
    );
  }
}

interface Plan {
  backup: Backup;
  isRunning: boolean;
  /** Before our instances see it, the restored log is longer than the lost one. */
  hasGrown: boolean;
  newEpoch: boolean;
}

async function restore(scene: Scene, { backup, isRunning, hasGrown, newEpoch }: Plan): Promise<void> {
  const { postgres, road } = scene;
  await say(scene, kept, "kept");
  road.trap(true);
  await backup.make(postgres);
  road.trap(false);
  await say(scene, lost, "lost");
  for (const follower of [...scene.present, ...scene.away]) {
    await eventually(() => follower.load(), 30_000);
    assert.equal(follower.known.size, kept + lost);
  }
  for (const follower of scene.present) follower.follow();
  // What instances have not seen before, they cannot miss afterwards where nothing else tells of the restore.
  for (const { url } of scene.instances()) {
    await eventually(async () => assert.equal((await fetch(`${url}/readyz`)).status, 200), 30_000);
  }
  if (!isRunning) await scene.stop();
  road.trap(true);
  await backup.restore(postgres);
  if (hasGrown) await sayByHand(scene, 2 * lost);
  if (newEpoch) {
    const env = { DATABASE_URL: postgres.url };
    assert.equal((await runScript("scripts/new-epoch.ts", env)).code, 0);
  }
  road.trap(false);
  if (!isRunning) await scene.start();
}

async function assertReset(plan: Plan): Promise<void> {
  await withScene(async (scene) => {
    await restore(scene, plan);
    await say(scene, 3, "after");
    for (const follower of scene.away) follower.follow();
    await say(scene, 3, "later");
    const reader = new Follower("sse", scene.ann, scene.discussionId);
    await reader.load();
    const stored = [...reader.known].map(([seq, content]) => ({ seq, content }) as Json);
    assert.equal(stored.length, kept + (plan.hasGrown ? 2 * lost : 0) + 6);
    for (const follower of [...scene.present, ...scene.away]) {
      await eventually(() => follower.assertExact(stored), 30_000);
      await follower.pause();
      assert.equal(follower.resets.length, 1, `resets: ${follower.resets}`);
      assert.match(String(follower.resets[0]), /^(epoch_changed|cursor_ahead)$/);
    }
  });
}

function nameOf({ backup, isRunning, hasGrown, newEpoch }: Plan): string {
  const when = isRunning ? "under running instances" : "while no instance ran";
  const how = hasGrown ? "has outgrown the lost log" : "is shorter than the lost log";
  return `${backup.name}, restored ${when}, ${how}${newEpoch ? ", with new-epoch" : ""}: one reset each`;
}

const plans: Plan[] = [
  ...[files, recovery, database].flatMap((backup) =>
    [false, true].map((hasGrown) => ({ backup, isRunning: true, hasGrown, newEpoch: false })),
  ),
  { backup: files, isRunning: false, hasGrown: false, newEpoch: false },
  // Nothing in these files tells that they are old, and nobody who would know was there: hence new-epoch.
  { backup: files, isRunning: false, hasGrown: true, newEpoch: true },
  { backup: recovery, isRunning: false, hasGrown: true, newEpoch: false },
  { backup: recovery, isRunning: false, hasGrown: true, newEpoch: true },
  { backup: database, isRunning: false, hasGrown: true, newEpoch: false },
];

for (const plan of plans) test(nameOf(plan), () => assertReset(plan));

// As a copy of the data folder would do it under connections that stay: no instance has looked yet.
test("a stream that opens before its instance has looked hears nothing of the lost history", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const group = await ann.ok("POST", "/discussions", { kind: "group", name: "a", member_ids: [] });
    const live = await openTestStream("ws", ann, { since: group.cursor });
    await ann.send(group.id, "kept");
    const kept = await newestPosition(t.databaseUrl);
    for (let i = 0; i < lost; i++) await ann.send(group.id, `lost ${i}`);
    await live.until((received) => received.at(-1)?.message?.content === `lost ${lost - 1}`);
    const since = live.cursor();
    await query(
      t.databaseUrl,
      `ALTER TABLE messages DISABLE TRIGGER USER;
       DELETE FROM messages WHERE position > ${kept}; DELETE FROM events WHERE position > ${kept};
       ALTER TABLE messages ENABLE TRIGGER USER`,
    );
    for (const kind of ["sse", "ws"] as const) {
      const told: string[] = [];
      for (let cursor = since; !told.includes("ready"); ) {
        const stream = await openTestStream(kind, ann, { since: cursor });
        await stream.until((received) => received.some(({ type }) => type === "ready") || stream.ended());
        stream.cut();
        cursor = stream.cursor() ?? cursor;
        told.push(...stream.received.map(({ type, reason }) => reason ?? type));
      }
      assert.deepEqual(
        told.filter((one) => one !== "closed" && one !== "restarting"),
        ["epoch_changed", "ready"],
        kind,
      );
    }
    live.cut();
  }));

if (!hasDump) console.log("SKIPPED: dumps, as TEST_POSTGRES_BIN names no folder with pg_dump");
for (const isRunning of [true, false]) {
  const plan = { backup: dump, isRunning, hasGrown: true, newEpoch: false };
  (hasDump ? test : test.skip)(nameOf(plan), () => assertReset(plan));
}

test.run();
