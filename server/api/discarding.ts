import type { IncomingMessage } from "node:http";
import type { ServerRequest } from "srvx";
import { limits } from "../limits.ts";

/**
 * Lets pass what is left of a body that was answered before it was read. Many clients read the answer only
 * when they have sent everything, and a connection that is closed while they send takes the answer with it.
 * Who goes on beyond the bounds is cut off.
 */
export function discardBody({ runtime }: { runtime?: ServerRequest["runtime"] | undefined }): void {
  const request = runtime?.node?.req as IncomingMessage | undefined;
  if (!request || !isComing(request)) return;
  const { socket } = request;
  const most = socket.bytesRead + limits.discardedBytes;
  const until = Date.now() + limits.discardMs;
  // Not by the request's own events: of a body that nobody began to read, Node takes the listeners away.
  const watch = setInterval(() => {
    if (!request.complete && !socket.destroyed && socket.bytesRead <= most && Date.now() < until) return;
    clearInterval(watch);
    if (!request.complete) socket.destroy();
  }, 50).unref();
  request.on("error", () => {});
  // Who read it before may have left it paused.
  request.resume();
}

/** Whether a request has a body of which something may still come. */
export function isComing({ complete, destroyed, headers }: IncomingMessage): boolean {
  if (complete || destroyed) return false;
  return headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
}
