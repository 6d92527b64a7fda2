// time limit: 120 s
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "uvu";
import { isUnavailable } from "../../server/commands/unavailable.ts";
import { openDatabase, openSending, sql } from "../../sql/database.ts";
import { createConnection } from "../../sql/driver.ts";
import { assertProblem, register } from "../support/client.ts";
import { createTestDatabase } from "../support/database.ts";
import { query } from "../support/postgres.ts";
import { withProgram } from "../support/process.ts";
import { withRoad } from "../support/road.ts";
import { eventually } from "../support/server.ts";

/** More than any pool holds, so that a connection that each left behind would show. */
const triesInVain = 30;
const mostConnections = 20;

const others = `FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`;

// As on a disk that fails under the catalogs. Whoever gave up such a connection heard nothing of its end.
test("a connection that takes no session settings is closed, and its end does not end the process", () =>
  withProgram({}, async (program) => {
    const { url, databaseUrl } = program;
    const ann = await register(url, "ann");
    await query(databaseUrl, settingsThat("RAISE EXCEPTION 'could not read block' USING ERRCODE = '58030';"));
    await query(databaseUrl, `SELECT pg_terminate_backend(pid) ${others}`);
    for (let tries = 0; tries < triesInVain; tries++) {
      assertProblem(await ann.call("GET", "/users/me"), 503, "unavailable");
    }
    await eventually(async () => {
      const { length } = await query(databaseUrl, `SELECT ${others}`);
      assert.ok(length <= mostConnections, `${length} connections`);
    });
    await query(databaseUrl, `SELECT pg_terminate_backend(pid) ${others}`);
    await query(databaseUrl, "DROP FUNCTION public.set_config(text, text, boolean)");
    await eventually(async () => assert.equal((await ann.call("GET", "/users/me")).status, 200));
    assert.ok(program.isRunning());
    assert.doesNotMatch(program.stderr(), /"level":[56]0/);
  }));

// The pool waits a second for the goodbye; then nobody is there to be told, and Node ends the process for it.
test("nothing is told of a connection that was given up, also if its network dies meanwhile", async () => {
  const database = await createTestDatabase();
  try {
    await withRoad(database.url, async (road) => {
      const lines = new Set<{ socket: Socket; unanswered: number }>();
      const told: Error[] = [];
      const limits = { connectMs: 3_000, statementMs: 0, lockMs: 0, idleInTransactionMs: 0, answerMs: 9_000 };
      const onLost = (error: Error) => void told.push(error);
      const connection = createConnection({ url: road.url }, limits, { lines, pipeline: false, onLost });
      await connection.connect();
      const [line] = lines;
      road.swallow();
      const ended = connection.end();
      line?.socket.destroy(Object.assign(new Error("no route to host"), { code: "EHOSTUNREACH" }));
      await ended;
      assert.equal(lines.size, 0);
      assert.deepEqual(told, []);
    });
  } finally {
    await database.drop();
  }
});

test("a connection that Postgres ends while its session is set up fails what waits for it only", async () => {
  const database = await createTestDatabase();
  const pool = await openDatabase({ url: database.url, maxConnections: 2 });
  try {
    await query(database.url, settingsThat("PERFORM pg_terminate_backend(pg_backend_pid());"));
    for (let tries = 0; tries < 5; tries++) await assert.rejects(pool.any(sql.unsafe`SELECT 1`));
    // That nobody took the connection's end would end this test's process.
    await eventually(async () => assert.equal((await query(database.url, `SELECT ${others}`)).length, 0));
    await query(database.url, "DROP FUNCTION public.set_config");
    await pool.any(sql.unsafe`SELECT 1`);
  } finally {
    await pool.end();
    await database.drop();
  }
});

// Of one that was lost is told more than once; the next one may be there by then.
test("of the connections for sending none is left over, however often they are ended", async () => {
  const database = await createTestDatabase();
  const sending = openSending({ url: database.url }, () => {});
  let isOver = false;
  const send = async () => {
    while (!isOver) await sending.query("one", "SELECT 1", []).catch(() => new Promise(setImmediate));
  };
  try {
    const senders = Promise.all([send(), send(), send()]);
    for (let times = 0; times < 50; times++) {
      await query(database.url, `SELECT pg_terminate_backend(pid) ${others}`);
      await sending.query("one", "SELECT 1", []).catch(() => {});
    }
    isOver = true;
    await senders;
    await eventually(async () => {
      const { length } = await query(database.url, `SELECT ${others}`);
      assert.ok(length <= 2, `${length} connections`);
    });
  } finally {
    isOver = true;
    await sending.end();
    await database.drop();
  }
});

test("while no new connection comes about, what is sent goes by the one that is there", async () => {
  const database = await createTestDatabase();
  const server = new URL(database.url);
  const name = server.pathname.slice(1);
  server.pathname = "/postgres";
  const sending = openSending({ url: database.url }, () => {});
  const pids = () => query(database.url, `SELECT pid ${others} ORDER BY backend_start`);
  try {
    // Two at once take both lanes.
    const both = () => Promise.all([1, 2].map(() => sending.query("one", "SELECT pg_backend_pid()", [])));
    await both();
    const [first] = await pids();
    assert.equal((await pids()).length, 2);
    await query(server.href, `ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS false`);
    await query(server.href, "SELECT pg_terminate_backend($1)", [first.pid]);
    // What is under way when it is lost may fail.
    await eventually(() => both());
    for (let times = 0; times < 10; times++) await both();
    await query(server.href, `ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS true`);
    await both();
    assert.equal((await pids()).length, 2);
  } finally {
    await sending.end();
    await database.drop();
  }
});

test("a connection that breaks is lost by whatever name the network calls it", async () => {
  const database = await createTestDatabase();
  try {
    const lines = new Set<{ socket: Socket; unanswered: number }>();
    const limits = { connectMs: 3_000, statementMs: 0, lockMs: 0, idleInTransactionMs: 0, answerMs: 9_000 };
    for (const code of ["EHOSTUNREACH", "ENETDOWN", "EPROTO"]) {
      const connection = createConnection({ url: database.url }, limits, {
        lines,
        pipeline: false,
        onLost: () => {},
      });
      await connection.connect();
      const [line] = lines;
      const asked = connection.query({ text: "SELECT pg_sleep(60)" });
      line?.socket.destroy(Object.assign(new Error("it broke"), { code }));
      await assert.rejects(asked, (error) => isUnavailable(error), code);
    }
  } finally {
    await database.drop();
  }
});

test.run();

/** In place of the session settings, the first statement of each connection of a database. */
function settingsThat(body: string): string {
  return `CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS
      $$ BEGIN ${body} RETURN $2; END $$;
    DO $$ BEGIN
      EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
    END $$`;
}
