import type { ServerResponse } from "node:http";
import { type Closing, closings } from "../errors.ts";
import { limits } from "../limits.ts";
import { encodeSse } from "./encoding.ts";
import type { Wire } from "./stream.ts";
import { connectionName } from "./unheard.ts";

const beginning = Buffer.from(`retry: ${limits.sseRetryMs}\n\n`);

/**
 * Begins a Server-Sent Events response and gives its wire. `headers` are those every response carries. What
 * node:http would keep of the request for as long as the stream is open is let go.
 */
export function openSse(response: ServerResponse, headers: Iterable<[string, string]>): Wire {
  // The body ends with its connection, so that bytes go out as they are and not as chunks, which the HTML
  // standard's notes on event streams advise against. Proxies know such bodies by `connection: close`.
  response.removeHeader("transfer-encoding");
  // All in one call: headers that are set before it are kept, which takes 700 bytes.
  response.writeHead(200, {
    ...Object.fromEntries(headers),
    "content-type": "text/event-stream; charset=utf-8",
    // Neither caches nor transforming proxies may hold events back; the last one is nginx's.
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    connection: "close",
  });
  // Bytes, not text, which would be joined to the head and leave that in the many pieces it was made of.
  response.write(beginning);
  // A browser's take one to two kilobytes.
  response.req.headers = {};
  response.req.rawHeaders = [];
  return new SseWire(response);
}

/** Writes straight to the TCP socket, as node:http would do it after some bookkeeping for each write. */
class SseWire implements Wire {
  readonly format = "sse";
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  write(bytes: Buffer): void {
    const writable = this.#writable();
    if (!writable.destroyed && writable.writable) writable.write(bytes);
  }

  buffered(): number {
    return this.#writable().writableLength;
  }

  drained(): Promise<void> {
    return drained(this.#writable());
  }

  connection(): string | null {
    const { localPort, remoteAddress, remotePort } = this.#response.socket ?? {};
    if (localPort === undefined || remoteAddress === undefined || remotePort === undefined) return null;
    return connectionName(localPort, remoteAddress, remotePort);
  }

  close(closing: Closing): void {
    closeSse(this.#response, closing);
  }

  cut(): void {
    this.#response.destroy();
  }

  /** The response itself while it has no socket: behind another one on its connection, or after its end. */
  #writable() {
    return this.#response.socket ?? this.#response;
  }
}

/**
 * Resolves when the writable side has room, or will never have; always in a later turn of the event loop, as
 * who asks again and again must leave a turn for the close event.
 */
export function drained(writable: {
  writableNeedDrain: boolean;
  destroyed: boolean;
  once(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
}): Promise<void> {
  return new Promise((resolve) => {
    if (!writable.writableNeedDrain || writable.destroyed) {
      setImmediate(resolve);
      return;
    }
    const done = () => {
      writable.off("drain", done);
      writable.off("close", done);
      resolve();
    };
    writable.once("drain", done);
    writable.once("close", done);
  });
}

/** Ends with a `closed` event (a type of its own: browsers use `error` themselves). */
function closeSse(response: ServerResponse, closing: Closing): void {
  const json = JSON.stringify({ type: "closed", code: closings[closing], reason: closing });
  response.end(encodeSse("closed", null, json));
  const timer = setTimeout(() => response.destroy(), limits.closeGraceMs);
  response.once("close", () => clearTimeout(timer));
}
