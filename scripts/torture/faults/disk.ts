import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Fault, World } from "../fault.ts";

const diskBytes = 192 * 1024 * 1024;
const ballastBytes = 1024 * 1024;

/** Postgres cannot write its log, ends all its processes, and cannot recover before there is room again. */
export const diskFull: Fault = {
  id: "disk-full",
  title: "Postgres' disk is full, then is not",
  recoveryMs: 20_000,
  missing: whyNot,
  prepare: (folder) => {
    const disk = diskIn(folder);
    mount(disk, diskBytes);
    const settings = { max_wal_size: "64MB", min_wal_size: "32MB" };
    return { postgres: { home: disk, settings }, end: () => unmount(disk) };
  },
  plan: (random, seconds) => {
    let repeatsBefore = 0;
    return [
      {
        atMs: random.between(0, 1_000),
        what: "fill the disk",
        act: (world) => {
          repeatsBefore = world.load.repeats();
          return fill(world);
        },
      },
      {
        atMs: Math.min(20, seconds) * 1_000,
        what: "make room, and start Postgres if it has ended",
        act: async ({ folder, postgres, load, note }) => {
          const repeats = load.repeats() - repeatsBefore;
          await rm(ballastIn(folder));
          note(`Postgres ${postgres.isRunning() ? "still runs" : "had ended"}; ${repeats} requests repeated`);
          if (!postgres.isRunning()) await postgres.start();
          return repeats;
        },
      },
    ];
  },
};

/** Not every root may mount: in a container it often lacks the right. */
function whyNot(): string | null {
  if (process.platform !== "linux") return "only Linux has a tmpfs";
  const folder = mkdtempSync(join(tmpdir(), "parley-mount-"));
  try {
    mount(diskIn(folder), ballastBytes);
    unmount(diskIn(folder));
    return null;
  } catch {
    return "there is no right to mount a disk";
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function mount(folder: string, bytes: number): void {
  mkdirSync(folder);
  const flags = ["-t", "tmpfs", "-o", `size=${bytes},mode=755`, "tmpfs", folder];
  execFileSync("mount", flags, { stdio: "ignore" });
}

/** Also if somebody still has a file open there: it goes when they do. */
function unmount(folder: string): void {
  execFileSync("umount", ["-l", folder], { stdio: "ignore" });
}

/** Gives 1 once nothing more can be written. */
async function fill({ folder, note }: World): Promise<number> {
  const file = await open(ballastIn(folder), "w");
  const block = Buffer.alloc(ballastBytes, 1);
  let written = 0;
  let isFull = false;
  try {
    while (written < diskBytes) written += (await file.write(block)).bytesWritten;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    isFull = true;
  } finally {
    await file.close();
  }
  note(`${written} bytes were free`);
  return isFull ? 1 : 0;
}

function diskIn(folder: string): string {
  return join(folder, "disk");
}

function ballastIn(folder: string): string {
  return join(diskIn(folder), "ballast");
}
