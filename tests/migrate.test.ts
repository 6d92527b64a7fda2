// time limit: 240 s
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "uvu";
import { migrate, readStanding } from "../sql/migrate.ts";
import { createTestDatabase } from "./support/database.ts";
import { query } from "./support/postgres.ts";
import { runScript } from "./support/process.ts";

/** Runs a test on a database with nothing in it. */
async function withEmpty(act: (url: string) => Promise<void>): Promise<void> {
  const database = await createTestDatabase();
  try {
    await query(database.url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    await act(database.url);
  } finally {
    await database.drop();
  }
}

/** Everything that is in the schema, as text: tables, columns, constraints, indexes, functions, triggers. */
async function describe(url: string): Promise<string[]> {
  const rows = await query(
    url,
    `SELECT format('column %s.%s %s %s %s',
       table_name, column_name, data_type, is_nullable, column_default) AS line
     FROM information_schema.columns WHERE table_schema = 'public'
     UNION ALL
     SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
     WHERE connamespace = 'public'::regnamespace
     UNION ALL
     SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
     UNION ALL
     SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
     UNION ALL
     SELECT pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
     WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace
     ORDER BY 1`,
  );
  return rows.map(({ line }) => line);
}

const functionIds = (url: string) =>
  query(url, "SELECT oid, xmin::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY oid");

test("two runs at once on an empty database both succeed, and make what one makes", () =>
  withEmpty(async (url) => {
    const logs: string[][] = [[], []];
    await Promise.all(logs.map((log) => migrate({ url }, (line) => log.push(line))));
    const applied = await query(url, "SELECT name FROM migrations");
    assert.equal(new Set(applied.map(({ name }) => name)).size, applied.length, "each once");
    assert.deepEqual(
      logs.map((log) => log.length > 0).sort(),
      [false, true],
      "the second found nothing to do",
    );
    assert.equal(await readStanding({ url }), "current");
    const template = await createTestDatabase();
    try {
      assert.deepEqual(await describe(url), await describe(template.url));
    } finally {
      await template.drop();
    }
  }));

test("five runs at once on an empty database all succeed", () =>
  withEmpty(async (url) => {
    await Promise.all(Array.from({ length: 5 }, () => migrate({ url })));
    assert.equal(await readStanding({ url }), "current");
  }));

test("a second run changes nothing", () =>
  withEmpty(async (url) => {
    await migrate({ url });
    const before = [
      await describe(url),
      await functionIds(url),
      await query(url, "SELECT * FROM migrations"),
    ];
    const epoch = await query(url, "SELECT * FROM log_epoch");
    const lines: string[] = [];
    await migrate({ url }, (line) => lines.push(line));
    assert.deepEqual(lines, []);
    assert.deepEqual(
      [await describe(url), await functionIds(url), await query(url, "SELECT * FROM migrations")],
      before,
    );
    assert.deepEqual(await query(url, "SELECT * FROM log_epoch"), epoch, "cursors stay good");
  }));

test("functions of another version are replaced, with the data in place", () =>
  withEmpty(async (url) => {
    await migrate({ url });
    const before = await describe(url);
    const ids = await functionIds(url);
    await query(url, "UPDATE function_texts SET hash = 'x'");
    await query(
      url,
      "CREATE OR REPLACE FUNCTION log_lock_key() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$",
    );
    assert.notDeepEqual(await describe(url), before);
    assert.equal(await readStanding({ url }), "older");
    const lines: string[] = [];
    await migrate({ url }, (line) => lines.push(line));
    assert.equal(lines.length, 1);
    assert.match(String(lines[0]), /functions/);
    assert.deepEqual(await describe(url), before);
    assert.notDeepEqual(await functionIds(url), ids);
    assert.equal(await readStanding({ url }), "current");
  }));

test("a run that fails in the middle leaves the functions as they were, and the next one mends it", () =>
  withEmpty(async (url) => {
    await migrate({ url });
    const before = await describe(url);
    await query(url, "UPDATE function_texts SET hash = 'x'");
    // One function in the way of another: replacing it fails.
    await query(
      url,
      `DROP FUNCTION unread_count(members);
       CREATE FUNCTION unread_count(m members) RETURNS text LANGUAGE sql AS $$ SELECT '' $$`,
    );
    const left = await functionIds(url);
    await assert.rejects(migrate({ url }), /return type/);
    assert.equal((await query(url, "SELECT hash FROM function_texts"))[0].hash, "x");
    assert.deepEqual(await functionIds(url), left, "nothing was changed by half");
    await query(url, "DROP FUNCTION unread_count(members)");
    await migrate({ url });
    assert.deepEqual(await describe(url), before);
  }));

test("`npm run migrate` brings the database of DATABASE_URL up to date, without a secret, and says so", () =>
  withEmpty(async (url) => {
    for (const word of ["migrated", "up to date"]) {
      const ended = await runScript("scripts/migrate.ts", { NODE_ENV: "production", DATABASE_URL: url });
      assert.equal(ended.code, 0, ended.stderr);
      assert.match(ended.stdout, new RegExp(word));
      assert.match(ended.stdout.trim().split("\n").at(-1) ?? "", /up to date/);
      assert.equal(ended.stderr, "");
    }
    assert.equal(await readStanding({ url }), "current");
  }));

test("two programs at once succeed; one waits for the other", () =>
  withEmpty(async (url) => {
    const env = { DATABASE_URL: url };
    const [one, two] = await Promise.all([
      runScript("scripts/migrate.ts", env),
      runScript("scripts/migrate.ts", env),
    ]);
    assert.deepEqual([one.code, two.code], [0, 0], one.stderr + two.stderr);
  }));

test("what it does not know it refuses, and migrates nothing", () =>
  withEmpty(async (url) => {
    const env = { ...process.env, DATABASE_URL: url };
    for (const args of [["--help"], ["--dry-run"], ["now"], ["--back=yes"]]) {
      const script = join(import.meta.dirname, "../scripts/migrate.ts");
      const { status, stderr } = spawnSync(process.execPath, [script, ...args], { env, encoding: "utf8" });
      assert.notEqual(status, 0, args.join(" "));
      assert.match(stderr, /^npm run migrate -- \[--back\]: .*\n$/);
    }
    assert.deepEqual(await query(url, "SELECT to_regclass('users') AS users"), [{ users: null }]);
  }));

test("without DATABASE_URL, or without Postgres, it ends with one line", async () => {
  for (const env of [{}, { DATABASE_URL: "postgres://nobody:topsecret@127.0.0.1:9/parley" }]) {
    const { code, stderr } = await runScript("scripts/migrate.ts", env);
    assert.notEqual(code, 0);
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
    assert.doesNotMatch(stderr, /topsecret/);
  }
});

test.run();
