import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import type pg from "pg";
import { test } from "uvu";
import { readInterface } from "../../sql/interface.ts";
import { withSql } from "../delivery/help.ts";
import { createTestDatabase } from "../support/database.ts";
import { findBreaks } from "./breaks.ts";

/** Lines of rules which are new, gone or other than before, and why servers of the release obey them. */
const obeyed = new Set<string>([]);

async function readRecord(): Promise<string[]> {
  const text = await readFile(new URL("interface.txt", import.meta.url), "utf8");
  return text.trimEnd().split("\n").slice(1);
}

/** Runs a test on a fresh database; what it changes is rolled back. */
async function withClient(url: string, act: (client: pg.Client) => Promise<void>): Promise<void> {
  await withSql(url, async (client) => {
    await client.query("BEGIN");
    await act(client);
    await client.query("ROLLBACK");
  });
}

async function withDatabase(act: (url: string) => Promise<void>): Promise<void> {
  const database = await createTestDatabase();
  try {
    await act(database.url);
  } finally {
    await database.drop();
  }
}

test("everything that servers of the previous release rely on is still there", () =>
  withDatabase((url) =>
    withClient(url, async (client) => {
      const breaks = findBreaks(await readRecord(), await readInterface(client), obeyed);
      const why = "servers of the previous release, which run on while this one migrates, would fail";
      assert.equal(breaks.length, 0, `${why}:\n  ${breaks.join("\n  ")}`);
    }),
  ));

const changes: [string, RegExp | null][] = [
  ["DROP FUNCTION last_said(uuid, uuid)", /function last_said.*\n.*new function/],
  ["ALTER FUNCTION is_large(uuid) RENAME TO is_huge", /function is_large/],
  [
    `DROP FUNCTION last_said(uuid, uuid);
     CREATE FUNCTION last_said(of_discussion uuid, of_user uuid) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
    /function last_said/,
  ],
  [
    `DROP FUNCTION last_said(uuid, uuid);
     CREATE FUNCTION last_said(d uuid, of_user uuid) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'`,
    /function last_said.*\n.*names of its parameters/,
  ],
  ["ALTER TYPE presence_shape ADD ATTRIBUTE mood text", /type presence_shape/],
  ["ALTER TABLE users ALTER COLUMN status_text TYPE varchar(140)", /column users.status_text text/],
  ["ALTER TABLE avatars RENAME COLUMN image TO picture", /avatars.image/],
  ["ALTER TABLE users ADD COLUMN mood text NOT NULL", /users.mood.*\n.*default/],
  ["ALTER TABLE message_edits ADD COLUMN mood text", /message_edits.mood.*\n.*whole rows/],
  ["ALTER TABLE users ADD CONSTRAINT mood CHECK (display_name <> 'x')", /rule of users: mood/],
  ["CREATE UNIQUE INDEX mood ON users (display_name)", /rule of users: CREATE UNIQUE INDEX mood/],
  ["ALTER TABLE discussions DROP CONSTRAINT discussions_identity_key", /discussions_identity_key/],
  ["DROP VIEW log_events", /view log_events/],
  ["DROP TABLE last_seen", /column last_seen.at/],
  ["ALTER TABLE users ADD COLUMN mood text", null],
  ["ALTER TABLE users ADD COLUMN mood text NOT NULL DEFAULT ''", null],
  ["CREATE TABLE moods (user_id uuid NOT NULL, mood text UNIQUE)", null],
  ["CREATE FUNCTION mood_of(u uuid) RETURNS text LANGUAGE sql AS 'SELECT NULL'", null],
  ["CREATE INDEX mood ON users (display_name)", null],
  ["ALTER TABLE users ALTER COLUMN password_hash SET DEFAULT ''", null],
];

test("what would break servers of a release is found, and nothing else", () =>
  withDatabase(async (url) => {
    for (const [change, expected] of changes) {
      await withClient(url, async (client) => {
        const before = await readInterface(client);
        await client.query(change);
        const breaks = findBreaks(before, await readInterface(client)).join("\n");
        if (expected) assert.match(breaks, expected, change);
        else assert.equal(breaks, "", change);
      });
    }
  }));

test("nothing is dropped by sql/functions, where statements of running servers use it", async () => {
  const folder = new URL("../../sql/functions/", import.meta.url);
  for await (const file of glob("*.sql", { cwd: folder })) {
    const text = await readFile(new URL(file, folder), "utf8");
    const wrong = text.match(/^(?:DROP|ALTER|CREATE (?:FUNCTION|VIEW|TRIGGER))\b.*$/gm);
    assert.deepEqual(wrong, null, `${file}: only CREATE OR REPLACE, and CREATE TYPE; see docs/upgrading.md`);
  }
});

test("an index on a table that is there already may have been built before", async () => {
  const folder = new URL("../../migrations/", import.meta.url);
  const first = 13; // Those before it are out.
  for await (const file of glob("*.sql", { cwd: folder })) {
    if (Number.parseInt(file, 10) < first) continue;
    const text = await readFile(new URL(file, folder), "utf8");
    for (const [index, ifNot, table] of text.matchAll(/^CREATE (?:UNIQUE )?INDEX (IF NOT )?.* ON (\w+)/gm)) {
      const isNew = new RegExp(`^CREATE (?:UNLOGGED )?TABLE ${table}\\b`, "m").test(text);
      assert.ok(isNew || ifNot, `${file}: ${index}: IF NOT EXISTS; see docs/upgrading.md`);
    }
  }
});

test.run();
