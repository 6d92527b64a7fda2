import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { migrate, readStanding } from "../sql/migrate.ts";
import { blaming } from "./complaint.ts";
import { type Config, ConfigError } from "./config.ts";
import { startEmbeddedPostgres } from "./embedded.ts";
import type { Ground } from "./parley.ts";

/**
 * Sees to a reachable, migrated database and a secret. Without DATABASE_URL that is the embedded Postgres. In
 * production nothing is changed: the release phase migrates, and a start before it stops here. A database
 * that a later version has migrated serves this one, too (docs/upgrading.md).
 */
export async function prepareGround(
  config: Config,
  log: Logger,
): Promise<Ground & { stop(): Promise<void> }> {
  const embedded = config.databaseUrl ? null : await startEmbeddedPostgres({ dataDir: config.dataDir });
  const databaseUrl = config.databaseUrl ?? embedded?.url ?? "";
  const listenDatabaseUrl = config.listenDatabaseUrl ?? databaseUrl;
  const ssl = config.ssl && { ssl: config.ssl };
  try {
    // A look comes first also where it is ours to migrate: our role may not be allowed to.
    let standing = await readStanding({ url: listenDatabaseUrl, ...ssl });
    if (standing === "older") {
      if (config.production) {
        throw new ConfigError("DATABASE_URL: the schema is not up to date; run `npm run migrate` first");
      }
      const url = config.migrateDatabaseUrl ?? listenDatabaseUrl;
      standing = await blaming(config.migrateDatabaseSetting, () =>
        migrate({ url, ...ssl }, (line) => log.info(line)),
      );
    }
    if (standing === "newer") log.info("the schema is that of a later version");
    const jwtSecret = config.jwtSecret ?? (await localSecret(config.dataDir));
    return { databaseUrl, listenDatabaseUrl, jwtSecret, stop: async () => embedded?.stop() };
  } catch (error) {
    await embedded?.stop();
    throw error;
  }
}

/** A secret that outlives restarts, so that access tokens do, on a machine where nobody set one. */
async function localSecret(dataDir: string): Promise<string> {
  const file = join(dataDir, "jwt-secret");
  await mkdir(dataDir, { recursive: true });
  const secret = randomBytes(32).toString("base64url");
  // Fails if it is there already: of two that start at once, both then read the first one's.
  await writeFile(file, secret, { flag: "wx", mode: 0o600 }).catch((error) => {
    if (error.code !== "EEXIST") throw error;
  });
  return readFile(file, "utf8");
}
