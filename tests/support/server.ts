import { pino } from "pino";
import { readConfig } from "../../server/config.ts";
import { type Parley, startParley } from "../../server/parley.ts";
import { createTestDatabase } from "./database.ts";
import { asServer, withServerUrls } from "./roles.ts";

/** A server of one test, and its database. */
export interface TestServer {
  url: string;
  /** As the owner of the database; the server itself connects as its role. */
  databaseUrl: string;
  /** Starts another instance on the same database; ended with the test. */
  another(env?: NodeJS.ProcessEnv): Promise<Parley>;
}

/**
 * Runs a test against a fresh server on a fresh database, and ends both however the test ends. Set up here
 * and not in a hook: uvu lets a test file whose hook throws end green.
 */
export async function withServer(
  act: (t: TestServer) => Promise<void>,
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const database = await createTestDatabase();
  const running: Parley[] = [];
  const another = async (more: NodeJS.ProcessEnv = {}) => {
    const parley = await startTestParley(database.url, { ...env, ...more });
    running.push(parley);
    return parley;
  };
  try {
    const parley = await another();
    await act({ url: parley.url, databaseUrl: database.url, another });
  } finally {
    await Promise.all(running.map((parley) => parley.close()));
    await database.drop();
  }
}

export const testSecret = "a secret that only tests know and use";

/** An instance in this process, on a free port, that logs nothing. */
export function startTestParley(databaseUrl: string, env: NodeJS.ProcessEnv = {}): Promise<Parley> {
  const own = { PORT: "0", DATABASE_URL: databaseUrl, JWT_SECRET: testSecret };
  const config = readConfig(withServerUrls({ ...own, ...env }));
  const ground = {
    databaseUrl: asServer(databaseUrl),
    listenDatabaseUrl: config.listenDatabaseUrl ?? asServer(databaseUrl),
    jwtSecret: testSecret,
  };
  return startParley(config, ground, pino({ level: process.env.TEST_LOG_LEVEL ?? "silent" }));
}

/** Repeats a check until it holds; fails with the last reason after `ms`. */
export async function eventually<T>(check: () => T | Promise<T>, ms = 10_000): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
