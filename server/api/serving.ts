import { create as contentDisposition } from "content-disposition";
import { type H3Event, HTTPResponse } from "h3";
import { z } from "zod";
import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";

/** Bytes that others made, and how they are to be shown. */
export interface Served {
  media_type: string;
  size: number;
  /** Changes whenever the bytes do; without quotation marks. */
  etag: string;
  /** What a browser may show in place; all else it saves under its name. */
  inPlace: boolean;
  name: string;
  read(first: number, last: number): AsyncIterable<Uint8Array>;
}

/**
 * Whatever a file contains, it is no page of this origin: it runs nothing, loads nothing, and is taken for
 * nothing but its type (nosniff, as all answers have it: app.ts). Whoever has it asks again each time, as the
 * right to it may have ended.
 */
export const guardedHeaders: Readonly<Record<string, string>> = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
  "cross-origin-resource-policy": "same-site",
  "cache-control": "private, no-cache",
};

const versionHeaders = { etag: "Names this version, for If-None-Match and If-Range." };

/** What serve() looks at, for the API document. */
export const servedRequestHeaders = z.object({
  range: z
    .string()
    .optional()
    .meta({ examples: ["bytes=0-1023"], description: "One range." }),
  "if-range": z.string().optional(),
  "if-none-match": z.string().optional(),
});

/** How serve() answers, for the API document. */
export function servedAnswers(mediaTypes: readonly string[]) {
  return {
    200: { mediaTypes, headers: versionHeaders },
    206: { mediaTypes, headers: { ...versionHeaders, "content-range": "Which part it is." } },
    304: { headers: versionHeaders },
  };
}

/**
 * Answers with a file, a part of it (one range), or that it is the one that the client has. Throws
 * range_not_satisfiable.
 */
export async function serve(event: H3Event, file: Served): Promise<HTTPResponse> {
  const etag = `"${file.etag}"`;
  const headers: Record<string, string> = { ...guardedHeaders, etag, "accept-ranges": "bytes" };
  if (namesEtag(event.req.headers.get("if-none-match"), etag)) {
    return new HTTPResponse(null, { status: 304, headers });
  }
  const range = readRange(event, file.size, etag);
  if (range === "unsatisfiable") {
    throw new Failure("range_not_satisfiable", `The file has ${file.size} bytes`, {
      headers: { "content-range": `bytes */${file.size}` },
    });
  }
  const { start, end } = range ?? { start: 0, end: file.size - 1 };
  headers["content-type"] = typeHeader(file.media_type);
  headers["content-length"] = `${end - start + 1}`;
  headers["content-disposition"] = contentDisposition(file.name, {
    type: file.inPlace ? "inline" : "attachment",
  });
  if (range) headers["content-range"] = `bytes ${start}-${end}/${file.size}`;
  const isEmpty = event.req.method === "HEAD" || file.size === 0;
  const body = isEmpty ? null : await toStream(file.read(start, end));
  return new HTTPResponse(body, { status: range ? 206 : 200, headers });
}

/** What is at hand as a whole. */
export function readBuffer(bytes: Buffer): Served["read"] {
  return async function* (first, last) {
    yield bytes.subarray(first, last + 1);
  };
}

function typeHeader(mediaType: string): string {
  return mediaType === "text/plain" ? "text/plain; charset=utf-8" : mediaType;
}

/** Whether a list of tags, or *, names this one (RFC 9110, 13.1.2). */
function namesEtag(header: string | null, etag: string): boolean {
  if (header === null) return false;
  return header.split(",").some((tag) => ["*", etag, `W/${etag}`].includes(tag.trim()));
}

/**
 * One range of bytes (RFC 9110, 14.1.2). Null: all of it, as may be answered to what is malformed, in other
 * units, or of several ranges.
 */
function readRange(event: H3Event, size: number, etag: string) {
  const condition = event.req.headers.get("if-range");
  // A date names no version that we know.
  if (event.req.method === "HEAD" || (condition !== null && condition !== etag)) return null;
  const match = /^bytes=\s*(\d*)-(\d*)\s*$/i.exec(event.req.headers.get("range") ?? "");
  const [first, last] = [match?.[1] ?? "", match?.[2] ?? ""];
  if (first + last === "" || (first !== "" && last !== "" && Number(last) < Number(first))) return null;
  const start = first === "" ? Math.max(size - Number(last), 0) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return start < size ? { start, end } : "unsatisfiable";
}

/**
 * The first bytes are read before the answer begins, so that a storage which fails is told of. The others
 * when they are asked for, and none any more once the client is gone.
 */
async function toStream(bytes: AsyncIterable<Uint8Array>): Promise<ReadableStream<Uint8Array>> {
  const pieces = inSmallPieces(bytes);
  let next: Promise<IteratorResult<Uint8Array>> | undefined = Promise.resolve(await pieces.next());
  let stall: NodeJS.Timeout | undefined;
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        clearTimeout(stall);
        const { done, value } = await (next ?? pieces.next());
        next = undefined;
        if (done) return controller.close();
        controller.enqueue(value);
        // Who reads nothing at all is given up: each holds some hundred kilobytes.
        stall = setTimeout(() => {
          controller.error(new Error("the client does not read"));
          // A storage that complains of it has nobody to complain to.
          pieces.return().catch(() => {});
        }, limits.downloadStallMs);
      },
      cancel: async () => {
        clearTimeout(stall);
        await pieces.return();
      },
    },
    { highWaterMark: 0 },
  );
}

/** In pieces that a slow network takes in much less than downloadStallMs: 8 s at 8 kB/s. */
async function* inSmallPieces(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  for await (const piece of bytes) {
    for (let at = 0; at < piece.length; at += limits.servedPieceBytes) {
      yield piece.subarray(at, at + limits.servedPieceBytes);
    }
  }
}
