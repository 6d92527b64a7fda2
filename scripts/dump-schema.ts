import { writeFile } from "node:fs/promises";
import { dumpSchema } from "../sql/dump.ts";
import { createTestDatabase } from "../tests/support/database.ts";

/** Writes sql/schema.sql anew from a freshly migrated database. */
const database = await createTestDatabase();
try {
  await writeFile(new URL("../sql/schema.sql", import.meta.url), await dumpSchema(database.url));
} finally {
  await database.drop();
}
