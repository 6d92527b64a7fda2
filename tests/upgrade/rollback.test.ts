// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { readInterface } from "../../sql/interface.ts";
import { migrate, readStanding } from "../../sql/migrate.ts";
import { withSql } from "../delivery/help.ts";
import { register } from "../support/client.ts";
import { createTestDatabase } from "../support/database.ts";
import { query } from "../support/postgres.ts";
import { runScript, withProgram } from "../support/process.ts";
import { hasCommit, previousRelease, withRelease } from "../support/release.ts";
import { forgetRole } from "../support/roles.ts";
import { testSecret, withServer } from "../support/server.ts";
import { addMigration, changeFunctions, withSource } from "../support/sources.ts";

const release = await previousRelease();
const here = await hasCommit(release);
if (!here) console.log(`SKIPPED: commit ${release} is not in this clone (is it shallow?)`);
const whenHere = here ? test : test.skip;

/** Servers connect to it as its owner: some migrate it; what rights other versions need is not known here. */
async function withDatabase(act: (url: string) => Promise<void>): Promise<void> {
  const { url, drop } = await createTestDatabase();
  forgetRole(new URL(url).pathname.slice(1));
  try {
    await act(url);
  } finally {
    await drop();
  }
}

/** Somebody comes, says something and finds it. */
async function useServer(url: string, name: string): Promise<void> {
  const client = await register(url, name);
  const group = await client.ok("POST", "/discussions", { kind: "group", name, member_ids: [] });
  const message = await client.send(group.id, "hello");
  assert.equal((await client.ok("GET", `/discussions/${group.id}/messages`)).items[0].seq, message.seq);
}

test("on the database of a later version this one starts and serves, and migrates nothing back", () =>
  withDatabase((url) =>
    withSource(async (source) => {
      await changeFunctions(source, "later");
      await addMigration(
        source,
        "ALTER TABLE messages ADD COLUMN mood text; CREATE TABLE moods (mood text);",
      );
      await migrate({ url }, undefined, { source });
      assert.equal(await readStanding({ url }), "newer");
      for (const NODE_ENV of ["production", "development"]) {
        await withProgram({ DATABASE_URL: url, NODE_ENV }, (program) =>
          useServer(program.url, NODE_ENV.slice(0, 4)),
        );
        assert.equal(await readStanding({ url }, source), "current");
      }
      const ended = await runScript("scripts/migrate.ts", { DATABASE_URL: url });
      assert.match(ended.stdout, /^A later version has migrated this database/);
      assert.equal(await readStanding({ url }, source), "current");
    }),
  ));

test("--back puts this version's functions back, and the later version is not taken for it", () =>
  withDatabase((url) =>
    withSource(async (source) => {
      await changeFunctions(source, "later");
      await migrate({ url }, undefined, { source });
      await migrate({ url }, undefined, { back: true });
      assert.deepEqual(
        [await readStanding({ url }), await readStanding({ url }, source)],
        ["current", "older"],
      );
      const [{ definition }] = await query(
        url,
        "SELECT pg_get_functiondef('send_messages'::regproc) AS definition",
      );
      assert.doesNotMatch(definition, /later/);
      await migrate({ url }, undefined, { source });
      assert.deepEqual(
        [await readStanding({ url }), await readStanding({ url }, source)],
        ["newer", "current"],
      );
    }),
  ));

whenHere("the previous release refuses our database with one line, or takes it after its own migrate", () =>
  withRelease(release, (folder) =>
    withServer(async (t) => {
      const env = { DATABASE_URL: t.databaseUrl, PORT: "0", JWT_SECRET: testSecret };
      const refused = await runScript("server/main.ts", { ...env, NODE_ENV: "production" }, 20_000, folder);
      assert.notEqual(refused.code, 0);
      assert.match(
        refused.stderr,
        /^DATABASE_URL: the schema is not up to date; run `npm run migrate` first\n$/,
      );
      const migrated = await runScript("scripts/migrate.ts", env, 60_000, folder);
      assert.equal(migrated.code, 0, migrated.stderr);
      await withProgram({ ...env, NODE_ENV: "production" }, (old) => useServer(old.url, "old"), folder);
      await useServer(t.url, "ours");
      assert.equal(await readStanding({ url: t.databaseUrl }), "older");
      await migrate({ url: t.databaseUrl });
      assert.equal(await readStanding({ url: t.databaseUrl }), "current");
      await useServer(t.url, "again");
    }),
  ),
);

/** Of before functions were replaced in place: servers are stopped, what they stored is taken along. */
const ancestors = [
  "4134a1bff51fc1338a4b164d7b9c117e78590d53",
  "eab737d54cc7d120b4ea180ab2695d1b5e3d7839",
  "1a4bde2961c0ce0221bda69175cae1f7127d7d5b",
];
for (const commit of ancestors) {
  const name = `a database of ${commit.slice(0, 7)} gets all that a new one has`;
  (here && (await hasCommit(commit)) ? test : test.skip)(name, () =>
    withRelease(commit, (folder) =>
      withDatabase(async (url) => {
        const expected = await withSql(url, readInterface);
        await query(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        const migrated = await runScript("scripts/migrate.ts", { DATABASE_URL: url }, 60_000, folder);
        assert.equal(migrated.code, 0, migrated.stderr);
        await migrate({ url });
        // A function or two that nobody calls any more may be left.
        const now = new Set(await withSql(url, readInterface));
        assert.deepEqual(
          expected.filter((line) => !now.has(line)),
          [],
        );
        await withProgram({ DATABASE_URL: url }, (program) => useServer(program.url, "ann"));
      }),
    ),
  );
}

test.run();
