import { deleteChunks, insertChunk, readChunk } from "../../sql/attachment-chunks.ts";
import type { Pool } from "../../sql/database.ts";
import { limits } from "../limits.ts";
import { createLine } from "../line.ts";
import type { Storage } from "./storage.ts";

/**
 * In Postgres, in chunks of a row each: a slow client holds neither a connection nor a transaction. They pass
 * a few at a time, so that uploads and downloads leave the pool to others.
 */
export function createDatabaseStorage(pool: Pool): Storage {
  const inTurn = createLine(limits.chunksAtOnce, Number.POSITIVE_INFINITY);
  return {
    name: "database",
    write: async (key, bytes) => {
      // Used again for each chunk: what is thrown away by the megabyte is collected late.
      const chunk = Buffer.allocUnsafeSlow(limits.chunkBytes);
      let filled = 0;
      let firstByte = 0;
      const flush = async () => {
        await inTurn(() => insertChunk(pool, key, firstByte, chunk.subarray(0, filled)));
        firstByte += filled;
        filled = 0;
      };
      for await (const piece of bytes) {
        for (let taken = 0; taken < piece.length; ) {
          const copied = piece.copy(chunk, filled, taken);
          taken += copied;
          filled += copied;
          if (filled === chunk.length) await flush();
        }
      }
      if (filled > 0) await flush();
    },
    read: async function* (key, first, last) {
      for (let next = first; next <= last; ) {
        const from = next;
        const bytes = await inTurn(() => readChunk(pool, key, from, last));
        if (!bytes) throw new Error(`attachment ${key} ends at byte ${next}, or is being removed`);
        yield bytes;
        next += bytes.length;
      }
    },
    remove: async (key) => {
      while ((await inTurn(() => deleteChunks(pool, key, limits.chunksRemoved))) === limits.chunksRemoved);
    },
  };
}
