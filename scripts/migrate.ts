import { parseArgs } from "node:util";
import { blaming, complain } from "../server/complaint.ts";
import { ConfigError, readConfig } from "../server/config.ts";
import { migrate } from "../sql/migrate.ts";

/**
 * `npm run migrate`: brings the database up to date, by the connection of MIGRATE_DATABASE_URL, else of
 * DATABASE_URL; for a release phase. `-- --back` puts an earlier version's functions back; see
 * docs/upgrading.md.
 */
async function main(): Promise<void> {
  const options = readOptions();
  // The release phase needs no secret for tokens.
  const config = readConfig({ JWT_SECRET: "-".repeat(32), ...process.env });
  const url = config.migrateDatabaseUrl;
  if (!url)
    throw new ConfigError("DATABASE_URL: must be set; the embedded Postgres is migrated by `npm start`");
  const target = { url, ...(config.ssl && { ssl: config.ssl }) };
  const standing = await blaming(config.migrateDatabaseSetting, () => migrate(target, console.log, options));
  if (standing === "newer") console.log("A later version has migrated this database, which serves this one.");
  else console.log("The schema is up to date.");
}

/** What it does not know may have been meant to spare the database. */
function readOptions(): { back: boolean } {
  try {
    return parseArgs({ options: { back: { type: "boolean", default: false } } }).values;
  } catch (error) {
    throw new ConfigError(`npm run migrate -- [--back]: ${error instanceof Error ? error.message : error}`);
  }
}

main().catch(complain);
