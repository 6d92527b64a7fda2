import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { pino } from "pino";
import { test } from "uvu";
import {
  type AttachmentParts,
  keepAttachment,
  removeForgotten,
  removeOrphans,
  storeFile,
} from "../../server/commands/attachments.ts";
import { createImages } from "../../server/commands/images.ts";
import { readConfig } from "../../server/config.ts";
import { openStorages } from "../../server/storage/storage.ts";
import { openDatabase } from "../../sql/database.ts";
import { withBucket } from "../support/bucket.ts";
import { assertProblem, type Client, register } from "../support/client.ts";
import { assertGone, download, picture, tryUpload, upload } from "../support/files.ts";
import { query } from "../support/postgres.ts";
import { type TestServer, withServer } from "../support/server.ts";

/** A server, and what its maintenance does, to be called when a test wants it. */
async function withMaintenance(
  attachmentsUrl: string,
  act: (t: TestServer & { parts: AttachmentParts }) => Promise<void>,
): Promise<void> {
  const env = { RATE_LIMITS: "off", ATTACHMENTS_URL: attachmentsUrl };
  await withServer(async (t) => {
    const pool = await openDatabase({ url: t.databaseUrl, maxConnections: 2 });
    const { attachmentsTarget, attachmentMaxBytes } = readConfig(env);
    const parts: AttachmentParts = {
      pool,
      storages: openStorages(attachmentsTarget, pool),
      images: createImages(),
      maxBytes: attachmentMaxBytes,
      log: pino({ level: "silent" }),
    };
    try {
      await act({ ...t, parts });
    } finally {
      await pool.end();
    }
  }, env);
}

async function talk(url: string): Promise<{ ann: Client; id: string; path: string }> {
  const ann = await register(url, "ann");
  const { id } = await ann.ok("POST", "/discussions", { kind: "group", name: "all", member_ids: [] });
  return { ann, id, path: `/discussions/${id}/messages` };
}

async function count(databaseUrl: string, table: string): Promise<number> {
  const [row] = await query(databaseUrl, `SELECT count(*)::int AS count FROM ${table}`);
  return row.count;
}

test("what was not sent within a day goes, and what was stays", () =>
  withMaintenance("", async ({ url, databaseUrl, parts }) => {
    const { ann, id } = await talk(url);
    const [old, sent, fresh] = [
      await upload(ann, await picture("png")),
      await upload(ann, "sent"),
      await upload(ann, "fresh"),
    ];
    await ann.send(id, "", { attachment_ids: [sent.id] });
    const age = "UPDATE attachments SET created_at = now() - interval '25 hours' WHERE id = ANY ($1)";
    await query(databaseUrl, age, [[old.id, sent.id]]);
    assert.equal(await removeOrphans(parts), 1);
    assert.equal(await removeOrphans(parts), 0);
    await assertGone(ann, old.url);
    await assertGone(ann, `${old.url}?thumbnail=1`);
    for (const file of [sent, fresh]) assert.equal((await download(ann, file.url)).status, 200);
    assert.equal(await removeForgotten(parts), 1);
    assert.equal(await count(databaseUrl, "attachment_chunks"), 2);
    assert.equal(await count(databaseUrl, "attachment_thumbnails"), 0);
    assert.equal(await count(databaseUrl, "attachment_removals"), 0);
  }));

test("a deleted message's bytes leave the database with it, a deleted discussion's soon after", () =>
  withMaintenance("", async ({ url, databaseUrl, parts }) => {
    const { ann, id, path } = await talk(url);
    const files = await Promise.all([1, 2, 3].map(() => upload(ann, Buffer.alloc(600_000, "x"))));
    const { seq } = await ann.send(id, "", { attachment_ids: files.slice(0, 2).map((file) => file.id) });
    await ann.send(id, "", { attachment_ids: files.slice(2).map((file) => file.id) });
    await ann.ok("DELETE", `${path}/${seq}`);
    assert.equal(await count(databaseUrl, "attachment_chunks"), 3);
    assert.equal(await count(databaseUrl, "attachments"), 1);
    await ann.ok("DELETE", `/discussions/${id}`);
    assert.equal(await count(databaseUrl, "attachments"), 0);
    assert.equal(await removeForgotten(parts), 3);
    assert.equal(await count(databaseUrl, "attachment_chunks"), 0);
    assert.equal(await count(databaseUrl, "attachment_removals"), 0);
  }));

test("messages that are deleted by hand take their attachments along", () =>
  withMaintenance("", async ({ url, databaseUrl }) => {
    const { ann, id } = await talk(url);
    for (const statement of [
      "UPDATE messages SET deleted_at = now() WHERE deleted_at IS NULL",
      "DELETE FROM messages",
    ]) {
      const file = await upload(ann, "x");
      await ann.send(id, "", { attachment_ids: [file.id] });
      await query(databaseUrl, statement);
      await assertGone(ann, file.url);
    }
    assert.equal(await count(databaseUrl, "attachments"), 0);
  }));

test("what a server that died left of an upload is removed, and cannot be kept any more", () =>
  withMaintenance("", async ({ databaseUrl, parts }) => {
    const begin = `WITH begun AS (
        INSERT INTO attachment_removals (attachment_id, storage, due_at, uploading)
        VALUES (uuid7(), 'database', now() + $1 * interval '1 minute', true) RETURNING attachment_id
      )
      INSERT INTO attachment_chunks (attachment_id, first_byte, bytes)
      SELECT attachment_id, place * 4, 'abcd' FROM begun, generate_series(0, 249) AS place`;
    await query(databaseUrl, begin, [-1]);
    await query(databaseUrl, begin, [30]);
    assert.equal(await removeForgotten(parts), 1);
    assert.equal(await removeForgotten(parts), 0);
    assert.equal(await count(databaseUrl, "attachment_chunks"), 250, "the other may be under way");
  }));

test("an upload that is removed while it comes in is refused at its end", () =>
  withMaintenance("", async ({ url, databaseUrl, parts }) => {
    const { ann } = await talk(url);
    const [session] = await query(databaseUrl, "SELECT id FROM sessions");
    const bytes = (async function* () {
      yield Buffer.alloc(300_000);
      await query(databaseUrl, "UPDATE attachment_removals SET due_at = now()");
      assert.equal(await removeForgotten(parts), 1);
      yield Buffer.alloc(300_000);
    })();
    const caller = { user_id: ann.user.id, session_id: session.id };
    const stored = await storeFile(parts, caller, { name: "x", bytes });
    await assert.rejects(keepAttachment(parts, caller, stored), /took too long/);
    for (const table of ["attachments", "attachment_chunks", "attachment_removals"]) {
      assert.equal(await count(databaseUrl, table), 0, table);
    }
  }));

test("in a folder and in a bucket, bytes go after their attachment, and are tried again if they do not", () =>
  withBucket((bucket) =>
    withMaintenance(bucket.url, async ({ url, databaseUrl, parts }) => {
      const { ann, id, path } = await talk(url);
      const file = await upload(ann, await picture("png"), "a.png");
      assert.equal(file.width, 640);
      assert.equal((await download(ann, file.url, { range: "bytes=1-3" })).bytes.toString(), "PNG");
      assert.deepEqual([...bucket.objects.keys()], [file.id]);
      const { seq } = await ann.send(id, "", { attachment_ids: [file.id] });
      await ann.ok("DELETE", `${path}/${seq}`);
      await assertGone(ann, file.url);
      bucket.fail(403, 1);
      assert.equal(await removeForgotten(parts), 1);
      assert.equal(bucket.objects.size, 1);
      assert.equal(await removeForgotten(parts), 0, "not at once");
      await query(databaseUrl, "UPDATE attachment_removals SET due_at = now()");
      assert.equal(await removeForgotten(parts), 1);
      assert.equal(bucket.objects.size, 0);
      assert.equal(await count(databaseUrl, "attachment_removals"), 0);
    }),
  ));

test("a bucket that refuses fails the request, and an upload leaves nothing", () =>
  withBucket((bucket) =>
    withMaintenance(bucket.url, async ({ url, databaseUrl }) => {
      const { ann } = await talk(url);
      bucket.fail(403, 1);
      assertProblem(await tryUpload(ann, "x"), 503, "unavailable");
      assert.equal(await count(databaseUrl, "attachments"), 0);
      assert.equal(await count(databaseUrl, "attachment_removals"), 0);
      const { id } = await upload(ann, "x");
      bucket.fail(500, 3);
      assertProblem(await ann.call("GET", `/attachments/${id}`), 503, "unavailable");
    }),
  ));

test("what is in the database stays readable when a folder takes what comes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "parley-test-folder-"));
  try {
    await withMaintenance("", async ({ url, another }) => {
      const { ann } = await talk(url);
      const before = await upload(ann, "in the database");
      const moved = await another({ ATTACHMENTS_URL: pathToFileURL(folder).href });
      const there = Object.assign(await register(moved.url, "bob"), { token: ann.token });
      const after = await upload(there, "in the folder");
      assert.equal((await readdir(folder, { recursive: true })).length, 2);
      assert.equal(String((await download(there, before.url)).bytes), "in the database");
      assert.equal(String((await download(there, after.url)).bytes), "in the folder");
      assert.equal((await download(ann, after.url)).status, 500, "who knows no folder cannot read it");
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test.run();
