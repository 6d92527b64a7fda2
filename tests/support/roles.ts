/**
 * The role that servers under test connect as: it may do what sql/grants.sql says and nothing else, while
 * tests themselves look, and break things, as the owner. So every test proves that these rights suffice.
 */
import { randomBytes } from "node:crypto";
import pg from "pg";
import { grantServing } from "../../sql/migrate.ts";

const insufficientPrivilege = "42501";

export interface ServerRole {
  name: string;
  password: string;
}

/** By the names of the databases in which it has its rights. */
const roles = new Map<string, ServerRole>();

/** The URL by which a server is to reach a database of a test; another URL stays as it is. */
export function asServer(url: string): string {
  const role = URL.canParse(url) ? roles.get(databaseOf(url)) : undefined;
  if (!role) return url;
  const changed = new URL(url);
  changed.username = role.name;
  changed.password = role.password;
  return changed.href;
}

/** The settings of a server under test, by which it connects as its role. */
export function withServerUrls(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { DATABASE_URL, LISTEN_DATABASE_URL } = env;
  return {
    ...env,
    ...(DATABASE_URL && { DATABASE_URL: asServer(DATABASE_URL) }),
    ...(LISTEN_DATABASE_URL && { LISTEN_DATABASE_URL: asServer(LISTEN_DATABASE_URL) }),
  };
}

/** In this database, which has the rights already, servers connect as the role. */
export function noteRole(database: string, role: ServerRole): void {
  roles.set(database, role);
}

export function forgetRole(database: string): void {
  roles.delete(database);
}

/**
 * Gives the role its rights in a migrated database, and lets servers connect to it by them. Tables that a
 * test makes from then on are open to it: triggers that write down what a server does act as the server.
 */
export async function letServe(url: string, role: ServerRole): Promise<void> {
  await grantServing({ url }, role.name);
  await withClient(url, (client) =>
    client.query(`ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO ${role.name}`),
  );
  noteRole(databaseOf(url), role);
}

/** Null, and a loud line, where the user of the URL may not create roles. */
export async function createRole(serverUrl: string): Promise<ServerRole | null> {
  const suffix = randomBytes(6).toString("hex");
  const role = { name: `parley_app_${suffix}`, password: randomBytes(18).toString("hex") };
  try {
    await withClient(serverUrl, async (client) => {
      await client.query(`CREATE ROLE ${role.name} LOGIN PASSWORD '${role.password}'`);
      // Of somebody else's connections a user who is no superuser sees nothing, and can end none.
      await client.query(`GRANT ${role.name} TO CURRENT_USER`);
    });
    return role;
  } catch (error) {
    if ((error as { code?: string }).code !== insufficientPrivilege) throw error;
    console.log("!!! No CREATEROLE: servers under test run as the OWNER, and their rights are NOT tested.");
    return null;
  }
}

/** For the environment of a test's process. */
export function printRole(role: ServerRole): string {
  return `${role.name}:${role.password}`;
}

export function parseRole(text: string | undefined): ServerRole | null {
  const [name, password] = text?.split(":") ?? [];
  return name && password ? { name, password } : null;
}

async function withClient(url: string, act: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await act(client);
  } finally {
    await client.end();
  }
}

function databaseOf(url: string): string {
  return new URL(url).pathname.slice(1);
}
