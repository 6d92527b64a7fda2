import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import pg from "pg";
import { test } from "uvu";
import { grantServing, migrate } from "../sql/migrate.ts";
import { type Answer, Client, type Json, password, register } from "./support/client.ts";
import { createTestDatabase } from "./support/database.ts";
import { query, withPostgres } from "./support/postgres.ts";
import { runScript } from "./support/process.ts";
import { asServer } from "./support/roles.ts";
import { eventually, testSecret, withServer } from "./support/server.ts";

const insufficientPrivilege = "42501";
const sqlFolder = new URL("../sql/", import.meta.url);
/** What the file is read for: who may serve is decided where the tests run, not here. */
const hasRole = process.env.TEST_ROLE !== "";
const roleTest = hasRole ? test : test.skip;

/** Runs a test on a fresh database, with the URLs of its owner and of a server's role. */
async function withRole(act: (urls: { owner: string; role: string; name: string }) => Promise<void>) {
  const database = await createTestDatabase();
  try {
    const role = asServer(database.url);
    await act({ owner: database.url, role, name: new URL(role).username });
  } finally {
    await database.drop();
  }
}

roleTest("servers connect as a role that is no superuser and owns nothing", () =>
  withServer(async (t) => {
    await new Client(t.url).ok("POST", "/auth/register", { username: "ann", password });
    const name = new URL(asServer(t.databaseUrl)).username;
    const users = await query(
      t.databaseUrl,
      `SELECT DISTINCT usename AS name FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`,
    );
    assert.deepEqual(users, [{ name }], "the pool, those that send, and the listener");
    const [role] = await query(
      t.databaseUrl,
      `SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
         (SELECT count(*)::int FROM pg_class WHERE relowner = r.oid)
           + (SELECT count(*)::int FROM pg_proc WHERE proowner = r.oid)
           + (SELECT count(*)::int FROM pg_type WHERE typowner = r.oid)
           + (SELECT count(*)::int FROM pg_namespace WHERE nspowner = r.oid) AS owned,
         (SELECT count(*)::int FROM pg_auth_members WHERE member = r.oid) AS memberships
       FROM pg_roles AS r WHERE rolname = $1`,
      [name],
    );
    assert.deepEqual(role, {
      rolsuper: false,
      rolcreaterole: false,
      rolcreatedb: false,
      rolreplication: false,
      rolbypassrls: false,
      owned: 0,
      memberships: 0,
    });
  }),
);

/** `$owner` and `$role` are names. Each is refused for want of a right, and for no other reason. */
const forbidden = [
  "DROP TABLE messages",
  "DROP FUNCTION lock_log()",
  "DROP SCHEMA public CASCADE",
  "DROP OWNED BY $owner",
  "TRUNCATE messages",
  "TRUNCATE rate_limits",
  "ALTER TABLE messages ADD COLUMN more text",
  "ALTER TABLE messages DISABLE TRIGGER messages_deleted",
  "ALTER TABLE messages OWNER TO $role",
  "ALTER FUNCTION lock_log() SECURITY DEFINER",
  "ALTER DATABASE $database SET statement_timeout = 0",
  "CREATE TABLE mine (id int)",
  "CREATE TEMPORARY TABLE mine (id int)",
  "CREATE SCHEMA mine",
  "CREATE VIEW mine AS SELECT 1 AS one",
  "CREATE INDEX ON messages (content)",
  "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
  "CREATE OR REPLACE FUNCTION log_lock_key() RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
  "CREATE TRIGGER mine AFTER INSERT ON messages EXECUTE FUNCTION messages_deleted()",
  "CREATE RULE mine AS ON DELETE TO events DO INSTEAD NOTHING",
  "CREATE POLICY mine ON messages",
  "CREATE DATABASE mine",
  "CREATE PUBLICATION mine FOR ALL TABLES",
  "REINDEX TABLE messages",
  "CREATE ROLE mine",
  "ALTER ROLE $role SUPERUSER",
  "ALTER ROLE $role CREATEROLE",
  "ALTER ROLE $owner PASSWORD 'mine'",
  "GRANT $owner TO $role",
  "SET ROLE $owner",
  "SET SESSION AUTHORIZATION $owner",
  "SET session_replication_role = replica",
  "SET log_statement = 'none'",
  "ALTER SYSTEM SET log_statement = 'none'",
  "SELECT pg_reload_conf()",
  "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '$owner'",
  "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = '$owner'",
  "SELECT rolpassword FROM pg_authid",
  "SELECT passwd FROM pg_shadow",
  "SELECT * FROM pg_statistic",
  "COPY messages TO PROGRAM 'cat'",
  "COPY messages TO '/tmp/messages'",
  "COPY messages FROM '/etc/passwd'",
  "SELECT pg_read_file('postgresql.conf')",
  "SELECT pg_ls_dir('.')",
  "SELECT lo_import('/etc/passwd')",
  // The schema's own memory.
  "SELECT run_on FROM migrations",
  "INSERT INTO migrations (name, run_on) VALUES ('9999', now())",
  "DELETE FROM migrations",
  "UPDATE function_texts SET hash = ''",
  // Rows that only ever get more, or go in other ways.
  "DELETE FROM users",
  "DELETE FROM attachment_thumbnails",
  "INSERT INTO log_epoch VALUES (true)",
  "DELETE FROM log_epoch",
  // Columns that are written once, or by nobody.
  "UPDATE users SET id = uuid7()",
  "UPDATE users SET created_at = now()",
  "INSERT INTO users (id, username, display_name, password_hash) VALUES (uuid7(), 'eve', 'Eve', '')",
  "UPDATE sessions SET user_id = uuid7()",
  "UPDATE refresh_tokens SET token_hash = ''",
  "UPDATE tickets SET expires_at = 'infinity'",
  "UPDATE discussions SET id = uuid7()",
  "UPDATE members SET user_id = uuid7()",
  "UPDATE members SET joined_at = now()",
  "UPDATE messages SET sender_id = uuid7()",
  "UPDATE messages SET seq = seq + 1",
  "UPDATE messages SET position = position + 1",
  "UPDATE messages SET created_at = now()",
  "INSERT INTO messages (discussion_id, sender_id, content, created_at) VALUES (uuid7(), uuid7(), '', now())",
  "UPDATE message_edits SET content = ''",
  "UPDATE reactions SET emoji = ''",
  "UPDATE blocks SET blocked_id = uuid7()",
  "UPDATE events SET position = position + 1",
  "UPDATE events SET discussion_id = uuid7()",
  "UPDATE events SET user_id = uuid7()",
  "UPDATE events SET at = now()",
  "UPDATE search_documents SET place = place + 1",
  "UPDATE attachments SET user_id = uuid7()",
  "UPDATE attachment_chunks SET bytes = ''",
  "SELECT messages_deleted()",
];

roleTest("the role is refused whatever no server needs", () =>
  withRole(async ({ owner, role, name }) => {
    const held = new pg.Client({ connectionString: owner });
    const client = new pg.Client({ connectionString: role });
    await Promise.all([held.connect(), client.connect()]);
    try {
      const { rows } = await held.query("SELECT current_user AS owner, current_database() AS database");
      const before = await rightsOf(owner, name);
      for (const form of forbidden) {
        const text = form
          .replaceAll("$owner", rows[0].owner)
          .replaceAll("$database", rows[0].database)
          .replaceAll("$role", name);
        const outcome = await client.query(text).then(
          () => "was carried out",
          (error) => error.code,
        );
        assert.equal(outcome, insufficientPrivilege, text);
      }
      await client.query("GRANT SELECT ON messages TO PUBLIC"); // Only warns that nothing was granted.
      assert.deepEqual(await rightsOf(owner, name), before);
    } finally {
      await Promise.all([held.end(), client.end()]);
    }
  }),
);

roleTest("the rights in the database are those of grants.sql, of the role as of everybody", () =>
  withRole(async ({ owner, name }) => {
    assert.deepEqual(await rightsOf(owner, name), await grantedRights());
  }),
);

roleTest("grants.sql knows every table, and every function that is not a trigger's", () =>
  withRole(async ({ owner }) => {
    const known = new Set((await grantedRights()).map((right) => right.split(" ").at(-1)));
    const things = await query(
      owner,
      `SELECT relname AS name FROM pg_class
       WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
       UNION SELECT proname FROM pg_proc
       WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype`,
    );
    assert.ok(things.length > 90);
    assert.deepEqual(
      things.map(({ name }) => name).filter((name) => !known.has(name)),
      [],
    );
  }),
);

test("every right of grants.sql has a statement that needs it", async () => {
  const text = await readStatements();
  // The statements on rate_limits are in the library rate-limiter-flexible.
  const ours = (await grantedRights(true)).filter((right) => !right.endsWith(" rate_limits"));
  const unneeded = ours.filter((right) => !needOf(right).test(text));
  assert.deepEqual(unneeded, []);
  assert.ok(!needOf("UPDATE position events").test(text), "the look for statements can fail");
  assert.ok(!needOf("DELETE users").test(text), "the look for statements can fail");
  assert.ok(!needOf("EXECUTE messages_deleted").test(text), "the look for statements can fail");
});

roleTest("an upgrade gives rights anew that went, and takes what is too much", () =>
  withRole(async ({ owner, role, name }) => {
    const before = await rightsOf(owner, name);
    await query(owner, `GRANT TRUNCATE ON messages TO ${name}; GRANT EXECUTE ON FUNCTION uuid7 TO PUBLIC`);
    await query(owner, `REVOKE EXECUTE ON FUNCTION log_cursor FROM ${name}`);
    assert.notDeepEqual(await rightsOf(owner, name), before);
    await query(owner, "UPDATE function_texts SET hash = 'x'");
    await migrate({ url: owner });
    assert.deepEqual(await rightsOf(owner, name), before);
    await query(role, "SELECT log_cursor()");
  }),
);

test("what others have in the schema is left alone, and in nobody's way", () =>
  withPostgres(async ({ url }) => {
    // The owner of the database is no superuser, and may do nothing with what is theirs.
    await query(url, "CREATE ROLE keeper LOGIN; CREATE ROLE app LOGIN; CREATE ROLE theirs");
    await query(url, "CREATE DATABASE kept OWNER keeper TEMPLATE template0 ENCODING 'UTF8'");
    const kept = new URL(url);
    kept.pathname = "/kept";
    await query(
      kept.href,
      `CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_trgm;
       CREATE TABLE private (id int); CREATE FUNCTION private() RETURNS int LANGUAGE sql AS 'SELECT 1';
       ALTER TABLE private OWNER TO theirs; ALTER FUNCTION private OWNER TO theirs;
       REVOKE ALL ON FUNCTION private FROM PUBLIC; GRANT SELECT ON private TO app`,
    );
    kept.username = "keeper";
    await query(kept.href, "CREATE FUNCTION another() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    const rights = () =>
      query(
        kept.href,
        `SELECT proname AS name, coalesce(proacl, acldefault('f', proowner))::text AS acl
         FROM pg_proc LEFT JOIN pg_depend ON objid = pg_proc.oid AND deptype = 'e'
         WHERE deptype = 'e' OR proname IN ('private', 'another')
         UNION SELECT relname, relacl::text FROM pg_class
         WHERE relname IN ('private', 'pg_stat_statements')
         ORDER BY 1, 2`,
      );
    const before = await rights();
    assert.ok(before.length > 30, `${before.length}`);
    await migrate({ url: kept.href });
    await grantServing({ url: kept.href }, "app");
    await query(kept.href, "UPDATE function_texts SET hash = 'x'; GRANT DELETE ON users TO app");
    await migrate({ url: kept.href });
    assert.deepEqual(await rights(), before);
    const ours = (await rightsOf(kept.href, "app")).filter((right) => !before.some(isOn(right)));
    assert.deepEqual(ours, await grantedRights());
  }));

roleTest("while functions are replaced, servers go on and lack no right", () =>
  withServer(
    async (t) => {
      const ann = await register(t.url, "ann");
      const { id } = await ann.ok("POST", "/discussions", { kind: "group", name: "G", member_ids: [] });
      const path = `/discussions/${id}/messages`;
      let isOver = false;
      const answers = new Map<string, number>();
      const ask = async (act: () => Promise<Answer>) => {
        while (!isOver) {
          const { status, body } = await act();
          const key = status < 300 ? "done" : `${status} ${body?.code}`;
          answers.set(key, (answers.get(key) ?? 0) + 1);
        }
      };
      const asking = [
        ask(() => ann.call("POST", path, { content: "on and on" })),
        ask(() => ann.call("GET", path)),
        ask(() => ann.call("GET", "/search?q=on")),
      ];
      for (let round = 1; round <= 4; round++) {
        const before = answers.get("done") ?? 0;
        await query(t.databaseUrl, "UPDATE function_texts SET hash = 'x'");
        await migrate({ url: t.databaseUrl });
        await eventually(() => assert.ok((answers.get("done") ?? 0) >= before + 10));
      }
      isOver = true;
      await Promise.all(asking);
      assert.deepEqual([...answers.keys()], ["done"]);
    },
    { RATE_LIMITS: "off" },
  ),
);

roleTest("the role can neither start on an old schema nor without its rights, and says so in one line", () =>
  withRole(async ({ owner, role, name }) => {
    const env = { PORT: "0", DATABASE_URL: owner, JWT_SECRET: testSecret };
    const assertRefused = async (settings: NodeJS.ProcessEnv, reason: RegExp) => {
      const { code, stdout, stderr } = await runScript("server/main.ts", settings);
      assert.deepEqual([code, stdout], [1, ""], stderr);
      assert.match(stderr, reason);
      assert.equal(stderr.trim().split("\n").length, 1, stderr);
    };
    await query(owner, "UPDATE function_texts SET hash = 'x'");
    await assertRefused({ ...env, NODE_ENV: "production" }, /npm run migrate/);
    await assertRefused(env, /^DATABASE_URL: permission denied.*docs\/database-role\.md/);
    const migrated = await runScript("scripts/migrate.ts", {
      DATABASE_URL: role,
      MIGRATE_DATABASE_URL: owner,
    });
    assert.equal(migrated.code, 0, migrated.stderr);
    await query(owner, "UPDATE function_texts SET hash = 'x'");
    const refused = await runScript("scripts/migrate.ts", {
      MIGRATE_DATABASE_URL: role,
      DATABASE_URL: owner,
    });
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /^MIGRATE_DATABASE_URL: permission denied/);
    await migrate({ url: owner });
    await query(owner, `REVOKE ALL ON function_texts FROM ${name}`);
    await assertRefused({ ...env, NODE_ENV: "production" }, /^DATABASE_URL: permission denied/);
  }),
);

function isOn(right: string) {
  return ({ name }: Json) => right.split(" ").at(-1) === name;
}

/** All rights of a role, and of everybody, on what is in the schema: "privilege column name", sorted. */
async function rightsOf(url: string, role: string): Promise<string[]> {
  const rows: Json[] = await query(
    url,
    `WITH rights AS (
       SELECT relname AS name, NULL AS part, coalesce(relacl, acldefault('r', relowner)) AS acl
       FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('i', 'I', 'c')
       UNION ALL
       SELECT relname, attname, attacl FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
       WHERE relnamespace = 'public'::regnamespace
       UNION ALL
       SELECT proname, NULL, coalesce(proacl, acldefault('f', proowner))
       FROM pg_proc WHERE pronamespace = 'public'::regnamespace
       UNION ALL
       SELECT 'public', NULL, nspacl FROM pg_namespace WHERE oid = 'public'::regnamespace
     )
     SELECT DISTINCT concat_ws(' ', a.privilege_type, part, name) AS line
     FROM rights CROSS JOIN LATERAL aclexplode(acl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
     WHERE r.rolname = $1 OR a.grantee = 0`,
    [role],
  );
  return rows.map(({ line }) => line).sort();
}

/**
 * What grants.sql grants on what is in the schema, as rightsOf() gives it; or only what servers of this very
 * version need.
 */
async function grantedRights(isCurrent = false): Promise<string[]> {
  const file = await readFile(new URL("grants.sql", sqlFolder), "utf8");
  const [current = "", former = ""] = file.split("-- For servers of the version before");
  const text = (isCurrent ? current : current + former).replaceAll(/--.*/g, "");
  const grants = text.matchAll(/GRANT ([^;]+?) ON (?:(?:FUNCTION|SCHEMA|DATABASE)\s+)?([^;]+?)\s+TO/g);
  const rights = [...grants].flatMap(([, privileges = "", names = ""]) =>
    split(privileges).flatMap((privilege) => {
      const [, kind, columns] = /^(\w+)\s*(?:\(([^)]*)\))?$/.exec(privilege) ?? [];
      const what = split(names).map((name) => name.replace(/\(.*/, ""));
      const parts = columns === undefined ? [`${kind}`] : split(columns).map((column) => `${kind} ${column}`);
      return parts.flatMap((part) => what.map((name) => `${part} ${name}`));
    }),
  );
  return [...new Set(rights)].filter((right) => !right.endsWith(':"DBNAME"')).sort();
}

/** At commas that are in no parentheses. */
function split(list: string): string[] {
  return list.split(/,(?![^(]*\))/).map((part) => part.trim());
}

/** All that is said to Postgres, without the functions' heads, where a name is no call. */
async function readStatements(): Promise<string> {
  const texts: string[] = [];
  for await (const file of glob("{*.ts,functions/*.sql}", { cwd: sqlFolder })) {
    texts.push(await readFile(new URL(file, sqlFolder), "utf8"));
  }
  const migrations = new URL("../migrations/", import.meta.url);
  for await (const file of glob("*.sql", { cwd: migrations })) {
    // Of these only what is called by defaults and indexes.
    const text = await readFile(new URL(file, migrations), "utf8");
    texts.push(...(text.match(/DEFAULT \w+\(|USING gin \(.*/g) ?? []));
  }
  return texts
    .join("\n")
    .replaceAll(/--.*/g, "")
    .replaceAll(/(CREATE|DROP)( OR REPLACE)? (FUNCTION|TRIGGER|TABLE|VIEW|TYPE)( IF (NOT )?EXISTS)? \w+/g, "")
    .replaceAll(/EXECUTE FUNCTION \w+/g, "");
}

/** What a statement that needs a right looks like. */
function needOf(right: string): RegExp {
  const words = right.split(" ");
  const name = words.at(-1) ?? "";
  const column = words.length === 3 ? words[1] : "";
  switch (words[0]) {
    case "USAGE":
      return /(?:)/;
    case "EXECUTE":
      return new RegExp(`\\b${name}\\(`);
    case "SELECT":
      return new RegExp(`\\b(FROM|JOIN|USING)\\s+${name}\\b`);
    case "INSERT":
      return new RegExp(`\\bINSERT INTO ${name}\\b${column && `[^;]{0,200}\\b${column}\\b`}`);
    case "UPDATE":
      return new RegExp(
        `\\b(UPDATE|INSERT INTO) ${name}\\b[^;]{0,300} SET ((?!FROM|WHERE)[^;]){0,400}\\b${column} = `,
      );
    default:
      return new RegExp(`\\bDELETE FROM ${name}\\b`);
  }
}

test.run();
