import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { startEmbeddedPostgres } from "../../server/embedded.ts";
import { readParent, runsCommand } from "./usage.ts";

/** Beside the code and not in /tmp, which may lie in memory, where a flush costs nothing. */
const dataFolder = join(import.meta.dirname, "../../.data");

/** The one Postgres of a benchmark. */
export interface BenchPostgres {
  version: string;
  /** Ours alone, so that its settings may be changed. */
  own: boolean;
  /** The process ids of Postgres' root, for its CPU; none if it runs elsewhere. */
  processes: number[];
  /** A fresh, empty database; drop() ends whoever is still connected. */
  createDatabase(): Promise<BenchDatabase>;
  /** ALTER SYSTEM, in force when this resolves; null resets. Only if `own`. */
  configure(settings: Record<string, string | null>, restart?: boolean): Promise<void>;
  /** Writes out what earlier runs left in memory. */
  checkpoint(): Promise<void>;
  stop(): Promise<void>;
}

export interface BenchDatabase {
  url: string;
  drop(): Promise<void>;
}

/** That of DATABASE_URL, or an embedded one that flushes every commit, as in production. */
export async function startPostgres(databaseUrl: string | undefined): Promise<BenchPostgres> {
  const server = databaseUrl ? { url: databaseUrl, own: false } : { url: "", own: true };
  const home = server.own ? await makeHome() : "";
  let embedded = server.own ? await startEmbeddedPostgres({ dataDir: home }) : undefined;
  server.url = embedded?.url ?? server.url;
  const restart = async () => {
    await embedded?.stop();
    embedded = await startEmbeddedPostgres({ dataDir: home });
    server.url = embedded.url;
    postgres.processes = await findProcesses(server.url);
  };
  const postgres: BenchPostgres = {
    version: await readVersion(server.url),
    own: server.own,
    processes: await findProcesses(server.url),
    createDatabase: () => createDatabase(server.url),
    configure: async (settings, needsRestart = false) => {
      for (const [name, value] of Object.entries(settings)) {
        await query(server.url, `ALTER SYSTEM SET ${name} = ${value ?? "DEFAULT"}`);
      }
      if (needsRestart) await restart();
      else await query(server.url, "SELECT pg_reload_conf()");
      for (const [name, value] of Object.entries(settings)) await waitForSetting(server.url, name, value);
    },
    // On somebody's server it may be forbidden; it only makes runs more alike.
    checkpoint: () => query(server.url, "CHECKPOINT").then(ignore, ignore),
    stop: async () => {
      await embedded?.stop();
      if (home) await rm(home, { recursive: true, force: true, maxRetries: 3 });
    },
  };
  return postgres;
}

/** One statement on a connection of its own. */
export async function query<Row = Record<string, unknown>>(
  url: string,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  return withClient(url, async (client) => (await client.query(text, values)).rows as Row[]);
}

/** Runs statements on one connection. */
export async function withClient<T>(url: string, act: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", ignore); // A lost connection also fails the query, which is where it is reported.
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end().catch(ignore);
  }
}

function ignore(): void {}

async function makeHome(): Promise<string> {
  await mkdir(dataFolder, { recursive: true });
  return mkdtemp(join(dataFolder, "bench-"));
}

async function createDatabase(serverUrl: string): Promise<BenchDatabase> {
  const name = `parley_bench_${randomBytes(6).toString("hex")}`;
  await query(serverUrl, `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const drop = async () => {
    await query(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  };
  return { url: url.href, drop };
}

async function readVersion(url: string): Promise<string> {
  const [row] = await query<{ server_version: string }>(url, "SHOW server_version");
  return row?.server_version ?? "";
}

async function findProcesses(url: string): Promise<number[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
    const parent = readParent(rows[0].pid);
    return parent !== undefined && runsCommand(parent, "postgres") ? [parent] : [];
  });
}

/** A reload reaches new connections a moment later. */
async function waitForSetting(url: string, name: string, value: string | null): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (value !== null) {
    const [row] = await query<{ setting: string }>(url, "SELECT setting FROM pg_settings WHERE name = $1", [
      name,
    ]);
    if (row?.setting === value.replace(/^'|'$/g, "")) return;
    if (Date.now() > deadline) throw new Error(`Postgres does not take ${name} = ${value}: ${row?.setting}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
