import type { IncomingMessage } from "node:http";
import type { H3Event } from "h3";
import { limits } from "../limits.ts";

/**
 * Lets pass what is left of a body that was answered before it was read. Many clients read the answer only
 * when they have sent everything, and a connection that is closed while they send takes the answer with it.
 * Who goes on beyond the bounds is cut off.
 */
export function discardBody(event: H3Event): void {
  const request = event.runtime?.node?.req as IncomingMessage | undefined;
  if (!request || request.complete || request.destroyed) return;
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  if (length === undefined && encoding === undefined) return;
  let bytes = 0;
  const cutOff = () => request.socket.destroy();
  const timer = setTimeout(cutOff, limits.discardMs).unref();
  request.on("data", (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > limits.discardedBytes) cutOff();
  });
  request.once("close", () => clearTimeout(timer));
  request.on("error", () => {});
}
