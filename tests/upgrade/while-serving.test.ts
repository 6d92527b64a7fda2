// time limit: 240 s
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { test } from "uvu";
import { BusyError, migrate, readStanding } from "../../sql/migrate.ts";
import { register } from "../support/client.ts";
import { query, withPostgres } from "../support/postgres.ts";
import { endProgram, type Program, runScript, startProgram } from "../support/process.ts";
import { createRandom } from "../support/random.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";
import {
  addMigration,
  changeFunctions,
  makeVersion,
  migratedTables,
  withSource,
} from "../support/sources.ts";
import { nothing, withLoad } from "./load.ts";

const random = createRandom();
const versions = 4;
async function withInstances(databaseUrl: string, act: (urls: string[]) => Promise<void>): Promise<void> {
  const programs: Program[] = [];
  try {
    for (let i = 0; i < 2; i++) programs.push(await startProgram({ DATABASE_URL: databaseUrl }));
    await act(programs.map(({ url }) => url));
    for (const program of programs) assert.equal(program.stderr(), "", "nothing to complain of");
  } finally {
    await Promise.all(programs.map(endProgram));
  }
}

test("while servers serve, everything is replaced and tables get columns, again and again", () =>
  withPostgres((postgres) =>
    withSource((source) =>
      withInstances(postgres.url, async (urls) => {
        const { unanswered } = await withLoad(postgres.url, urls, random, nothing, async (more) => {
          for (let number = 1; number <= versions; number++) {
            await makeVersion(source, `version_${number}`);
            const lines: string[] = [];
            await migrate({ url: postgres.url }, (line) => lines.push(line), { source });
            assert.equal(
              lines.filter((line) => line.startsWith("migrated")).length,
              migratedTables.length + 1,
            );
            assert.match(lines.at(-1) ?? "", /replaced functions/);
            await more(50);
          }
        });
        assert.equal(unanswered, 0, "no instance ends here");
      }),
    ),
  ));

/** A transaction that has read from a table and stays open, as that of a backup does. */
async function withReader(url: string, table: string, act: (reader: pg.Client) => Promise<void>) {
  const reader = new pg.Client({ connectionString: url });
  await reader.connect();
  try {
    await reader.query(`BEGIN; SELECT FROM ${table} LIMIT 1`);
    await act(reader);
  } finally {
    await reader.end();
  }
}

async function withSpeakers(act: (t: TestServer, say: () => Promise<unknown>) => Promise<void>) {
  await withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const group = await ann.ok("POST", "/discussions", { kind: "group", name: "a", member_ids: [] });
    await act(t, () => ann.send(group.id, "hello"));
  });
}

test("a migration that waits for somebody makes nobody else wait for long, and goes on when it can", () =>
  withSpeakers((t, say) =>
    withSource(async (source) => {
      await addMigration(source, "ALTER TABLE messages ADD COLUMN mood text;");
      await withReader(t.databaseUrl, "messages", async (reader) => {
        const lines: string[] = [];
        let isOver = false;
        const url = t.databaseUrl;
        const migrating = migrate({ url }, (line) => lines.push(line), { source }).finally(() => {
          isOver = true;
        });
        migrating.catch(() => {}); // Told below.
        // Each of these would wait for the reader, too, if the migration stood in front of it.
        for (let sent = 0; sent < 30 || lines.length === 0; sent++) {
          await say();
          await sleep(50);
        }
        assert.match(lines.join(), /^waiting: what has to change is in use/);
        assert.equal(isOver, false);
        await reader.query("COMMIT");
        assert.equal(await migrating, "current");
      });
      await say();
      assert.equal(await readStanding({ url: t.databaseUrl }, source), "current");
    }),
  ));

test("a migration that cannot have its locks gives up and says who has them; the old version serves on", () =>
  withSpeakers((t, say) =>
    withSource(async (source) => {
      const url = t.databaseUrl;
      await addMigration(source, "CREATE TABLE moods (mood text);");
      await addMigration(source, "CREATE TABLE half (mood text); ALTER TABLE messages ADD COLUMN mood text;");
      await withReader(url, "messages", async () => {
        const [{ pid }] = await query(
          url,
          `SELECT pid FROM pg_stat_activity
           WHERE datname = current_database() AND state LIKE 'idle in transaction%'`,
        );
        const error = await migrate({ url }, undefined, { source, patienceMs: 3_000 }).catch((e) => e);
        assert.ok(error instanceof BusyError, String(error));
        assert.match(error.message, new RegExp(`\\bprocess ${pid}\\b`));
      });
      await say();
      assert.deepEqual(
        await query(url, "SELECT to_regclass('moods')::text AS moods, to_regclass('half') AS half"),
        [{ moods: "moods", half: null }],
      );
      assert.equal(await readStanding({ url }), "current", "for the version that serves");
      assert.equal(await migrate({ url }, undefined, { source }), "current", "it goes on where it was");
      await say();
    }),
  ));

test("a migration with a mistake in it leaves the old version serving", () =>
  withSpeakers((t, say) =>
    withSource(async (source) => {
      const url = t.databaseUrl;
      await changeFunctions(source, "mistaken");
      await addMigration(source, "CREATE TABLE half (mood text); SELECT 1 / 0;");
      await assert.rejects(migrate({ url }, undefined, { source }), /division by zero/);
      assert.deepEqual(await query(url, "SELECT to_regclass('half') AS half"), [{ half: null }]);
      assert.equal(await readStanding({ url }), "current");
      await say();
    }),
  ));

test("a migration that is killed in the middle leaves nothing behind, and the next one does it all", () =>
  withSpeakers(async (t, say) => {
    const url = t.databaseUrl;
    await query(url, "UPDATE function_texts SET hash = 'x'");
    const before = await query(url, "SELECT oid, xmin::text FROM pg_proc ORDER BY oid");
    const holder = new pg.Client({ connectionString: url });
    await holder.connect();
    try {
      // The functions are replaced and the triggers wait: the transaction is open.
      await holder.query("BEGIN; LOCK TABLE blocks IN SHARE UPDATE EXCLUSIVE MODE");
      const env = { ...process.env, DATABASE_URL: url };
      const migrating = spawn(process.execPath, ["scripts/migrate.ts"], { env, stdio: "ignore" });
      await eventually(async () => {
        const waiting = await query(
          url,
          // Databases of one template have the same oids for their tables.
          `SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
           WHERE datname = current_database() AND NOT granted AND relation = 'blocks'::regclass`,
        );
        assert.equal(waiting.length, 1);
      }, 20_000);
      migrating.kill("SIGKILL");
      await once(migrating, "exit");
      await holder.query("ROLLBACK");
    } finally {
      await holder.end();
    }
    await say();
    const left = () => query(url, "SELECT oid, xmin::text FROM pg_proc ORDER BY oid");
    await eventually(async () => assert.deepEqual(await left(), before));
    assert.equal((await runScript("scripts/migrate.ts", { DATABASE_URL: url })).code, 0);
    assert.equal(await readStanding({ url }), "current");
    await say();
  }));

test.run();
