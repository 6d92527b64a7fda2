import { fileURLToPath } from "node:url";
import { z } from "zod";

/** What ATTACHMENTS_URL names: a folder, or a bucket of an S3-compatible service. */
export type StorageTarget = { kind: "folder"; path: string } | BucketTarget;

export interface BucketTarget {
  kind: "bucket";
  /** Of the bucket and, where there is one, the prefix in it: https://host/bucket/prefix/. */
  url: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
}

/**
 * Reads `file:///var/lib/parley`, or `s3://key:secret@host/bucket/prefix?region=eu-central-1`, with key and
 * secret percent-encoded. `tls=off` speaks plain HTTP, for a service on the same machine.
 */
export const storageTargetSchema = z.string().transform((text, context): StorageTarget => {
  const refuse = (message: string) => {
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "file:" && url.host === "" && url.pathname.length > 1) {
    return { kind: "folder", path: fileURLToPath(url) };
  }
  if (url?.protocol !== "s3:") return refuse("must be file:///path or s3://key:secret@host/bucket");
  const [accessKeyId, secretAccessKey] = [decode(url.username), decode(url.password)];
  if (!accessKeyId || !secretAccessKey) {
    return refuse("needs key and secret, percent-encoded: s3://key:secret@host/…");
  }
  const [bucket, ...prefix] = url.pathname.split("/").filter(Boolean);
  if (url.host === "" || bucket === undefined) return refuse("needs host and bucket: s3://…@host/bucket");
  const scheme = url.searchParams.get("tls") === "off" ? "http" : "https";
  return {
    kind: "bucket",
    url: `${scheme}://${url.host}/${[bucket, ...prefix].join("/")}/`,
    region: url.searchParams.get("region") ?? "us-east-1",
    accessKeyId,
    secretAccessKey,
  };
});

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
