import assert from "node:assert/strict";
import { request } from "node:http";
import sharp from "sharp";
import { type Answer, assertProblem, type Client, type Json } from "./client.ts";
import { checkAnswer } from "./documents.ts";

/** Uploads a file as browsers do, and reads the answer, whatever it is. */
export async function tryUpload(
  client: Client,
  bytes: Uint8Array | string,
  name = "file.bin",
  type = "",
): Promise<Answer> {
  const form = new FormData();
  form.set("file", new Blob([bytes as string], { type }), name);
  return sendBody(client, "POST", "/attachments", form);
}

/** The same, for an upload that must succeed; gives the attachment. */
export async function upload(
  client: Client,
  bytes: Uint8Array | string,
  name?: string,
  type?: string,
): Promise<Json> {
  const answer = await tryUpload(client, bytes, name, type);
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return answer.body;
}

/** Sends a body that is not JSON. */
export async function sendBody(
  client: Client,
  method: string,
  path: string,
  body: FormData | Buffer | ReadableStream,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${client.url}/api/v1${path}`, {
    method,
    body,
    duplex: "half",
    headers: { ...(client.token && { authorization: `Bearer ${client.token}` }), ...headers },
  });
  const text = await response.text();
  const answer = {
    status: response.status,
    headers: response.headers,
    body: text === "" ? null : JSON.parse(text),
  };
  await checkAnswer(client.url, method, `/api/v1${path}`, answer);
  return answer;
}

export interface Download {
  status: number;
  headers: Headers;
  bytes: Buffer;
}

/** Gets a file; `url` is as attachments and users tell it. */
export async function download(
  client: Client,
  url: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Download> {
  const response = await fetch(client.url + url, {
    method,
    headers: { ...(client.token && { authorization: `Bearer ${client.token}` }), ...headers },
  });
  return {
    status: response.status,
    headers: response.headers,
    bytes: Buffer.from(await response.arrayBuffer()),
  };
}

/** Asserts that a file cannot be had. */
export async function assertGone(client: Client, url: string, code = "attachment_not_found"): Promise<void> {
  assertProblem(await client.call("GET", url.replace("/api/v1", "")), 404, code);
}

export type ImageFormat = "png" | "jpeg" | "webp" | "gif" | "avif";

/** A picture of one colour, or of noise, which does not compress. */
export function picture(
  format: ImageFormat,
  { width = 640, height = 480, noise = false, orientation = 1 } = {},
): Promise<Buffer> {
  const create = noise
    ? { width, height, channels: 3 as const, noise: { type: "gaussian" as const, mean: 128, sigma: 40 } }
    : { width, height, channels: 3 as const, background: "#3366cc" };
  return sharp({ create: create as never })
    .withMetadata({ orientation, exif: { IFD0: { Copyright: "secret place" } } })
    .toFormat(format)
    .toBuffer();
}

/** A form as it goes over the wire, with its parts' headers and contents as they are. */
export function rawForm(
  parts: readonly (readonly [headers: string, content: string])[],
  boundary = "b0undary",
) {
  const body = parts
    .map(([headers, content]) => `--${boundary}\r\n${headers}\r\n\r\n${content}\r\n`)
    .join("");
  return {
    type: `multipart/form-data; boundary=${boundary}`,
    body: Buffer.from(`${body}--${boundary}--\r\n`),
  };
}

export const filePart = 'Content-Disposition: form-data; name="file"; filename="a.txt"';

/** A request whose body is written by hand; `end` it, or `destroy` it. */
export function openRequest(
  client: Client,
  path: string,
  headers: Record<string, string | number>,
  method = "POST",
) {
  const sent = request(`${client.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${client.token}`, ...headers },
  });
  const answer = new Promise<{ status: number; body: Json }>((resolve, reject) => {
    sent.on("error", reject);
    sent.on("response", async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) });
    });
  });
  answer.catch(() => {});
  return { sent, answer };
}
