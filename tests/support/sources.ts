import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ourSource, type Source } from "../../sql/source.ts";

/** A copy of our SQL, of which a test may make versions to come. */
export async function withSource(act: (source: Source) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "parley-source-"));
  try {
    await act(await copySource(folder));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The same, in a folder that is there. */
export async function copySource(folder: string): Promise<Source> {
  for (const name of ["migrations", "functions"] as const) {
    await cp(ourSource[name], join(folder, name), { recursive: true });
  }
  const root = pathToFileURL(`${folder}/`);
  const functions = new URL("functions/", root);
  return { migrations: new URL("migrations/", root), functions, grants: ourSource.grants };
}

/** Tables of all kinds, which get a column with each version of makeVersion(). */
export const migratedTables = [
  "users",
  "sessions",
  "discussions",
  "members",
  "messages",
  "reactions",
  "events",
  "log_epoch",
];

/** Everything is replaced, tables of all kinds get a column, and there is a new one. */
export async function makeVersion(source: Source, name: string): Promise<void> {
  await changeFunctions(source, name);
  // Each in a transaction of its own, as many locks at once are hard to get.
  for (const table of migratedTables) {
    await addMigration(source, `ALTER TABLE ${table} ADD COLUMN ${name} text NOT NULL DEFAULT '';`);
  }
  await addMigration(source, `CREATE TABLE of_${name} (user_id uuid PRIMARY KEY REFERENCES users);`);
}

/** Adds a migration, which comes after all that were added before. */
export async function addMigration({ migrations }: Source, text: string): Promise<void> {
  const last = (await readdir(migrations)).sort().at(-1) ?? "";
  const number = String(Number(last.slice(0, 4)) + 1).padStart(4, "0");
  await writeFile(new URL(`${number}_more.sql`, migrations), `-- Up Migration\n${text}\n`);
}

/** Another text of every function, view and trigger, which does the same. */
export async function changeFunctions({ functions }: Source, mark: string): Promise<void> {
  for (const file of await readdir(functions)) {
    const text = await readFile(new URL(file, functions), "utf8");
    const changed = text
      .replaceAll(/\$\$$/gm, `$$$$ /* ${mark} */`)
      .replaceAll(/^(CREATE OR REPLACE (?:VIEW|TRIGGER) [^;]*);$/gm, `$1 /* ${mark} */;`);
    await writeFile(new URL(file, functions), changed);
  }
}
