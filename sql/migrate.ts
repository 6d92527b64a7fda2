import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { runner } from "node-pg-migrate";
import pg from "pg";

const migrationsFolder = new URL("../migrations/", import.meta.url);
const functionsFolder = new URL("functions/", import.meta.url);
/** Held while migrating; a second runner waits for the first, and then finds nothing to do. */
const lockKey = 5_521_861;

/** Where and how to connect: a connection URL, with `ssl` overriding what it says. */
export interface MigrationTarget {
  url: string;
  ssl?: { rejectUnauthorized: boolean };
}

/**
 * Brings the schema up to date: new files of migrations/, then, if the text of any of them changed, all of
 * sql/functions/ in one transaction. Any number of runners may start at once. Throws what Postgres throws.
 */
export async function migrate(
  target: MigrationTarget,
  onLog: (line: string) => void = () => {},
): Promise<void> {
  const client = new pg.Client({ connectionString: target.url, ...(target.ssl && { ssl: target.ssl }) });
  await client.connect();
  try {
    await client.query("SELECT pg_advisory_lock($1)", [lockKey]);
    await client.query("SET client_min_messages = warning");
    await runMigrations(client, onLog);
    await replaceFunctions(client, onLog);
  } finally {
    await client.end();
  }
}

/** Whether the migrations and the functions of this version of the code are in the database. */
export async function isMigrated(target: MigrationTarget): Promise<boolean> {
  const client = new pg.Client({ connectionString: target.url, ...(target.ssl && { ssl: target.ssl }) });
  await client.connect();
  try {
    const { rows } = await client.query("SELECT to_regclass('function_texts') IS NOT NULL AS known");
    if (!rows[0].known) return false;
    if ((await appliedHash(client)) !== (await readFunctions()).hash) return false;
    const applied = await client.query("SELECT name FROM migrations");
    const names = new Set(applied.rows.map((row) => row.name));
    const files = await sqlFiles(migrationsFolder);
    return files.every((file) => names.has(file.replace(/\.sql$/, "")));
  } finally {
    await client.end();
  }
}

async function runMigrations(client: pg.Client, onLog: (line: string) => void): Promise<void> {
  const applied = await runner({
    dbClient: client,
    dir: fileURLToPath(migrationsFolder),
    direction: "up",
    migrationsTable: "migrations",
    noLock: true,
    checkOrder: true,
    verbose: false,
    log: () => {},
  });
  for (const { name } of applied) onLog(`migrated ${name}`);
}

/** CREATE OR REPLACE of everything, whenever anything changed: no order of single changes to think about. */
async function replaceFunctions(client: pg.Client, onLog: (line: string) => void): Promise<void> {
  const { texts, hash } = await readFunctions();
  await client.query(
    "CREATE TABLE IF NOT EXISTS function_texts (only_row boolean PRIMARY KEY, hash text NOT NULL)",
  );
  if ((await appliedHash(client)) === hash) return;
  await client.query("BEGIN");
  for (const text of texts) await client.query(text);
  await client.query(
    "INSERT INTO function_texts VALUES (true, $1) ON CONFLICT (only_row) DO UPDATE SET hash = excluded.hash",
    [hash],
  );
  await client.query("COMMIT");
  onLog(`replaced functions (${texts.length} files)`);
}

async function readFunctions(): Promise<{ texts: string[]; hash: string }> {
  const files = await sqlFiles(functionsFolder);
  const texts = await Promise.all(files.map((file) => readFile(new URL(file, functionsFolder), "utf8")));
  return { texts, hash: createHash("sha256").update(texts.join("\0")).digest("hex") };
}

async function appliedHash(client: pg.Client): Promise<string | undefined> {
  const { rows } = await client.query("SELECT hash FROM function_texts");
  return rows[0]?.hash;
}

async function sqlFiles(folder: URL): Promise<string[]> {
  return (await readdir(folder)).filter((file) => file.endsWith(".sql")).sort();
}
