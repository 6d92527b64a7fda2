import { randomBytes } from "node:crypto";
import { type IncomingMessage, request } from "node:http";
import type { Duplex } from "node:stream";
import type { Answer } from "../support/client.ts";
import type { StreamKind } from "../support/streams.ts";

/** A stream as bytes, without a client library between. */
export interface RawStream extends Answer {
  /** All that came, as text; of a WebSocket with its frame headers, as a server's frames are not masked. */
  text(): string;
  /** The same as bytes. */
  bytes(): Buffer;
  /** Whether the server has ended the connection. */
  hasEnded(): boolean;
  /** Resolves once `holds` is true of what came or of how it ended; fails after `ms`. */
  until(holds: (text: string) => unknown, ms?: number): Promise<void>;
  cut(): void;
}

export interface RawOptions {
  method?: string;
  headers?: Record<string, string>;
  /** Breaks off the asking; what has opened is `cut`. */
  signal?: AbortSignal;
}

const upgradeHeaders = () => ({
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": randomBytes(16).toString("base64"),
});

/** The path of a stream below /api/v1. */
export function streamPath(kind: StreamKind, discussionId?: string): string {
  const end = kind === "sse" ? "events" : "ws";
  return discussionId ? `/discussions/${discussionId}/${end}` : `/${end}`;
}

/**
 * Asks for a stream with exactly these headers, and for a WebSocket those of an upgrade. Status 200 or 101
 * means that it is open; any other answer comes with its body read.
 */
export function openRaw(
  kind: StreamKind,
  url: string,
  path: string,
  { method = "GET", headers = {}, signal }: RawOptions = {},
): Promise<RawStream> {
  return new Promise((resolve, reject) => {
    const asked = request(`${url}/api/v1${path}`, {
      method,
      agent: false,
      ...(signal && { signal }),
      headers: { ...(kind === "ws" && upgradeHeaders()), ...headers },
    });
    asked.once("error", reject);
    asked.once("upgrade", (response, socket, head) => {
      const raw = collect(response, socket);
      raw.take(head);
      resolve(raw);
    });
    asked.once("response", (response) => {
      const raw = collect(response, response);
      if (response.headers["content-type"]?.startsWith("text/event-stream")) resolve(raw);
      else response.once("end", () => resolve({ ...raw, body: readBody(response, raw.text()) }));
    });
    asked.end();
  });
}

function readBody(response: IncomingMessage, text: string): unknown {
  if (text === "") return null;
  return /\bjson\b/.test(response.headers["content-type"] ?? "") ? JSON.parse(text) : text;
}

function collect(response: IncomingMessage, source: Duplex | IncomingMessage) {
  const chunks: Buffer[] = [];
  const waiting = new Set<() => void>();
  let ended = false;
  const bytes = () => Buffer.concat(chunks);
  const text = () => bytes().toString();
  const wake = () => {
    for (const check of waiting) check();
  };
  const take = (chunk: Buffer) => {
    chunks.push(chunk);
    wake();
  };
  const end = () => {
    ended = true;
    wake();
  };
  source.on("data", take).on("end", end).on("close", end).on("error", end);
  return {
    status: response.statusCode ?? 0,
    headers: new Headers(Object.entries(response.headers).map(([name, value]) => [name, String(value)])),
    body: null,
    take,
    text,
    bytes,
    hasEnded: () => ended,
    cut: () => void source.destroy(),
    until: (holds: (text: string) => unknown, ms = 10_000) =>
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(check);
          reject(new Error(`not within ${ms} ms: ${holds}; received ${text().slice(-500)}`));
        }, ms);
        const check = () => {
          if (!holds(text())) return;
          waiting.delete(check);
          clearTimeout(timer);
          resolve();
        };
        waiting.add(check);
        check();
      }),
  };
}
