/** Server-Sent Events with nothing around them: what an open response of node:http costs. */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

const responses = new Set<ServerResponse>();

const server = createServer((_request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  response.write("event: ready\ndata: {}\n\n");
  responses.add(response);
  response.on("close", () => responses.delete(response));
});

server.listen(0, "127.0.0.1", () => {
  console.log(`listens on ${(server.address() as AddressInfo).port}`);
});
