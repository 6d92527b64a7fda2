import { join } from "node:path";
import { plainSchema } from "../peers/schema.ts";
import { query } from "../postgres.ts";
import { runProgram } from "../processes.ts";
import type { Bench, Outcome, Variant } from "./scenario.ts";

/** What peers/insert.ts prints. */
interface Printed {
  messages: number;
  seconds: number;
  server: number;
  postgres: number;
}

/** Where Parley was not measured in the same run (--only), so many rows per INSERT. */
const defaultBatch = 32;

/**
 * The limit for durable writes: plain INSERTs of as many rows as Parley stored per commit, when it was sent
 * to by sockets in the same run.
 */
export const insertLimit: Variant = {
  id: "insert",
  title: "multi-row INSERT, nothing else",
  system: "insert",
  measure: async (bench, round) => {
    const batch = Math.max(1, Math.round(round.get("parley")?.metrics.batch || defaultBatch));
    const database = await bench.postgres.createDatabase();
    try {
      await query(database.url, plainSchema);
      await bench.postgres.checkpoint();
      return await insertFor(bench, database.url, batch);
    } finally {
      await database.drop();
    }
  },
};

async function insertFor(bench: Bench, databaseUrl: string, batch: number): Promise<Outcome> {
  const printed = await runProgram([join(import.meta.dirname, "../peers/insert.ts")], {
    DATABASE_URL: databaseUrl,
    BATCH: String(batch),
    WARM_UP_MS: String(bench.warmUpMs),
    WINDOW_MS: String(bench.windowMs),
    POSTGRES_PID: String(bench.postgres.processes[0] ?? ""),
  });
  const { messages, seconds, server, postgres } = JSON.parse(printed) as Printed;
  return {
    metrics: {
      messages_per_second: messages / seconds,
      batch,
      server_cores: server / seconds,
      postgres_cores: postgres / seconds,
      server_us_per_message: (server / messages) * 1e6,
      postgres_us_per_message: (postgres / messages) * 1e6,
    },
    problems: [],
  };
}
