import type { ServerResponse } from "node:http";
import { type Closing, closings } from "../errors.ts";
import { limits } from "../limits.ts";
import { encodeSse } from "./encoding.ts";
import type { Wire } from "./stream.ts";

/** Begins a Server-Sent Events response and gives its wire. `headers` are those every response carries. */
export function openSse(response: ServerResponse, headers: Iterable<[string, string]>): Wire {
  for (const [name, value] of headers) response.setHeader(name, value);
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    // Neither caches nor transforming proxies may hold events back; the last one is nginx's.
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    // When the stream has ended, its connection is of no further use.
    connection: "close",
  });
  response.write(`retry: ${limits.sseRetryMs}\n\n`);
  return {
    format: "sse",
    write: (bytes) => void response.write(bytes),
    buffered: () => response.writableLength,
    drained: () => drained(response),
    close: (closing) => closeSse(response, closing),
  };
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
