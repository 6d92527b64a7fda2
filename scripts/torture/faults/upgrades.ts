import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { migrate } from "../../../sql/migrate.ts";
import type { Source } from "../../../sql/source.ts";
import { type OwnPostgres, query } from "../../../tests/support/postgres.ts";
import { runScript } from "../../../tests/support/process.ts";
import { hasCommit, previousRelease, unpackRelease } from "../../../tests/support/release.ts";
import { forgetRole } from "../../../tests/support/roles.ts";
import { copySource, makeVersion } from "../../../tests/support/sources.ts";
import { at, type Fault, times, type World } from "../fault.ts";

const migrateMs = 60_000;

export const migrated: Fault = {
  id: "migrated",
  title: "later versions migrate while servers serve: functions are replaced, tables get columns",
  recoveryMs: 10_000,
  plan: (_random, seconds) => {
    let source: Promise<Source> | undefined;
    return times(Math.max(2, seconds / 4)).map((index) => ({
      atMs: index * 4_000,
      what: `migrate to version ${index + 1}`,
      act: async ({ postgres, folder }) => {
        source ??= copySource(folder);
        await makeVersion(await source, `version_${index + 1}`);
        const lines: string[] = [];
        await migrate({ url: postgres.url }, (line) => lines.push(line), { source: await source });
        return lines.length;
      },
    }));
  },
};

export const twoVersions: Fault = {
  id: "two-versions",
  title: "the previous release serves while the next one migrates, then beside its servers, until it ends",
  recoveryMs: 15_000,
  // Of 3db8b33: who was added again while a stream was open heard of no edits on it.
  known: /^lost: guest's .*: message\.updated at /,
  missing: async () => {
    const release = await previousRelease();
    return (await hasCommit(release)) ? null : `commit ${release} is not in this clone`;
  },
  prepare: async (folder) => {
    const release = releaseIn(folder);
    await mkdir(release);
    await unpackRelease(await previousRelease(), release);
    return {
      // In production nobody migrates but who is told to.
      env: { NODE_ENV: "production" },
      begin: async ({ postgres, instances }) => {
        await startAnew(postgres);
        await migrateBy(postgres, release);
        for (const instance of instances) instance.become(release);
      },
    };
  },
  plan: (random, seconds) => {
    const first = random.integer(0, 1);
    const replace = (place: number, isKilled: boolean) => (world: World) => upgrade(world, place, isKilled);
    return [
      { atMs: random.between(0, 1_000), what: "migrate", act: ({ postgres }) => migrateBy(postgres) },
      {
        atMs: (seconds / 3) * 1_000,
        what: `kill instance ${first + 1}, start it as the next version`,
        act: replace(first, true),
      },
      {
        atMs: (seconds / 1.5) * 1_000,
        what: `restart instance ${2 - first} as the next version`,
        act: replace(1 - first, false),
      },
    ];
  },
};

/** A database with nothing in it, in which servers are its owners: what rights they need is not known. */
async function startAnew({ url }: OwnPostgres): Promise<void> {
  forgetRole(new URL(url).pathname.slice(1));
  await query(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
}

/** `npm run migrate`, of our version or of that in a folder. Gives how many lines it had to say. */
async function migrateBy({ url }: OwnPostgres, folder?: string): Promise<number> {
  const { code, stdout, stderr } = await runScript(
    "scripts/migrate.ts",
    { DATABASE_URL: url },
    migrateMs,
    folder,
  );
  if (code !== 0) throw new Error(`migrating ended with ${code}: ${stderr}`);
  return stdout.trim().split("\n").length;
}

async function upgrade({ instances }: World, place: number, isKilled: boolean): Promise<number> {
  const instance = at(instances, place);
  const ended = await (isKilled ? instance.kill() : instance.stop());
  instance.become(undefined);
  return Math.min(ended, await instance.start());
}

function releaseIn(folder: string): string {
  return join(folder, "release");
}
