import type { IncomingMessage } from "node:http";
import type { ServerRequest } from "srvx";

/** Node's own request behind a web request. */
export function nodeRequestOf({ runtime }: Pick<ServerRequest, "runtime">): IncomingMessage {
  const request = runtime?.node?.req;
  if (!request) throw new Error("this needs Node's own request");
  return request as IncomingMessage;
}
