import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { Busboy } from "@fastify/busboy";
import type { H3Event } from "h3";
import { z } from "zod";
import type { IncomingFile } from "../commands/attachments.ts";
import { Failure, fail } from "../errors.ts";
import { limits } from "../limits.ts";
import { nodeRequestOf } from "./node-request.ts";
import { inTime } from "./patience.ts";

/** What receiveFile() reads, for the API document. */
export const fileForm = z.strictObject({ file: z.file() });

/**
 * Reads a form (multipart/form-data) whose one field is the file `file`, while it comes in, and hands the
 * file to `take`. The file's bytes end only when the form has ended as it must, and else in a Failure:
 * payload_too_large, invalid_request, request_timeout. What `take` leaves unread is not read here either.
 */
export async function receiveFile<T>(
  event: H3Event,
  maxBytes: number,
  take: (file: IncomingFile) => Promise<T>,
): Promise<T> {
  const request = nodeRequestOf(event);
  requireLength(request, maxBytes + limits.formBytes);
  const form = readForm(request, maxBytes + limits.formBytes);
  try {
    const { name, stream } = await inTime(limits.uploadStallMs, form.file);
    return await take({ name, bytes: readFile(stream, form.ended, maxBytes) });
  } finally {
    form.stop();
  }
}

/** Reads a body that is a file by itself. Throws as receiveFile(). */
export async function* receiveBody(event: H3Event, maxBytes: number): AsyncIterable<Buffer> {
  const request = nodeRequestOf(event);
  requireLength(request, maxBytes);
  const gone = Promise.withResolvers<void>();
  const giveUp = () => {
    if (!request.complete) gone.reject(brokenOff());
  };
  gone.promise.catch(() => {});
  request.once("close", giveUp);
  try {
    yield* readFile(request, Promise.resolve(), maxBytes, gone.promise);
  } finally {
    request.off("close", giveUp);
  }
}

interface Form {
  /** Its file, as soon as it begins. */
  file: Promise<{ name: string; stream: Readable }>;
  /** Rejected if anything is wrong with the form, before its file or after. */
  ended: Promise<void>;
  /** Reads no further. */
  stop(): void;
}

function readForm(request: IncomingMessage, maxBytes: number): Form {
  const file = Promise.withResolvers<{ name: string; stream: Readable }>();
  const ended = Promise.withResolvers<void>();
  // Only one of them is waited for at a time.
  file.promise.catch(() => {});
  ended.promise.catch(() => {});
  const refuse = (failure: Failure) => {
    file.reject(failure);
    ended.reject(failure);
  };
  const wrong = (detail: string) => refuse(new Failure("invalid_request", detail));

  const parser = createParser(request);
  parser.on("file", (field: string | undefined, stream: Readable, name: string | undefined) => {
    // It is told of what its form is refused for, which is told to `ended` too.
    stream.on("error", () => {});
    if (field !== "file") return wrong(`${cleanText(field ?? "")}: is not a known field`);
    file.resolve({ name: cleanName(name ?? ""), stream });
  });
  parser.on("fieldsLimit", () => wrong("The form may have one field, file, which must be a file"));
  parser.on("partsLimit", () => wrong("The form may have only one file"));
  parser.on("error", () => wrong("The form is broken"));
  parser.on("finish", () => {
    file.reject(new Failure("invalid_request", "file: is needed"));
    ended.resolve();
  });
  const giveUp = () => {
    if (!request.complete) refuse(brokenOff());
  };
  request.once("close", giveUp);
  // What comes before and after the parts is part of no file; without its length told, nobody else counts it.
  let received = 0;
  const count = (piece: Buffer) => {
    received += piece.length;
    if (received > maxBytes) refuse(new Failure("payload_too_large"));
  };
  request.on("data", count);
  request.pipe(parser);
  return {
    file: file.promise,
    ended: ended.promise,
    stop: () => {
      request.off("close", giveUp);
      request.off("data", count);
      request.unpipe(parser);
    },
  };
}

function createParser(request: IncomingMessage) {
  const type = request.headers["content-type"] ?? "";
  if (!isForm(type)) fail("unsupported_media_type", "The body must be multipart/form-data");
  try {
    return new Busboy({
      headers: { "content-type": type },
      limits: {
        // A part too many is refused by partsLimit, which knows it before it is looked at.
        parts: 1,
        fields: 0,
        headerPairs: limits.formHeaders,
        headerSize: limits.formHeaderBytes,
      },
    });
  } catch {
    return fail("invalid_request", "The form has no boundary");
  }
}

export function isForm(contentType: string): boolean {
  return /^multipart\/form-data\s*(;|$)/i.test(contentType);
}

/**
 * The bytes of a stream, counted; then waits for `ended`. A stream that is silent for too long, or too slow
 * on the whole, or whose request is gone, is given up. Only the time that we wait for it counts: what our
 * storage takes is not the client's fault.
 */
async function* readFile(
  stream: Readable,
  ended: Promise<void>,
  maxBytes: number,
  gone: Promise<void> = ended,
): AsyncIterable<Buffer> {
  // Not by the stream's own iterator, which destroys the stream (a request: with its connection) at the end.
  const pieces = stream.iterator({ destroyOnReturn: false });
  // Where the stream says nothing of what is wrong, this does.
  const unlessGone = whileNot(gone);
  let size = 0;
  let waitedMs = 0;
  for (;;) {
    const leftMs = limits.uploadGraceMs + (size / limits.uploadBytesPerSecond) * 1_000 - waitedMs;
    const from = performance.now();
    const next = await inTime(
      Math.min(limits.uploadStallMs, leftMs),
      unlessGone(pieces.next().catch(() => Promise.reject(brokenOff()))),
    );
    waitedMs += performance.now() - from;
    if (next.done) break;
    size += next.value.length;
    if (size > maxBytes) fail("payload_too_large", `A file may have at most ${maxBytes} bytes`);
    yield next.value;
  }
  await inTime(limits.uploadStallMs, ended);
}

/**
 * Waits for one promise after another, but never longer than until `gone` rejects. Not by Promise.race, which
 * would leave with a promise that outlives the round a way to what the round has brought: each upload would
 * be held in memory as a whole.
 */
function whileNot(gone: Promise<void>): <T>(promise: Promise<T>) => Promise<T> {
  let failure: unknown;
  let giveUp = (_reason: unknown) => {};
  gone.catch((error) => {
    failure = error;
    giveUp(error);
  });
  return (promise) =>
    new Promise((resolve, reject) => {
      giveUp = reject;
      if (failure !== undefined) reject(failure);
      promise.then(resolve, reject);
    });
}

function requireLength(request: IncomingMessage, maxBytes: number): void {
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) fail("payload_too_large");
}

function brokenOff(): Failure {
  return new Failure("invalid_request", "The body broke off");
}

/** The last part of a path of any system, without what cannot be seen or turns text round. */
export function cleanName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  const clean = cleanText(last).trim();
  return clean === "" || clean === "." || clean === ".." ? "file" : shorten(clean);
}

function cleanText(value: string): string {
  return value
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "");
}

/** Keeps the ending, by which people and programs know what it is. */
function shorten(name: string): string {
  const characters = [...name];
  const most = limits.attachmentNameCharacters;
  if (characters.length <= most) return name;
  const ending = /\.[^.]{1,16}$/u.exec(name)?.[0] ?? "";
  return characters.slice(0, most - [...ending].length).join("") + ending;
}
