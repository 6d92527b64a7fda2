import { H3, type H3Event, HTTPResponse } from "h3";
import { Failure, fail } from "../errors.ts";
import { addressOf } from "./address.ts";
import { discardBody } from "./discarding.ts";
import type { Parts } from "./parts.ts";
import { problemResponse, toFailure } from "./problems.ts";
import { readRequestId } from "./request-id.ts";
import type { Caller, Route } from "./route.ts";
import { handedOver, serveEvents, streamRoutes } from "./streams.ts";

/** Under what requests to no route of ours are counted. */
const noRoute = "none";

/**
 * Puts the routes together: request ids, CORS, authentication, problem bodies and one log line per request.
 */
export function createApp(parts: Parts, routes: readonly Route[]): H3 {
  const app = new H3({
    silent: true,
    // What h3 refuses before it reaches a handler of ours, such as an address that cannot be decoded.
    onError: (error, event) => finish(parts, event, noRoute, () => Promise.reject(error)),
  });
  for (const route of routes) {
    const serve = (event: H3Event) =>
      finish(parts, event, route.path, async () =>
        route.call(event, await authenticate(parts, route, event)),
      );
    app.on(route.method, route.path, serve);
    if (route.method === "GET") app.on("HEAD", route.path, serve);
  }
  for (const { path } of streamRoutes) {
    const serve = path.endsWith("/ws") ? refuseToUpgrade : serveEvents;
    app.get(path, (event) => finish(parts, event, path, (headers) => serve(parts, event, headers)));
  }
  refuseTheRest(parts, app);
  return app;
}

/** A socket's address was asked for as a page. */
async function refuseToUpgrade(): Promise<never> {
  return fail("upgrade_required", "This address is a WebSocket");
}

/** h3 answers 404 to a wrong method; clients are better told which ones there are. */
function refuseTheRest(parts: Parts, app: H3): void {
  const methods = Map.groupBy(app["~routes"], (route) => route.route ?? "");
  for (const [path, routes] of methods) {
    const allow = [...new Set(routes.map((route) => route.method ?? ""))].join(", ");
    app.all(path, (event) =>
      finish(parts, event, path, async (_headers, requestId) => {
        const response = problemResponse(new Failure("method_not_allowed"), requestId);
        response.headers.set("allow", allow);
        return response;
      }),
    );
  }
  app.all("/**", (event) => finish(parts, event, noRoute, () => Promise.reject(new Failure("not_found"))));
}

/** Null for open routes. What comes too often is refused before the database is asked, where that can be. */
function authenticate(parts: Parts, route: Route, event: H3Event): Promise<Caller | null> | null {
  const address = () => addressOf(event.req, parts.config.trustedProxies);
  if (route.access === "open") {
    return route.rate && parts.rateLimits.byAddress(route.rate, address()).then(() => null);
  }
  const { method, headers } = event.req;
  const credentials = { method, url: event.url, headers, rate: route.rate, address };
  return route.access === "token"
    ? parts.authentication.token(credentials)
    : parts.authentication.session(credentials);
}

/** Runs a handler and finishes its answer, whatever comes of it. */
async function finish(
  parts: Parts,
  event: H3Event,
  route: string,
  handle: (headers: [string, string][], requestId: string) => Promise<unknown>,
): Promise<unknown> {
  const startedAt = performance.now();
  const requestId = readRequestId(event.req.headers);
  const headers: [string, string][] = [
    ["x-request-id", requestId],
    ...safetyHeaders(event),
    ...corsHeaders(parts, event),
  ];
  let answer: unknown;
  try {
    answer = event.req.method === "OPTIONS" ? preflight() : await handle(headers, requestId);
  } catch (error) {
    const log = parts.log.child({ request_id: requestId });
    answer = problemResponse(toFailure(error, log), requestId);
  }
  discardBody(event);
  if (answer instanceof HTTPResponse) for (const [name, value] of headers) answer.headers.append(name, value);
  const { method } = event.req;
  const status = answer instanceof HTTPResponse ? (answer.status ?? 200) : 200;
  const ms = performance.now() - startedAt;
  parts.requests.add(route, method, status, ms);
  // Without the query: it may hold a ticket.
  const path = event.url.pathname;
  parts.log.info({ request_id: requestId, method, path, status, ms: Math.round(ms) }, "request");
  // A promise that never settles, and that nobody holds: h3 would end the response when this one settles, and
  // would keep the whole request in memory for as long as somebody could settle it.
  return answer === handedOver ? new Promise(() => {}) : answer;
}

/**
 * What browsers are told with every answer: to take it for nothing but what it says it is, so that no file
 * and no JSON is a script or a style sheet; and, where it came by HTTPS, to come by nothing else for a year.
 */
function safetyHeaders(event: H3Event): [string, string][] {
  const sniffing: [string, string] = ["x-content-type-options", "nosniff"];
  if (event.url.protocol !== "https:") return [sniffing];
  return [sniffing, ["strict-transport-security", "max-age=31536000"]];
}

/** What pages of allowed origins may read and send, besides what browsers let everybody. */
const exposedHeaders = "x-request-id, retry-after, etag, content-disposition, content-range, accept-ranges";
const askedHeaders =
  "authorization, content-type, last-event-id, x-request-id, range, if-range, if-none-match";

function corsHeaders(parts: Parts, event: H3Event): [string, string][] {
  if (parts.config.allowedOrigins.length === 0) return [];
  const origin = event.req.headers.get("origin");
  if (origin === null || !parts.config.allowedOrigins.includes(origin)) return [["vary", "Origin"]];
  return [
    ["vary", "Origin"],
    ["access-control-allow-origin", origin],
    ["access-control-allow-credentials", "true"],
    ["access-control-expose-headers", exposedHeaders],
  ];
}

/** What an allowed origin may do; for others the headers of corsHeaders() are missing, so browsers refuse. */
function preflight(): HTTPResponse {
  return new HTTPResponse(null, {
    status: 204,
    headers: {
      "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
      "access-control-allow-headers": askedHeaders,
      "access-control-max-age": "600",
    },
  });
}
