import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Storage } from "./storage.ts";

/** In a folder, which all instances must share. A file has its name only when it is whole and on disk. */
export function createFolderStorage(path: string): Storage {
  // In 256 folders by the end of the key, which is random.
  const pathOf = (key: string) => join(path, key.slice(-2), key);
  return {
    name: "folder",
    write: async (key, bytes) => {
      const unfinished = `${pathOf(key)}.part`;
      await mkdir(dirname(unfinished), { recursive: true, mode: 0o700 });
      const file = await open(unfinished, "wx", 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(unfinished, pathOf(key));
    },
    // A stream would open the file at once, and nobody would close it if nothing is read.
    read: async function* (key, first, last) {
      if (first <= last) yield* createReadStream(pathOf(key), { start: first, end: last });
    },
    remove: async (key) => {
      await rm(`${pathOf(key)}.part`, { force: true });
      await rm(pathOf(key), { force: true });
    },
  };
}
