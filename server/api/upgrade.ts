import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import type { Peer } from "crossws";
import crossws from "crossws/adapters/node";
import { NodeRequest } from "srvx/node";
import { encodePong } from "../delivery/encoding.ts";
import { socketWire } from "../delivery/socket.ts";
import type { Stream } from "../delivery/stream.ts";
import { Failure, fail } from "../errors.ts";
import { limits } from "../limits.ts";
import { createFrameHandler } from "./frames.ts";
import type { Parts } from "./parts.ts";
import { problemResponse, toFailure } from "./problems.ts";
import { readRequestId } from "./request-id.ts";
import { beginStream, matchStream, type Opened, openStream } from "./streams.ts";

/** A request as srvx makes it of an upgrade. */
type UpgradeRequest = Request & { runtime?: { node?: { upgrade?: { socket: Duplex } } } };

/** What an upgrade hands on to its open socket. */
interface SocketContext {
  opened: Opened;
  socket: Duplex;
  stream?: Stream;
  handleFrame?: (data: unknown) => void;
}

const serverOptions = {
  maxPayload: limits.frameBytes,
  perMessageDeflate: false,
  // `ws` would answer pings past the outbox, so without a bound for a client that does not read.
  autoPong: false,
};

/** Answers WebSocket upgrades on a server: `/api/v1/ws` and `/api/v1/discussions/{id}/ws`. */
export function serveSockets(parts: Parts, server: Server): void {
  const adapter = crossws({
    idleTimeout: limits.socketPingSeconds,
    serverOptions,
    // A namespace per path would be kept for ever.
    getNamespace: () => "sockets",
    hooks: {
      upgrade: (request) => upgrade(parts, request as UpgradeRequest),
      open: (peer) => open(parts, peer),
      message: (peer, message) => contextOf(peer).handleFrame?.(message.rawData),
      ping: (peer, data) => contextOf(peer).stream?.sendRaw(encodePong(data)),
      close: (peer) => {
        const { stream } = contextOf(peer);
        if (stream) parts.hub.remove(stream);
      },
    },
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // While the upgrade hook waits for the database, nobody else would handle a reset of the connection, and
    // an unhandled error event ends the process.
    socket.on("error", () => socket.destroy());
    const webRequest = new NodeRequest({
      req: request,
      upgrade: { socket, head },
      trustProxy: parts.config.trustProxy,
    } as unknown as ConstructorParameters<typeof NodeRequest>[0]);
    adapter.handleUpgrade(request, socket, head, webRequest as unknown as Request).catch((error) => {
      parts.log.error({ err: error }, "upgrade failed");
      socket.destroy();
    });
  });
}

async function upgrade(
  parts: Parts,
  request: UpgradeRequest,
): Promise<Response | { context: Record<string, unknown>; headers: Record<string, string> }> {
  const requestId = readRequestId(request.headers);
  const url = new URL(request.url);
  try {
    const target = matchStream(url.pathname);
    if (target?.kind !== "ws") throw new Failure("not_found", "There is no socket at this address");
    checkHandshake(request.headers);
    const opened = await openStream(parts, { url, headers: request.headers, method: "GET" }, target);
    const socket = request.runtime?.node?.upgrade?.socket as Duplex;
    const context: SocketContext = { opened, socket };
    parts.log.info({ request_id: requestId, path: url.pathname, status: 101 }, "request");
    return {
      context: context as unknown as Record<string, unknown>,
      headers: { "x-request-id": requestId },
    };
  } catch (error) {
    const problem = problemResponse(toFailure(error, parts.log), requestId);
    parts.log.info({ request_id: requestId, path: url.pathname, status: problem.status }, "request");
    const headers = new Headers(problem.headers);
    headers.set("x-request-id", requestId);
    headers.set("connection", "close");
    const body = String(problem.body);
    headers.set("content-length", String(Buffer.byteLength(body)));
    return new Response(body, { status: problem.status ?? 500, headers });
  }
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** RFC 6455, section 4.2.1; `ws` would refuse the same, but in plain text. */
function checkHandshake(headers: Headers): void {
  const protocols =
    headers
      .get("sec-websocket-protocol")
      ?.split(",")
      .map((name) => name.trim()) ?? [];
  const isValid =
    headers.get("sec-websocket-version") === "13" &&
    /^[+/0-9A-Za-z]{22}==$/.test(headers.get("sec-websocket-key") ?? "") &&
    protocols.every((name) => token.test(name)) &&
    new Set(protocols).size === protocols.length;
  if (!isValid) fail("invalid_request", "This is not a valid WebSocket handshake");
}

function open(parts: Parts, peer: Peer): void {
  const context = contextOf(peer);
  const stream = beginStream(parts, context.opened, socketWire(peer, context.socket));
  context.stream = stream;
  context.handleFrame = createFrameHandler(parts, stream);
}

function contextOf(peer: Peer): SocketContext {
  return peer.context as unknown as SocketContext;
}
