// time limit: 120 s
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "uvu";
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
    await query(
      databaseUrl,
      `CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'could not read block' USING ERRCODE = '58030'; END $$;
       DO $$ BEGIN
         EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
       END $$`,
    );
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

test.run();
