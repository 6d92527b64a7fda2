import type { IncomingMessage } from "node:http";
import type { ServerRequest } from "srvx";

/** Node's own request behind a web request, or an event of h3. */
export function nodeRequestOf({
  runtime,
}: {
  runtime?: ServerRequest["runtime"] | undefined;
}): IncomingMessage {
  const request = runtime?.node?.req;
  if (!request) throw new Error("this needs Node's own request");
  return request as IncomingMessage;
}
