import { randomUUID } from "node:crypto";
import type { Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ServerRequest } from "srvx";
import { type ErrorCode, errors, Failure } from "../errors.ts";
import { limits } from "../limits.ts";
import { discardBody, isComing } from "./discarding.ts";
import { nodeRequestOf } from "./node-request.ts";
import type { Parts } from "./parts.ts";
import { finalProblem } from "./problems.ts";
import { readRequestId } from "./request-id.ts";
import type { Turns } from "./turns.ts";

/** Under what it is counted. */
const noRoute = "none";
/** RFC 3986, section 3.2: a name, an IPv4 address or one of IPv6 in brackets, and a port. */
const hostForm = /^(\[[0-9a-f:.]+\]|([\w.~!$&'()*+,;=-]|%[0-9a-f]{2})*)(:\d*)?$/i;
/** RFC 9112, section 3.2: a path, a whole address as to a proxy, or the server itself. */
const targetForm = /^(\/|https?:\/\/|\*$)/i;

/**
 * What is wrong with a request that nothing else of it need be looked at for; null: nothing. These are
 * requests which two programs in a row may understand differently, or of which no address can be made.
 */
export function faultOf(request: ServerRequest): string | null {
  const { rawHeaders, headers, httpVersion, url = "" } = nodeRequestOf(request);
  const hosts = countHosts(rawHeaders);
  // RFC 9112, section 3.2, asks for exactly one; Node would take the first.
  if (hosts > 1 || (hosts === 0 && httpVersion !== "1.0")) return "There must be one Host";
  if (!hostForm.test(headers.host ?? "")) return "The Host is not valid";
  if (!targetForm.test(url) || !hasAddress(request)) return "The address is not valid";
  // Node takes whatever ends with "chunked", and leaves the rest to us.
  const encoding = headers["transfer-encoding"] ?? "chunked";
  return encoding.toLowerCase() === "chunked" ? null : "The only Transfer-Encoding is chunked";
}

function countHosts(rawHeaders: readonly string[]): number {
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts++;
  }
  return hosts;
}

/** Such as http://1.2.3.999/ has none, and h3 would throw whenever it is asked for. */
function hasAddress(request: ServerRequest): boolean {
  try {
    return URL.canParse(request.url);
  } catch {
    return false;
  }
}

type Serve = (request: ServerRequest) => Response | Promise<Response>;

/**
 * Hands on what is well formed, one after another on each connection, and answers the rest. After what is
 * malformed nothing more is taken for a request, though Node has parsed what came in the same piece. Whose
 * client is gone before it was its turn is not carried out.
 */
export function refuseMalformed(parts: Parts, turns: Turns, serve: Serve): Serve {
  const take: Serve = (request) => {
    const nodeRequest = nodeRequestOf(request);
    const { socket } = nodeRequest;
    if (turns.isOver(socket)) return new Promise(() => {});
    const fault = faultOf(request);
    if (fault === null) return serve(request);
    turns.end(socket);
    const requestId = readRequestId(request.headers);
    report(parts, request.method, "invalid_request", requestId, fault);
    const failure = new Failure("invalid_request", fault);
    if (isComing(nodeRequest)) {
      // Node would close with the answer's end, while the body still comes, which takes the answer with it.
      hangUp(socket, rawProblem(failure, requestId), limits.discardMs);
      discardBody(request);
      return new Promise(() => {});
    }
    const { body, ...init } = finalProblem(failure, requestId);
    return new Response(body, init);
  };
  return (request) => {
    const turn = turns.mine(nodeRequestOf(request));
    return turn ? turn.then(() => take(request)) : take(request);
  };
}

/** What Node's parser gives up for is invalid_request, but for these. */
const parserCodes: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: "headers_too_large",
  HPE_CHUNK_EXTENSIONS_OVERFLOW: "payload_too_large",
  ERR_HTTP_REQUEST_TIMEOUT: "request_timeout",
};

/**
 * Answers what Node's parser gives up, or waited for too long, in the form of all refusals; it would answer
 * with a bare status, and perhaps in the place of another answer. The connection ends, as nobody knows where
 * on it the next request would begin.
 */
export function answerParserErrors(parts: Parts, server: Server, turns: Turns): void {
  const failed = new WeakSet<Duplex>();
  const answer = (socket: Duplex, code: ErrorCode, reason: string | undefined) => {
    // The answer before it was the last one anyway.
    if (!socket.writable) return;
    const requestId = randomUUID();
    report(parts, "none", code, requestId, reason);
    hangUp(socket, rawProblem(new Failure(code), requestId));
  };
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    // The parser fails anew with every piece that comes behind the mistake; all was done at the first.
    if (failed.has(socket) || turns.isOver(socket)) return;
    failed.add(socket);
    const code = parserCodes[error.code ?? ""] ?? (error.code?.startsWith("HPE_") && "invalid_request");
    // Browsers connect ahead, and load balancers to see whether somebody listens: that is no request.
    if (!code || !socket.writable || socket.bytesRead === 0) {
      socket.destroy();
      return;
    }
    const response = turns.unfinished(socket);
    // The mistake is in the body of the request whose turn it is, or behind one that is still to be answered.
    const isReading = response?.req.complete === false && response.socket === socket;
    if (!response || (isReading && !response.headersSent)) {
      answer(socket, code, error.code);
      return;
    }
    response.once("finish", () => (isReading ? hangUp(socket, "") : answer(socket, code, error.code)));
    // A stream would not finish.
    if (response.headersSent) destroyLater(socket, limits.hangUpMs);
  });
  server.on("connect", (_request, socket: Duplex) => {
    socket.on("error", () => socket.destroy());
    if (turns.unfinished(socket)) socket.destroy();
    else answer(socket, "method_not_allowed", "CONNECT");
  });
  // Whatever else is expected of us than to take the body; RFC 9110, section 10.1.1, lets it be ignored.
  server.on("checkExpectation", (request, response) => server.emit("request", request, response));
}

function report(parts: Parts, method: string, code: ErrorCode, requestId: string, reason?: string): void {
  const [status] = errors[code];
  parts.requests.add(noRoute, method, status, 0);
  parts.log.info({ request_id: requestId, method, status, reason }, "request");
}

function rawProblem(failure: Failure, requestId: string): string {
  const { status, headers, body } = finalProblem(failure, requestId);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${errors[failure.code][1]}\r\n${lines.join("")}\r\n${body}`;
}

/** What the client still sends is not read; to close at once would take the answer from it. */
function hangUp(socket: Duplex, bytes: string, ms: number = limits.hangUpMs): void {
  socket.end(bytes);
  destroyLater(socket, ms);
}

function destroyLater(socket: Duplex, ms: number): void {
  const timer = setTimeout(() => socket.destroy(), ms);
  socket.once("close", () => clearTimeout(timer));
}
