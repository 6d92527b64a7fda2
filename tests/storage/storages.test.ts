import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import { collect } from "../../server/collect.ts";
import { readConfig } from "../../server/config.ts";
import type { Failure } from "../../server/errors.ts";
import { openStorages, type Storage } from "../../server/storage/storage.ts";
import { openDatabase } from "../../sql/database.ts";
import { withBucket } from "../support/bucket.ts";
import { createTestDatabase } from "../support/database.ts";

const chunk = 256 * 1024;

/** Runs a test on the storage that ATTACHMENTS_URL names. */
async function withStorage(url: string, act: (storage: Storage) => Promise<void>): Promise<void> {
  const database = await createTestDatabase();
  const pool = await openDatabase({ url: database.url, maxConnections: 2 });
  try {
    await act(openStorages(readConfig({ ATTACHMENTS_URL: url }).attachmentsTarget, pool).current);
  } finally {
    await pool.end();
    await database.drop();
  }
}

async function withFolder(act: (path: string) => Promise<void>): Promise<void> {
  const path = await mkdtemp(join(tmpdir(), "parley-test-folder-"));
  try {
    await act(path);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

const kinds: [string, (act: (storage: Storage) => Promise<void>) => Promise<void>][] = [
  ["the database", (act) => withStorage("", act)],
  ["a folder", (act) => withFolder((path) => withStorage(pathToFileURL(path).href, act))],
  ["a bucket", (act) => withBucket(({ url }) => withStorage(url, act))],
];

async function* pieces(bytes: Buffer, size: number): AsyncIterable<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

for (const [name, withKind] of kinds) {
  test(`${name} gives back the bytes that came, all and in part, however they came`, () =>
    withKind(async (storage) => {
      for (const size of [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 1_000_000]) {
        for (const pieceSize of [999_983, 65_536, 1_000_000]) {
          const key = randomUUID();
          const bytes = randomBytes(size);
          await storage.write(key, pieces(bytes, pieceSize));
          const ranges = [
            [0, size - 1],
            [0, 0],
            [chunk - 1, chunk],
            [size - 1, size - 1],
            [chunk, 2 * chunk - 1],
          ] as const;
          for (const [first, last] of ranges.filter(([first, last]) => first >= 0 && last < size)) {
            const read = await collect(storage.read(key, first, last));
            assert.ok(read.equals(bytes.subarray(first, last + 1)), `${size}: ${first}-${last}`);
          }
          assert.equal((await collect(storage.read(key, 0, -1))).length, 0);
        }
      }
    }));

  test(`${name} forgets what is removed, twice too, and nothing else`, () =>
    withKind(async (storage) => {
      const [gone, kept] = [randomUUID(), randomUUID()];
      for (const key of [gone, kept]) await storage.write(key, pieces(randomBytes(600_000), 100_000));
      await storage.remove(gone);
      await storage.remove(gone);
      await storage.remove(randomUUID());
      await assert.rejects(() => collect(storage.read(gone, 0, 599_999)));
      assert.equal((await collect(storage.read(kept, 0, 599_999))).length, 600_000);
    }));

  test(`${name} has nothing of what broke off once it is removed`, () =>
    withKind(async (storage) => {
      const key = randomUUID();
      const breaking = async function* () {
        yield randomBytes(600_000);
        throw new Error("broken off");
      };
      await assert.rejects(() => storage.write(key, breaking()), /broken off/);
      await storage.remove(key);
      await assert.rejects(() => collect(storage.read(key, 0, 9)));
      await storage.write(key, pieces(Buffer.from("again"), 2));
      assert.equal(String(await collect(storage.read(key, 0, 4))), "again");
    }));
}

test("a file in a folder is for the server alone, and nothing unfinished stays", () =>
  withFolder((path) =>
    withStorage(pathToFileURL(path).href, async (storage) => {
      const key = randomUUID();
      await storage.write(key, pieces(Buffer.from("x"), 1));
      const files = await readdir(path, { recursive: true });
      assert.deepEqual(files.sort(), [key.slice(-2), `${key.slice(-2)}/${key}`]);
      assert.equal((await stat(join(path, key.slice(-2), key))).mode & 0o777, 0o600);
      assert.equal((await stat(join(path, key.slice(-2)))).mode & 0o777, 0o700);
    }),
  ));

test("a bucket gets whole objects under its prefix, and leaves no file here", () =>
  withBucket(({ url, objects, fail }) =>
    withStorage(url, async (storage) => {
      const left = async () => (await readdir(tmpdir())).filter((name) => name.startsWith("parley-upload-"));
      const before = await left();
      const bytes = randomBytes(1_000_000);
      await storage.write("one", pieces(bytes, 1000));
      assert.deepEqual([...objects.keys()], ["one"]);
      assert.ok(objects.get("one")?.equals(bytes));
      fail(403, 3);
      await assert.rejects(() => storage.write("two", pieces(bytes, 1000)), isRefused(403));
      await assert.rejects(() => collect(storage.read("one", 0, 9)), isRefused(403));
      await assert.rejects(() => storage.remove("one"), isRefused(403));
      assert.deepEqual([...objects.keys()], ["one"]);
      assert.deepEqual(await left(), before);
    }),
  ));

test("a bucket takes nothing that is signed with another secret", () =>
  withBucket(({ url, objects }) =>
    withStorage(url.replace("@", "x@"), async (storage) => {
      await assert.rejects(() => storage.write("one", pieces(randomBytes(9), 9)), isRefused(403));
      assert.equal(objects.size, 0);
    }),
  ));

test("a bucket that stumbles is asked again, but not for ever", () =>
  withBucket(({ url, objects, fail }) =>
    withStorage(url, async (storage) => {
      fail(503, 2);
      await storage.write("one", pieces(randomBytes(1000), 100));
      assert.equal(objects.get("one")?.length, 1000);
      fail(503, 3);
      await assert.rejects(() => storage.write("two", pieces(randomBytes(1000), 100)), isRefused(503));
      assert.deepEqual([...objects.keys()], ["one"]);
    }),
  ));

function isRefused(status: number) {
  return ({ code, cause }: Failure) => code === "unavailable" && String(cause).includes(`${status}`);
}

test.run();
