import { createHash } from "node:crypto";
import { openAsBlob } from "node:fs";
import { open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AwsClient } from "aws4fetch";
import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";
import type { Storage } from "./storage.ts";
import type { BucketTarget } from "./target.ts";

/**
 * In a bucket of an S3-compatible service. S3 wants length and hash of an object before its first byte: what
 * comes in is kept in a temporary file until it is whole, and then sent from there.
 */
export function createBucketStorage(target: BucketTarget): Storage {
  const { accessKeyId, secretAccessKey, region } = target;
  const client = new AwsClient({
    ...{ accessKeyId, secretAccessKey, region, service: "s3" },
    ...{ retries: limits.bucketRetries, initRetryMs: limits.bucketRetryMs },
  });
  /**
   * Gives the answer once its body begins. Throws unavailable for any status but those of success and
   * `also`.
   */
  const ask = async (method: string, key: string, init: RequestInit = {}, also?: number) => {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(new Error("the bucket is silent")), limits.bucketAnswerMs);
    try {
      const answer = await client.fetch(target.url + key, { ...init, method, signal: patience.signal });
      if (answer.ok || answer.status === also) return answer;
      throw new Error(
        `${method}: the bucket answers ${answer.status} ${(await answer.text()).slice(0, 500)}`,
      );
    } catch (error) {
      throw unavailable(error);
    } finally {
      clearTimeout(timer);
    }
  };
  return {
    name: "bucket",
    write: (key, bytes) =>
      throughFile(join(tmpdir(), `parley-upload-${key}`), bytes, async (body, sha256) => {
        const answer = await ask("PUT", key, { body, headers: { "x-amz-content-sha256": sha256 } });
        await answer.body?.cancel();
      }),
    read: async function* (key, first, last) {
      if (first > last) return;
      const answer = await ask("GET", key, { headers: { range: `bytes=${first}-${last}` } });
      if (answer.status !== 206 || !answer.body) throw new Error("the bucket does not know ranges");
      yield* answer.body;
    },
    remove: async (key) => {
      const answer = await ask("DELETE", key, {}, 404);
      await answer.body?.cancel();
    },
  };
}

function unavailable(cause: unknown): Failure {
  return new Failure("unavailable", "The storage of attachments cannot be used; try again", {
    retryAfterSeconds: limits.retryAfterSeconds,
    cause: cause as Error,
  });
}

/** Hands on what was collected, as a file that is read piece by piece, with its SHA-256 in hexadecimal. */
async function throughFile(
  path: string,
  bytes: AsyncIterable<Buffer>,
  act: (body: Blob, sha256: string) => Promise<void>,
): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    const hash = createHash("sha256");
    try {
      for await (const piece of bytes) {
        hash.update(piece);
        await file.appendFile(piece);
      }
    } finally {
      await file.close();
    }
    await act(await openAsBlob(path), hash.digest("hex"));
  } finally {
    await rm(path, { force: true });
  }
}
