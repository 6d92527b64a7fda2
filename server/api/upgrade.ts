import type { IncomingHttpHeaders, IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Peer } from "crossws";
import crossws from "crossws/adapters/node";
import type { ServerRequest } from "srvx";
import { NodeRequest } from "srvx/node";
import { encodePong } from "../delivery/encoding.ts";
import { SocketWire } from "../delivery/socket.ts";
import type { Stream } from "../delivery/stream.ts";
import { Failure, fail } from "../errors.ts";
import { limits } from "../limits.ts";
import { addressOf } from "./address.ts";
import { createFrameHandler } from "./frames.ts";
import { faultOf } from "./malformed.ts";
import { nodeRequestOf } from "./node-request.ts";
import type { Parts } from "./parts.ts";
import { finalProblem, toFailure } from "./problems.ts";
import { readRequestId } from "./request-id.ts";
import { beginStream, matchStream, type Opened, openStream, streamRoute } from "./streams.ts";

/** What an upgrade hands on to its open socket. */
interface SocketContext {
  socket: Socket;
  /** Of what came over the socket, how much had when its last message was whole. */
  messageBytes: number;
  opened: Opened | undefined;
  stream: Stream | undefined;
  handleFrame: ((data: unknown) => void) | undefined;
}

/**
 * What crossws and `ws` get for the request. They keep it for as long as the socket is open, so it holds
 * nothing but what they read of it, and the request itself, with all its headers, only until it was judged:
 * checkHandshake() sees the version and shouldUpgradeCallback (http-server.ts) the upgrade.
 */
interface Handshake {
  method: string | undefined;
  url: string;
  headers: IncomingHttpHeaders;
  request: ServerRequest | undefined;
  context: SocketContext;
}

const serverOptions = {
  maxPayload: limits.frameBytes,
  maxBufferedChunks: limits.frameReads,
  perMessageDeflate: false,
  // `ws` would answer pings past the outbox, so without a bound for a client that does not read.
  autoPong: false,
  // The hub knows the streams.
  clientTracking: false,
};

/** Answers WebSocket upgrades on a server: `/api/v1/ws` and `/api/v1/discussions/{id}/ws`. */
export function serveSockets(parts: Parts, server: Server): void {
  const adapter = crossws({
    // The hub pings: for less memory per socket, and through the outbox.
    idleTimeout: 0,
    serverOptions,
    // A namespace per path would be kept for ever.
    getNamespace: () => "sockets",
    hooks: {
      upgrade: (handshake) => upgrade(parts, handshake as unknown as Handshake),
      open: (peer) => open(parts, peer),
      message: (peer, message) => handleFrame(parts, contextOf(peer), message.rawData),
      ping: (peer, data) => heardControl(peer)?.sendRaw(encodePong(data)),
      pong: (peer) => void heardControl(peer),
      close: (peer) => {
        const { stream } = contextOf(peer);
        if (stream) parts.hub.remove(stream);
      },
    },
  });
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    // While the upgrade hook waits for the database, nobody else would handle a reset of the connection, and
    // an unhandled error event ends the process.
    socket.on("error", destroyThis);
    const handshake = takeHandshake(request, socket, parts.config.trustedProxies > 0) as unknown;
    adapter.handleUpgrade(handshake as IncomingMessage, socket, head, handshake as Request).catch((error) => {
      parts.log.error({ err: error }, "upgrade failed");
      socket.destroy();
    });
  });
}

/** One function for all sockets, where a closure would cost memory for each. */
function destroyThis(this: Duplex): void {
  this.destroy();
}

function takeHandshake(request: IncomingMessage, socket: Socket, trustProxy: boolean): Handshake {
  const options = { req: request, trustProxy } as unknown as ConstructorParameters<typeof NodeRequest>[0];
  const { "sec-websocket-key": key, "sec-websocket-protocol": protocols } = request.headers;
  return {
    method: request.method,
    url: "/",
    headers: {
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": key,
      ...(protocols !== undefined && { "sec-websocket-protocol": protocols }),
    },
    request: new NodeRequest(options) as unknown as ServerRequest,
    context: { socket, messageBytes: 0, opened: undefined, stream: undefined, handleFrame: undefined },
  };
}

async function upgrade(
  parts: Parts,
  handshake: Handshake,
): Promise<Response | { headers: Record<string, string> }> {
  const request = handshake.request as ServerRequest;
  handshake.request = undefined;
  const requestId = readRequestId(request.headers);
  const startedAt = performance.now();
  const fault = faultOf(request);
  const url = new URL(fault === null ? request.url : "http://localhost/");
  const target = matchStream(url.pathname);
  const route = target?.kind === "ws" ? streamRoute(target) : "none";
  const finish = (status: number) => {
    parts.requests.add(route, handshake.method ?? "none", status, performance.now() - startedAt);
    parts.log.info({ request_id: requestId, path: url.pathname, status }, "request");
  };
  try {
    if (fault !== null) throw new Failure("invalid_request", fault);
    if (target?.kind !== "ws") throw new Failure("not_found", "There is no socket at this address");
    checkHandshake(request);
    const address = () => addressOf(request, parts.config.trustedProxies);
    const asked = { url, headers: request.headers, method: "GET", address };
    const opened = await openStream(parts, asked, target);
    handshake.context.opened = opened;
    const { socket } = handshake.context;
    // If it went away in the meantime, its "close" has been and will not come again.
    if (socket.destroyed) opened.settle();
    else socket.once("close", opened.settle);
    finish(101);
    return { headers: { "x-request-id": requestId } };
  } catch (error) {
    const { body, ...init } = finalProblem(toFailure(error, parts.log), requestId);
    finish(init.status);
    return new Response(body, init);
  }
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/**
 * RFC 6455, section 4.2.1; `ws` would refuse most of it too, but in plain text, and when a ticket is spent.
 * What stands in the place of a body would be taken for the first frames.
 */
function checkHandshake(request: ServerRequest): void {
  const { headers, method } = request;
  if (method !== "GET") throw new Failure("method_not_allowed", undefined, { headers: { allow: "GET" } });
  const protocols =
    headers
      .get("sec-websocket-protocol")
      ?.split(",")
      .map((name) => name.trim()) ?? [];
  const isValid =
    nodeRequestOf(request).httpVersion !== "1.0" &&
    Number(headers.get("content-length")) === 0 &&
    !headers.has("transfer-encoding") &&
    headers.get("sec-websocket-version") === "13" &&
    /^[+/0-9A-Za-z]{22}==$/.test(headers.get("sec-websocket-key") ?? "") &&
    protocols.every((name) => token.test(name)) &&
    new Set(protocols).size === protocols.length;
  if (!isValid) fail("invalid_request", "This is not a valid WebSocket handshake");
}

function open(parts: Parts, peer: Peer): void {
  const context = contextOf(peer);
  const { opened, socket } = context;
  context.opened = undefined;
  // From here on `ws` listens for errors.
  socket.off("error", destroyThis);
  if (!opened) return;
  context.stream = beginStream(parts, opened, new SocketWire(peer, socket));
  socket.off("close", opened.settle);
  opened.settle();
}

/** Most sockets only listen; what orders a client's frames is made with its first one. */
function handleFrame(parts: Parts, context: SocketContext, data: unknown): void {
  if (!context.stream) return;
  context.messageBytes = context.socket.bytesRead;
  context.stream.heard();
  context.handleFrame ??= createFrameHandler(parts, context.stream);
  context.handleFrame(data);
}

/**
 * A ping or pong is a sign of life, but not for ever the only one: what comes between the fragments of a
 * message `ws` keeps alive with them, a whole read for each, and a message may have many fragments.
 */
function heardControl(peer: Peer): Stream | undefined {
  const { socket, stream, messageBytes } = contextOf(peer);
  const unfinished = socket.bytesRead - messageBytes;
  stream?.heard();
  if (unfinished > limits.unfinishedBytes) stream?.close("rate_limited");
  // It was told, and goes on.
  if (unfinished > 2 * limits.unfinishedBytes) peer.terminate();
  return stream;
}

function contextOf(peer: Peer): SocketContext {
  return peer.context as unknown as SocketContext;
}
