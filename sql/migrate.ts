import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { runner } from "node-pg-migrate";
import pg from "pg";
import { type FunctionTexts, ourSource, readFunctions, readMigrationNames, type Source } from "./source.ts";

/** Held while migrating; a second runner waits for the first, and then finds nothing to do. */
const lockKey = 5_521_861;
/**
 * Whoever waits for a lock makes all others queue behind: so little time is waited, then all is given back
 * and tried again a little later. Less than Postgres' deadlock_timeout (1 s): if a server and we wait for
 * each other, it is we who give way. Servers wait for five seconds, which this must never come near.
 */
const lockMs = 400;
const restMs = { least: 200, most: 3_000 };
const patienceMs = 300_000;
const lockNotAvailable = "55P03";
const deadlockDetected = "40P01";

/** Which version's functions are there, and which were before it. */
const versionTables = `
  CREATE TABLE IF NOT EXISTS function_texts (only_row boolean PRIMARY KEY, hash text NOT NULL);
  CREATE TABLE IF NOT EXISTS function_versions (
    hash text PRIMARY KEY, place bigint GENERATED ALWAYS AS IDENTITY, locking text[] NOT NULL)
`;

/** Where and how to connect: a connection URL, with `ssl` overriding what it says. */
export interface MigrationTarget {
  url: string;
  ssl?: { rejectUnauthorized: boolean };
}

interface MigrationOptions {
  /** What to bring the database to. */
  source?: Source;
  /** Also if that is an earlier version than the one that is there. */
  back?: boolean;
  /** For how long to try again while others hold what has to be locked. */
  patienceMs?: number;
}

/** The locks could not be had. */
export class BusyError extends Error {}

/**
 * How a database stands to a version of the code. "newer": a later version has migrated it, and serves this
 * one as well; see docs/upgrading.md.
 */
export type Standing = "current" | "newer" | "older";

/**
 * Brings the schema up to date while servers of the version before go on: new files of migrations/, each in a
 * transaction, then, if the text of any of them changed, all of sql/functions/ and the rights of servers'
 * roles (grants.sql) in one. Any number of runners may start at once; a database that is newer is left alone.
 * Throws BusyError, or what Postgres throws.
 */
export async function migrate(
  target: MigrationTarget,
  onLog: (line: string) => void = () => {},
  options: MigrationOptions = {},
): Promise<Standing> {
  const { source = ourSource } = options;
  return withClient(target, async (client) => {
    await client.query("SELECT pg_advisory_lock($1)", [lockKey]);
    await client.query("SET client_min_messages = warning");
    await client.query(`SET lock_timeout = ${lockMs}`);
    if (!options.back && (await compare(client, source)) === "newer") return "newer";
    // First of all, so that a role that may not migrate hears of it in Postgres' own words.
    await client.query(versionTables);
    const deadline = Date.now() + (options.patienceMs ?? patienceMs);
    const insist = <T>(act: () => Promise<T>) => persist(client, deadline, onLog, act);
    for (;;) {
      const name = await insist(() => runNextMigration(client, source));
      if (name === undefined) break;
      onLog(`migrated ${name}`);
    }
    const files = await insist(() => replaceFunctions(client, source));
    if (files > 0) onLog(`replaced functions (${files} files)`);
    return "current";
  });
}

/**
 * Gives a role the rights of a server, and takes all others that it has in the database. To be called by the
 * owner, once the schema is there; migrate() renews them. Throws what Postgres throws.
 */
export async function grantServing(target: MigrationTarget, role: string): Promise<void> {
  await withClient(target, async (client) => {
    await client.query("BEGIN");
    await client.query(await grantsFor(client, role, ourSource));
    await client.query("COMMIT");
  });
}

/** How the database stands to this version of the code; "current" and "newer" serve it. */
export async function readStanding(target: MigrationTarget, source = ourSource): Promise<Standing> {
  return withClient(target, (client) => compare(client, source));
}

async function withClient<T>(target: MigrationTarget, act: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: target.url, ...(target.ssl && { ssl: target.ssl }) });
  // A connection that is lost fails its query, too.
  client.on("error", () => {});
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end().catch(() => {});
  }
}

async function compare(client: pg.Client, source: Source): Promise<Standing> {
  const names = await readMigrationNames(source);
  const missing = await client.query(
    "SELECT to_regclass('function_versions') IS NULL OR to_regclass('migrations') IS NULL AS yes",
  );
  if (missing.rows[0].yes) return "older";
  const applied = await client.query(
    "SELECT FROM unnest($1::text[]) AS mine WHERE mine NOT IN (SELECT name FROM migrations)",
    [names],
  );
  if (applied.rowCount !== 0) return "older";
  const { hash } = await readFunctions(source);
  const { rows } = await client.query(
    `SELECT now.hash = $1 AS same, mine.place < theirs.place AS newer FROM function_texts AS now
     LEFT JOIN function_versions AS mine ON mine.hash = $1
     LEFT JOIN function_versions AS theirs ON theirs.hash = now.hash`,
    [hash],
  );
  if (rows[0]?.same) return "current";
  return rows[0]?.newer ? "newer" : "older";
}

/** Tries again, after a rest, what failed only because others held a lock. */
async function persist<T>(
  client: pg.Client,
  deadline: number,
  onLog: (line: string) => void,
  act: () => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      await client.query("ROLLBACK").catch(() => {});
      const code = error instanceof pg.DatabaseError ? error.code : "";
      if (code !== lockNotAvailable && code !== deadlockDetected) throw error;
      const others = await describeOthers(client);
      if (Date.now() > deadline) throw new BusyError(`What has to change is in use${others}.`);
      if (attempt === 0) onLog(`waiting: what has to change is in use${others}`);
    }
    await sleep(Math.min(restMs.least * 2 ** attempt, restMs.most) * (0.5 + Math.random() / 2));
  }
}

/** Who has been at it for long: most likely those that have to end first. */
async function describeOthers(client: pg.Client): Promise<string> {
  const { rows } = await client.query(
    `SELECT string_agg(format('process %s (%s) for %s s', pid,
       coalesce(nullif(application_name, ''), usename),
       extract(epoch FROM clock_timestamp() - xact_start)::int), ', ' ORDER BY xact_start) AS others
     FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND xact_start < clock_timestamp() - interval '2 seconds'`,
  );
  return rows[0].others ? `, by transactions that last: ${rows[0].others}` : "";
}

/** Gives its name; undefined if all are there. */
async function runNextMigration(client: pg.Client, source: Source): Promise<string | undefined> {
  const applied = await runner({
    dbClient: client,
    dir: fileURLToPath(source.migrations),
    direction: "up",
    count: 1,
    migrationsTable: "migrations",
    noLock: true,
    checkOrder: true,
    verbose: false,
    log: () => {},
  });
  return applied[0]?.name;
}

/**
 * All of them, whenever anything changed: no order of single changes to think about. Gives the number of
 * files.
 */
async function replaceFunctions(client: pg.Client, source: Source): Promise<number> {
  const texts = await readFunctions(source);
  if ((await compare(client, source)) === "current") return 0;
  await client.query("BEGIN");
  await createTypes(client, texts);
  for (const text of texts.functions) await client.query(text);
  // Last, as it takes the locks.
  const inForce = await readLocking(client);
  for (const text of texts.locking) if (!inForce.has(text)) await client.query(text);
  for (const role of await servingRoles(client)) await client.query(await grantsFor(client, role, source));
  await note(client, texts);
  await client.query("COMMIT");
  return texts.functions.length;
}

async function createTypes(client: pg.Client, texts: FunctionTexts): Promise<void> {
  const { rows } = await client.query(
    "SELECT name FROM unnest($1::text[]) AS name WHERE to_regtype(name) IS NULL",
    [texts.types.map(({ name }) => name)],
  );
  const missing = new Set(rows.map(({ name }) => name));
  for (const { name, text } of texts.types) if (missing.has(name)) await client.query(text);
}

/** The views and triggers that are there; none that is known of after a version that did not note them. */
async function readLocking(client: pg.Client): Promise<ReadonlySet<string>> {
  const { rows } = await client.query(
    "SELECT locking FROM function_versions JOIN function_texts USING (hash)",
  );
  return new Set(rows[0]?.locking);
}

/** Remembers the versions that were here, in their order: each serves those before it, none those after. */
async function note(client: pg.Client, { hash, locking }: FunctionTexts): Promise<void> {
  await client.query(
    `INSERT INTO function_versions (hash, locking) SELECT f.hash, '{}' FROM function_texts AS f
     ON CONFLICT DO NOTHING`,
  );
  await client.query(
    "DELETE FROM function_versions WHERE place >= (SELECT place FROM function_versions WHERE hash = $1)",
    [hash],
  );
  await client.query("INSERT INTO function_versions (hash, locking) VALUES ($1, $2)", [hash, locking]);
  await client.query(
    "INSERT INTO function_texts VALUES (true, $1) ON CONFLICT (only_row) DO UPDATE SET hash = excluded.hash",
    [hash],
  );
}

/** Roles, besides the owner, that may append to the log. */
async function servingRoles(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ role: string }>(`
    SELECT DISTINCT r.rolname AS role
    FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE c.oid = 'events'::regclass AND a.privilege_type = 'INSERT' AND a.grantee <> c.relowner
    ORDER BY role`);
  return rows.map(({ role }) => role);
}

/** The text of grants.sql with its variables put in as psql does it. */
async function grantsFor(client: pg.Client, role: string, { grants }: Source): Promise<string> {
  const { rows } = await client.query<{ name: string }>("SELECT current_database() AS name");
  const text = await readFile(grants, "utf8");
  return text
    .replaceAll(':"role"', () => client.escapeIdentifier(role))
    .replaceAll(":'role'", () => client.escapeLiteral(role))
    .replaceAll(':"DBNAME"', () => client.escapeIdentifier(rows[0]?.name ?? ""));
}
