import type { StorageName } from "../../sql/attachments.ts";
import type { Pool } from "../../sql/database.ts";
import { createBucketStorage } from "./bucket.ts";
import { createDatabaseStorage } from "./database.ts";
import { createFolderStorage } from "./folder.ts";
import type { StorageTarget } from "./target.ts";

/** Where the bytes of attachments are. Each key is written once, whole, and then only read. */
export interface Storage {
  readonly name: StorageName;
  /**
   * Stores what comes, in pieces of any size, without holding it all in memory. If it throws, what was stored
   * so far may still be there and is up to remove().
   */
  write(key: string, bytes: AsyncIterable<Buffer>): Promise<void>;
  /** The bytes from `first` to `last`, both included, piece by piece as they are asked for. */
  read(key: string, first: number, last: number): AsyncIterable<Uint8Array>;
  /** Removes what is there, if anything is. */
  remove(key: string): Promise<void>;
}

/** All storages in which attachments may be. */
export interface Storages {
  /** Takes what is uploaded now. */
  readonly current: Storage;
  /** Throws if attachments are said to be in a storage that ATTACHMENTS_URL does not name any more. */
  named(name: StorageName): Storage;
}

/** The database is always one of them: what came before ATTACHMENTS_URL was set stays readable. */
export function openStorages(target: StorageTarget | undefined, pool: Pool): Storages {
  const database = createDatabaseStorage(pool);
  const current = target ? openStorage(target) : database;
  return {
    current,
    named: (name) => {
      const storage = [current, database].find((one) => one.name === name);
      if (!storage) throw new Error(`ATTACHMENTS_URL names no ${name}, but attachments are in one`);
      return storage;
    },
  };
}

function openStorage(target: StorageTarget): Storage {
  return target.kind === "folder" ? createFolderStorage(target.path) : createBucketStorage(target);
}
