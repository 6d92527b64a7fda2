/**
 * Databases for tests: each test (file) gets a clone of one migrated template, made in a few milliseconds.
 *
 * `npm test` prepares server, template and the servers' role and names them in TEST_SERVER_URL, TEST_TEMPLATE
 * and TEST_ROLE. When somebody runs one file by hand, the first database starts a server of our own, and
 * dropping the last one stops it.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { startEmbeddedPostgres } from "../../server/embedded.ts";
import { migrate } from "../../sql/migrate.ts";
import { createRole, forgetRole, letServe, noteRole, parseRole, type ServerRole } from "./roles.ts";

const maxAttempts = 40;
const sourceInUse = "55006";

export interface TestDatabase {
  /** As the owner. A server that the support starts connects as its role; see roles.ts. */
  url: string;
  /** Ends whatever is still connected. */
  drop(): Promise<void>;
}

/** What databases are cloned from, and who has a server's rights in it, if there may be somebody. */
export interface Template {
  template: string;
  role: ServerRole | null;
}

export interface TestServer extends Template {
  url: string;
  stop(): Promise<void>;
}

let own: Promise<TestServer> | undefined;
let ownInUse = 0;

/** A fresh, migrated, empty database. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const { TEST_SERVER_URL: url, TEST_TEMPLATE: template, TEST_ROLE } = process.env;
  if (url && template) return await clone(url, { template, role: parseRole(TEST_ROLE) });
  ownInUse += 1;
  try {
    own ??= startTestServer();
    const server = await own;
    const database = await clone(server.url, server);
    let dropped: Promise<void> | undefined;
    const drop = () => database.drop().finally(leaveOwn);
    return {
      url: database.url,
      drop() {
        dropped ??= drop();
        return dropped;
      },
    };
  } catch (error) {
    await leaveOwn();
    throw error;
  }
}

/**
 * An embedded Postgres in a temporary folder, with a migrated template. For scripts/test.ts and single
 * files.
 */
export async function startTestServer(): Promise<TestServer> {
  const dataDir = await mkdtemp(join(tmpdir(), "parley-test-"));
  const remove = () => rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
  try {
    const server = await startEmbeddedPostgres({ dataDir, durable: false });
    const stop = () => server.stop().finally(remove);
    try {
      return { url: server.url, ...(await createTemplate(server.url)), stop };
    } catch (error) {
      await stop();
      throw error;
    }
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Creates and migrates a template, on a server whose user may create databases, and roles if possible. */
export async function createTemplate(serverUrl: string): Promise<Template> {
  const template = newName("parley_template");
  await onServer(serverUrl, `CREATE DATABASE ${template} TEMPLATE template0 ENCODING 'UTF8'`);
  try {
    const url = urlOf(serverUrl, template);
    await migrate({ url });
    const role = await createRole(serverUrl);
    if (role) await letServe(url, role);
    return { template, role };
  } catch (error) {
    await dropDatabase(serverUrl, template);
    throw error;
  }
}

export async function dropTemplate(serverUrl: string, { template, role }: Template): Promise<void> {
  await dropDatabase(serverUrl, template);
  // Fails while there are clones of tests that were killed; they are left, too.
  if (role) await onServer(serverUrl, `DROP ROLE ${role.name}`).catch(() => {});
}

export async function dropDatabase(serverUrl: string, name: string): Promise<void> {
  await onServer(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

async function leaveOwn(): Promise<void> {
  ownInUse -= 1;
  if (ownInUse > 0 || !own) return;
  const last = own;
  own = undefined;
  const server = await last.catch(() => undefined); // Who asked for it has heard of the failure.
  await server?.stop();
}

async function clone(serverUrl: string, { template, role }: Template): Promise<TestDatabase> {
  const name = newName("parley_test");
  await createFrom(serverUrl, name, template);
  if (role) {
    // The one right that is not cloned, as it is of the database itself.
    await onServer(serverUrl, `REVOKE TEMPORARY ON DATABASE ${name} FROM PUBLIC`);
    noteRole(name, role);
  }
  return {
    url: urlOf(serverUrl, name),
    drop: async () => {
      forgetRole(name);
      await dropDatabase(serverUrl, name);
    },
  };
}

/**
 * Postgres refuses to clone a database while anyone is connected to it, if only for a moment (autovacuum).
 */
async function createFrom(serverUrl: string, name: string, template: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await onServer(serverUrl, `CREATE DATABASE ${name} TEMPLATE ${template}`);
    } catch (error) {
      if (attempt === maxAttempts || (error as { code?: string }).code !== sourceInUse) throw error;
      await sleep(50 + Math.random() * 100);
    }
  }
}

async function onServer(serverUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl });
  client.on("error", () => {}); // A lost connection also fails the query, which is where it is reported.
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

function newName(prefix: string): string {
  return `${prefix}_${randomBytes(6).toString("hex")}`;
}

function urlOf(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}
