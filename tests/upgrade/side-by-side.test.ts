// time limit: 360 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { type OwnPostgres, query, withPostgres } from "../support/postgres.ts";
import { endProgram, type Program, runScript, startProgram } from "../support/process.ts";
import { createRandom } from "../support/random.ts";
import { hasCommit, previousRelease, withRelease } from "../support/release.ts";
import { forgetRole } from "../support/roles.ts";
import { withLoad } from "./load.ts";

const release = await previousRelease();
// For whoever reads the output: without the commit these tests have shown nothing.
const here = await hasCommit(release);
if (!here) console.log(`SKIPPED: commit ${release} is not in this clone (is it shallow?)`);
const random = createRandom();
const whenHere = here ? test : test.skip;
const migrateMs = 120_000;
/** Of 3db8b33: who was added again while a stream was open heard of no edits on it. */
const knownFaults = /^lost: guest's .*: message\.updated at /;

/** A database with nothing in it but the previous release's schema, whose servers connect as its owner. */
async function withOldDatabase(act: (postgres: OwnPostgres, folder: string) => Promise<void>): Promise<void> {
  await withPostgres((postgres) =>
    withRelease(release, async (folder) => {
      forgetRole(new URL(postgres.url).pathname.slice(1));
      await query(postgres.url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
      await migrateBy(postgres.url, folder);
      await act(postgres, folder);
    }),
  );
}

/** `npm run migrate`, of our version or of that in a folder. */
async function migrateBy(url: string, folder?: string): Promise<string> {
  const ended = await runScript("scripts/migrate.ts", { DATABASE_URL: url }, migrateMs, folder);
  assert.equal(ended.code, 0, ended.stderr);
  return ended.stdout;
}

/** Instances of either version, started and ended in turn; production, so that none migrates by itself. */
class Fleet {
  readonly #url: string;
  readonly #folder: string;
  readonly #programs = new Map<string, Program>();
  /** Where clients find them. */
  readonly urls: string[] = [];

  constructor(url: string, folder: string) {
    this.#url = url;
    this.#folder = folder;
  }

  async add(version: "old" | "new"): Promise<string> {
    const env = { DATABASE_URL: this.#url, NODE_ENV: "production" };
    const program = await startProgram(env, version === "old" ? { folder: this.#folder } : {});
    this.#programs.set(program.url, program);
    this.urls.push(program.url);
    return program.url;
  }

  /** Ends one; by SIGTERM it must end well. Clients find out by themselves. */
  async end(url: string, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const program = this.#programs.get(url);
    assert.ok(program);
    program.kill(signal);
    const code = await program.exited;
    if (signal === "SIGTERM") assert.equal(code, 0);
    this.urls.splice(this.urls.indexOf(url), 1);
    this.#programs.delete(url);
  }

  async endAll(): Promise<void> {
    await Promise.all([...this.#programs.values()].map(endProgram));
  }
}

async function withFleet(url: string, folder: string, act: (fleet: Fleet) => Promise<void>): Promise<void> {
  const fleet = new Fleet(url, folder);
  try {
    await act(fleet);
  } finally {
    await fleet.endAll();
  }
}

whenHere("old servers serve while the next version migrates, and beside its servers, until they end", () =>
  withOldDatabase(({ url }, folder) =>
    withFleet(url, folder, async (fleet) => {
      const [first, second] = [await fleet.add("old"), await fleet.add("old")];
      await withLoad(url, fleet.urls, random, knownFaults, async (more) => {
        console.log((await migrateBy(url)).trim());
        await more(100);
        const third = await fleet.add("new");
        await more(100);
        await fleet.end(first, "SIGKILL");
        const fourth = await fleet.add("new");
        await more(100);
        await fleet.end(third, "SIGKILL");
        await more(100);
        await fleet.end(second, "SIGTERM");
        await more(100);
        await fleet.add("new");
        await fleet.end(fourth, "SIGTERM");
        await more(50);
      });
    }),
  ),
);

test.run();
