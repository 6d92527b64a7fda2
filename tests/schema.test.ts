import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "uvu";
import { limits } from "../server/limits.ts";
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

test("an account that goes takes as much of its discussions along as one deletion does", async () => {
  const text = await readFile(new URL("../sql/functions/11_erase_user.sql", import.meta.url), "utf8");
  assert.equal(Number(/emptied_most int := (\d+);/.exec(text)?.[1]), limits.removalStep);
});

test.run();
