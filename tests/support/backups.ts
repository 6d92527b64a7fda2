import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { appendFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type OwnPostgres, query } from "./postgres.ts";
import { eventually } from "./server.ts";

const run = promisify(execFile);

/** A way to make a backup, and to bring it back later in place of what is there then. */
export interface Backup {
  name: string;
  /** Postgres runs before and after. */
  make(postgres: OwnPostgres): Promise<void>;
  /** Ends Postgres, brings the backup back, and starts Postgres. */
  restore(postgres: OwnPostgres): Promise<void>;
}

const dataOf = ({ home }: OwnPostgres) => join(home, "data");
const copyOf = ({ home }: OwnPostgres) => join(home, "backup");

/** With owners and all. */
async function copyFiles(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await run("cp", ["-a", from, to]);
}

async function restoreFiles(postgres: OwnPostgres): Promise<void> {
  await postgres.crash();
  await copyFiles(copyOf(postgres), dataOf(postgres));
}

async function makeFiles(postgres: OwnPostgres): Promise<void> {
  await postgres.crash();
  await copyFiles(dataOf(postgres), copyOf(postgres));
  await postgres.start();
}

/** The folder as it was: nothing in it tells that it is not the same database. */
export const files: Backup = {
  name: "a copy of the data folder",
  make: makeFiles,
  restore: async (postgres) => {
    await restoreFiles(postgres);
    await postgres.start();
  },
};

/** As services do that restore to a point in time, and as a standby that takes over. */
export const recovery: Backup = {
  name: "a recovery from a base backup",
  make: makeFiles,
  restore: async (postgres) => {
    await restoreFiles(postgres);
    const data = dataOf(postgres);
    await run("cp", ["-a", join(data, "PG_VERSION"), join(data, "recovery.signal")]);
    await appendFile(join(data, "postgresql.auto.conf"), "restore_command = 'false'\n");
    await postgres.start();
    // It accepts questions a little before it has taken over.
    await eventually(async () => {
      const [{ is_over }] = await query(postgres.url, "SELECT NOT pg_is_in_recovery() AS is_over");
      assert.ok(is_over, "it takes over");
    }, 60_000);
  },
};

const serverOf = ({ url }: OwnPostgres) => url.replace(/parley$/, "postgres");

/** Another database with the same tables takes the name. */
export const database: Backup = {
  name: "another database of the same server",
  make: async (postgres) => {
    await postgres.crash();
    await postgres.start();
    await query(serverOf(postgres), "CREATE DATABASE backup TEMPLATE parley");
  },
  restore: async (postgres) => {
    await postgres.crash();
    await postgres.start();
    await query(serverOf(postgres), "DROP DATABASE parley WITH (FORCE)");
    await query(serverOf(postgres), "ALTER DATABASE backup RENAME TO parley");
  },
};

/** Of the Postgres of TEST_POSTGRES_BIN; the embedded one comes without. */
const programs = process.env.TEST_POSTGRES_BIN ?? "";
export const hasDump = programs !== "" && existsSync(join(programs, "pg_dump"));
const dumpOf = ({ home }: OwnPostgres) => join(home, "backup.dump");

/** Into the same database, in which only the tables are others. */
export const dump: Backup = {
  name: "a dump",
  make: async (postgres) => {
    await run(join(programs, "pg_dump"), ["-Fc", "-f", dumpOf(postgres), postgres.url]);
  },
  restore: async (postgres) => {
    await postgres.crash();
    await postgres.start();
    const options = ["--clean", "--if-exists", "--exit-on-error", "-d", postgres.url];
    await run(join(programs, "pg_restore"), [...options, dumpOf(postgres)]);
  },
};
