import { execFile } from "node:child_process";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Fault, World } from "../fault.ts";

const run = promisify(execFile);
const diskBytes = 192 * 1024 * 1024;
const ballastBytes = 1024 * 1024;

/** Postgres cannot write its log, ends all its processes, and cannot recover before there is room again. */
export const diskFull: Fault = {
  id: "disk-full",
  title: "Postgres' disk is full, then is not",
  recoveryMs: 20_000,
  missing: () =>
    process.getuid?.() === 0 && process.platform === "linux" ? null : "only root can mount a disk",
  prepare: async (folder) => {
    const disk = diskIn(folder);
    await mkdir(disk);
    await run("mount", ["-t", "tmpfs", "-o", `size=${diskBytes},mode=755`, "tmpfs", disk]);
    const end = async () => void (await run("umount", [disk]));
    return { postgres: { home: disk, settings: { max_wal_size: "64MB", min_wal_size: "32MB" } }, end };
  },
  plan: (random, seconds) => [
    { atMs: random.between(0, 1_000), what: "fill the disk", act: fill },
    {
      atMs: Math.min(20, seconds) * 1_000,
      what: "make room, and start Postgres if it has ended",
      act: async ({ folder, postgres, note }) => {
        await rm(ballastIn(folder));
        note(postgres.isRunning() ? "Postgres still runs" : "Postgres had ended");
        if (!postgres.isRunning()) await postgres.start();
      },
    },
  ],
};

async function fill({ folder, note }: World): Promise<void> {
  const file = await open(ballastIn(folder), "w");
  const block = Buffer.alloc(ballastBytes, 1);
  let written = 0;
  try {
    while (written < diskBytes) written += (await file.write(block)).bytesWritten;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    await file.close();
  }
  note(`${written} bytes were free`);
}

function diskIn(folder: string): string {
  return join(folder, "disk");
}

function ballastIn(folder: string): string {
  return join(diskIn(folder), "ballast");
}
