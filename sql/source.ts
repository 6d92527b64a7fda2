import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";

/** Where the SQL of a version of the code stands. */
export interface Source {
  migrations: URL;
  functions: URL;
  /** The rights of servers' roles. */
  grants: URL;
}

export const ourSource: Source = {
  migrations: new URL("../migrations/", import.meta.url),
  functions: new URL("functions/", import.meta.url),
  grants: new URL("grants.sql", import.meta.url),
};

/** The texts of sql/functions/, by how they can be put in place while others use what is there. */
export interface FunctionTexts {
  /** Names this version of them. */
  hash: string;
  /** Made where they are missing, and never changed: whatever names a type fails while it is another. */
  types: readonly { name: string; text: string }[];
  /** Functions are replaced without waiting for anybody, and nobody waits for them. */
  functions: readonly string[];
  /** Views and triggers, which are locked with their tables: put in place only if their text is new. */
  locking: readonly string[];
}

export async function readFunctions({ functions: folder, grants }: Source): Promise<FunctionTexts> {
  const files = await sqlFiles(folder);
  const texts = await Promise.all(files.map((file) => readFile(new URL(file, folder), "utf8")));
  const whole = texts.join("\n");
  return {
    hash: createHash("sha256")
      .update([...texts, await readFile(grants, "utf8")].join("\0"))
      .digest("hex"),
    types: Array.from(whole.matchAll(typeStatement), ([text, name = ""]) => ({ name, text })),
    functions: texts.map((text) => text.replace(typeStatement, "").replace(lockingStatement, "")),
    locking: whole.match(lockingStatement) ?? [],
  };
}

// None of these statements has a semicolon in it.
const typeStatement = /^CREATE TYPE (\w+) AS [^;]*;$/gm;
const lockingStatement = /^CREATE OR REPLACE (?:VIEW|TRIGGER) [^;]*;$/gm;

/** The names of the migrations, in their order. */
export async function readMigrationNames({ migrations }: Source): Promise<string[]> {
  return (await sqlFiles(migrations)).map((file) => file.replace(/\.sql$/, ""));
}

async function sqlFiles(folder: URL): Promise<string[]> {
  return (await readdir(folder)).filter((file) => file.endsWith(".sql")).sort();
}
