import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import type { H3Event } from "h3";
import { Failure, fail } from "../errors.ts";
import { limits } from "../limits.ts";
import { nodeRequestOf } from "./node-request.ts";
import { inTime } from "./patience.ts";

/**
 * Reads a JSON body. Throws unsupported_media_type, payload_too_large, request_timeout, invalid_request.
 *
 * From Node's own request: h3 counts bytes only by a detour, which costs more than all the rest, and puts
 * U+FFFD in the place of what is not UTF-8, so that other text would be stored than was sent.
 */
export async function readJson(event: H3Event): Promise<unknown> {
  requireType(event.req.headers.get("content-type") ?? "");
  const request = nodeRequestOf(event);
  if (Number(request.headers["content-length"] ?? 0) > limits.bodyBytes) fail("payload_too_large");
  const bytes = await inTime(limits.bodyMs, readBytes(request));
  if (!isUtf8(bytes)) fail("invalid_request", "The body is not UTF-8");
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return fail("invalid_request", "The body is not valid JSON");
  }
}

function requireType(type: string): void {
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    fail("unsupported_media_type", "The body must be application/json");
  }
  const [, charset = "utf-8"] = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(type) ?? [];
  if (!/^(utf-?8|us-ascii)$/i.test(charset)) fail("unsupported_media_type", "The body must be UTF-8");
}

function readBytes(request: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const take = (chunk: Buffer) => {
      size += chunk.length;
      if (size > limits.bodyBytes) settle(() => reject(new Failure("payload_too_large")));
      else chunks.push(chunk);
    };
    const end = () => settle(() => resolve(Buffer.concat(chunks)));
    const breakOff = () => settle(() => reject(new Failure("invalid_request", "The body broke off")));
    const settle = (act: () => void) => {
      request.off("data", take).off("end", end).off("close", breakOff);
      act();
    };
    request.on("data", take).on("end", end).on("close", breakOff).on("error", breakOff);
    // Whose client went away while it was asked who it is: that was told before.
    if (request.destroyed) breakOff();
  });
}
