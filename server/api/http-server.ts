import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import { serve } from "srvx/node";
import { limits } from "../limits.ts";
import { createApp } from "./app.ts";
import { attachmentRoutes } from "./attachments.ts";
import { authRoutes, sessionRoutes } from "./auth.ts";
import { avatarRoutes } from "./avatars.ts";
import { blockRoutes } from "./blocks.ts";
import { changeRoutes, reactionRoutes } from "./changes.ts";
import { discussionRoutes, discussionsRoutes } from "./discussions.ts";
import { documentRoutes } from "./documents.ts";
import { answerParserErrors, refuseMalformed } from "./malformed.ts";
import { memberRoutes, membersRoutes, readRoutes } from "./members.ts";
import { historyRoutes, messageRoutes } from "./messages.ts";
import { metricsRoutes } from "./metrics.ts";
import { operationRoutes } from "./operations.ts";
import { pageRoutes } from "./pages.ts";
import type { Parts } from "./parts.ts";
import { presenceRoutes } from "./presence.ts";
import type { Route } from "./route.ts";
import { searchRoutes } from "./search.ts";
import { Turns } from "./turns.ts";
import { serveSockets } from "./upgrade.ts";
import { meRoutes, userRoutes } from "./users.ts";

/** What listens on the port: all routes, and the upgrades to sockets. */
export interface HttpServer {
  /** For example http://localhost:3000. */
  url: string;
  /** Accepts no more, and resolves when all that was in flight is answered. */
  close(): Promise<void>;
  /** Ends whatever is still connected. */
  cut(): void;
}

/** Listens, and resolves once it does. Throws what Node throws, such as EADDRINUSE. */
export async function startHttpServer(parts: Parts, metrics: () => Promise<string>): Promise<HttpServer> {
  const { config } = parts;
  const app = createApp(parts, await allRoutes(parts, metrics));
  const turns = new Turns();
  const served = serve({
    manual: true,
    silent: true,
    gracefulShutdown: false,
    trustProxy: config.trustedProxies > 0,
    port: config.port,
    ...(config.host !== undefined && { hostname: config.host }),
    node: {
      backlog: limits.listenBacklog,
      // srvx asks for a port of its own; workers share the one that the first process listens on.
      exclusive: false,
      // Above Heroku's router's 90 s, which would else reuse a connection that we are just closing.
      keepAliveTimeout: 95_000,
      headersTimeout: 20_000,
      requestTimeout: limits.requestMs,
      connectionsCheckingInterval: limits.overdueMs,
      // malformed.ts refuses what has none, with a problem.
      requireHostHeader: false,
      // Other upgrades (HTTP/2 over plain text, which curl offers) are answered as if not asked for.
      // So is a socket that is asked for behind something else: its frames would mix with that answer.
      shouldUpgradeCallback: ({ headers, socket }) =>
        headers.upgrade?.toLowerCase() === "websocket" && !turns.unfinished(socket),
    },
    fetch: refuseMalformed(parts, turns, (request) => app.fetch(request)),
  });
  const server = served.node?.server as Server;
  turns.watch(server);
  answerParserErrors(parts, server, turns);
  serveSockets(parts, server);
  await served.serve();
  const silent = trackSilent(server);
  return {
    url: `http://localhost:${portOf(server)}`,
    close: () => closeServer(server, silent),
    cut: () => server.closeAllConnections(),
  };
}

async function allRoutes(parts: Parts, metrics: () => Promise<string>): Promise<Route[]> {
  const routes = [
    ...authRoutes(parts),
    ...sessionRoutes(parts),
    ...meRoutes(parts),
    ...userRoutes(parts),
    ...discussionsRoutes(parts),
    ...discussionRoutes(parts),
    ...membersRoutes(parts),
    ...memberRoutes(parts),
    ...readRoutes(parts),
    ...messageRoutes(parts),
    ...historyRoutes(parts),
    ...changeRoutes(parts),
    ...reactionRoutes(parts),
    ...blockRoutes(parts),
    ...presenceRoutes(parts),
    ...attachmentRoutes(parts),
    ...avatarRoutes(parts),
    ...searchRoutes(parts),
    ...operationRoutes(parts),
    ...metricsRoutes(parts.config.metricsToken, metrics),
    ...(await pageRoutes()),
  ];
  return [...routes, ...documentRoutes(routes)];
}

/**
 * Connections on which nothing was ever asked; Node does not count them as idle. Browsers make such ahead.
 */
function trackSilent(server: Server): ReadonlySet<Duplex> {
  const silent = new Set<Duplex>();
  // One function for all, which goes with the first request: a stream need not keep it.
  function forget(this: Duplex): void {
    silent.delete(this);
  }
  const speaks = ({ socket }: IncomingMessage) => {
    if (silent.delete(socket)) socket.off("close", forget);
  };
  server.on("connection", (socket) => {
    silent.add(socket);
    socket.on("close", forget);
  });
  server.prependListener("request", speaks);
  server.prependListener("upgrade", speaks);
  return silent;
}

/** Accepts no more, and resolves when all that was in flight is answered. */
function closeServer(server: Server, silent: ReadonlySet<Duplex>): Promise<void> {
  // What such a client asks may be on its way.
  const hangUp = setTimeout(() => {
    for (const socket of silent) socket.destroy();
  }, limits.firstRequestMs);
  // Who is answered now must not ask again on this connection: it would be closed under the question.
  server.prependListener("request", (_, response) => {
    response.shouldKeepAlive = false;
  });
  // A kept-alive connection becomes idle when its answer, or its stream, has ended.
  const sweep = setInterval(() => server.closeIdleConnections(), 20);
  return new Promise((resolve) => {
    server.close(() => {
      clearInterval(sweep);
      clearTimeout(hangUp);
      resolve();
    });
  });
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
