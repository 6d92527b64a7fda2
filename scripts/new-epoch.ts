import { complain } from "../server/complaint.ts";
import { ConfigError, readConfig } from "../server/config.ts";
import { openDatabase } from "../sql/database.ts";
import { renewEpoch } from "../sql/log.ts";

/**
 * `npm run new-epoch`: to be run once after a backup was restored. Clients then load their state anew instead
 * of trusting cursors of a history that is gone.
 */
async function main(): Promise<void> {
  const config = readConfig({ JWT_SECRET: "-".repeat(32), ...process.env });
  if (!config.databaseUrl) throw new ConfigError("DATABASE_URL: must be set");
  const pool = await openDatabase({
    url: config.databaseUrl,
    ...(config.ssl && { ssl: config.ssl }),
    maxConnections: 1,
  });
  try {
    await renewEpoch(pool);
    console.log("The log has a new epoch: all cursors given out before answer with a reset.");
  } finally {
    await pool.end();
  }
}

main().catch(complain);
