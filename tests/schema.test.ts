import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "uvu";
import { dumpSchema } from "../sql/dump.ts";
import { createTestDatabase } from "./support/database.ts";

test("schema.sql is what migrations and functions make", async () => {
  const database = await createTestDatabase();
  try {
    const expected = await readFile(new URL("../sql/schema.sql", import.meta.url), "utf8");
    assert.equal(await dumpSchema(database.url), expected, "run `node scripts/dump-schema.ts`");
  } finally {
    await database.drop();
  }
});

test.run();
