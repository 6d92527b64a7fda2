import { type Backup, database, files, recovery } from "../../../tests/support/backups.ts";
import { newestPosition, query } from "../../../tests/support/postgres.ts";
import type { Random } from "../../../tests/support/random.ts";
import { type Fault, type Step, times, type World } from "../fault.ts";

const backups: readonly Backup[] = [files, recovery, database];
const everyMs = 12_000;

export const backupRestored: Fault = {
  id: "backup-restored",
  title: "an older backup of Postgres is restored under running instances",
  // As after a crash of Postgres.
  recoveryMs: 15_000,
  logged: /"the log is not the one it was"/,
  resets: ["epoch_changed"],
  plan: (random, seconds) =>
    times(Math.max(1, (seconds * 1_000) / everyMs)).flatMap((index) =>
      backupAndRestore(random, index * everyMs, Math.min(6, seconds)),
    ),
};

function backupAndRestore(random: Random, atMs: number, apartSeconds: number): Step[] {
  const backup = random.pick(backups);
  const hasGrown = random.chance(0.5);
  return [
    {
      atMs: atMs + random.between(0, 1_000),
      what: `make a backup: ${backup.name}`,
      act: (world) => make(world, backup),
    },
    {
      atMs: atMs + apartSeconds * 1_000,
      what: `restore it${hasGrown ? ", and let its log outgrow the lost one" : ""}`,
      act: (world) => restore(world, backup, hasGrown),
    },
  ];
}

async function make(world: World, backup: Backup): Promise<number> {
  await alone(world, () => backup.make(world.postgres));
  return 1;
}

/** Gives how many positions of the log were lost. */
function restore(world: World, backup: Backup, hasGrown: boolean): Promise<number> {
  const { postgres, load, archive, note } = world;
  return alone(world, async () => {
    await postgres.crash();
    await postgres.start();
    await archive.endHistory(postgres.url);
    const newest = await newestPosition(postgres.url);
    await backup.restore(postgres);
    const keptTo = await newestPosition(postgres.url);
    archive.beginHistory(keptTo);
    if (hasGrown) await grow(postgres.url, newest - keptTo + 100);
    load.beginEra();
    note(`${newest - keptTo} of ${newest} positions were lost`);
    return newest - keptTo;
  });
}

/**
 * Acts while instances cannot connect to Postgres, which it may end, and while nobody is about to change
 * anything: what is in a backup is what people know of. They send on all the same.
 */
function alone<T>({ load, roads }: World, act: () => Promise<T>): Promise<T> {
  return load.whileUnchanged(async () => {
    for (const road of roads) road.trap(true);
    try {
      return await act();
    } finally {
      for (const road of roads) {
        road.trap(false);
        road.cut();
      }
    }
  });
}

/** As an instance would that works already, while ours do not reach Postgres. */
async function grow(url: string, count: number): Promise<void> {
  await query(
    url,
    `DO $$ BEGIN
       FOR number IN 1..${count} LOOP
         UPDATE discussions SET name = 'name ' || number
         WHERE id = (SELECT id FROM discussions WHERE kind = 'group' ORDER BY id LIMIT 1);
       END LOOP;
     END $$`,
  );
}
