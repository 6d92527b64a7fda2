import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { readInterface } from "../sql/interface.ts";
import { createTestDatabase } from "../tests/support/database.ts";
import { query } from "../tests/support/postgres.ts";
import { withRelease } from "../tests/support/release.ts";

/**
 * `node scripts/dump-interface.ts <commit>`: writes down what a release offers to its servers' statements,
 * for tests/upgrade. To be run when a release is out, with its full commit.
 */
const commit = process.argv[2];
if (!/^[0-9a-f]{40}$/.test(commit ?? "")) throw new Error("usage: node scripts/dump-interface.ts <commit>");
await withRelease(`${commit}`, async (folder) => {
  const database = await createTestDatabase();
  try {
    await query(database.url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    const env = { ...process.env, DATABASE_URL: database.url };
    await promisify(execFile)(process.execPath, [join(folder, "scripts/migrate.ts")], { env });
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const lines = [`release ${commit}`, ...(await readInterface(client))];
    await client.end();
    await writeFile(new URL("../tests/upgrade/interface.txt", import.meta.url), `${lines.join("\n")}\n`);
  } finally {
    await database.drop();
  }
});
