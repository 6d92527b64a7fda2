import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "uvu";
import { createLog } from "../server/log.ts";
import { openDatabase, sql } from "../sql/database.ts";
import { createTestDatabase } from "./support/database.ts";

test("a log line about an error of Postgres does not tell the row", async () => {
  const database = await createTestDatabase();
  const pool = await openDatabase({ url: database.url, maxConnections: 1 });
  const lines = new PassThrough();
  const log = createLog("info", lines);
  try {
    await pool.query(sql.unsafe`
      INSERT INTO users (username, display_name, password_hash) VALUES ('ann', ${"secret name "}, NULL)
    `);
    assert.fail("it is refused");
  } catch (error) {
    log.error({ err: error }, "unexpected error");
  } finally {
    await pool.end();
    await database.drop();
  }
  const line = String(lines.read());
  assert.match(line, /password_hash/, "what went wrong is told");
  assert.doesNotMatch(line, /secret name/);
});

test.run();
