import type { IncomingMessage, Server } from "node:http";
import { availableParallelism } from "node:os";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { serve } from "srvx/node";
import { openDatabase, openSending, type Pool } from "../sql/database.ts";
import type { Pipeline } from "../sql/pipeline.ts";
import { findEndedSessions } from "../sql/sessions.ts";
import { createApp } from "./api/app.ts";
import { attachmentRoutes } from "./api/attachments.ts";
import { authRoutes, sessionRoutes } from "./api/auth.ts";
import { createAuthentication } from "./api/authentication.ts";
import { avatarRoutes } from "./api/avatars.ts";
import { blockRoutes } from "./api/blocks.ts";
import { changeRoutes, reactionRoutes } from "./api/changes.ts";
import { discussionRoutes, discussionsRoutes } from "./api/discussions.ts";
import { documentRoutes } from "./api/documents.ts";
import { answerParserErrors, refuseMalformed } from "./api/malformed.ts";
import { memberRoutes, membersRoutes, readRoutes } from "./api/members.ts";
import { historyRoutes, messageRoutes } from "./api/messages.ts";
import { createMetrics, metricsRoutes, renderMetrics } from "./api/metrics.ts";
import { operationRoutes } from "./api/operations.ts";
import { pageRoutes } from "./api/pages.ts";
import type { Parts } from "./api/parts.ts";
import { presenceRoutes } from "./api/presence.ts";
import { createRateLimits } from "./api/rate-limits.ts";
import { Requests } from "./api/requests.ts";
import { searchRoutes } from "./api/search.ts";
import { Turns } from "./api/turns.ts";
import { serveSockets } from "./api/upgrade.ts";
import { meRoutes, userRoutes } from "./api/users.ts";
import { createImages } from "./commands/images.ts";
import { startIndexing } from "./commands/indexing.ts";
import { startMaintenance } from "./commands/maintenance.ts";
import { createSender } from "./commands/messages.ts";
import { createPasswords } from "./commands/passwords.ts";
import { createPlaces, type Places } from "./commands/places.ts";
import { createReadMarks } from "./commands/reads.ts";
import { createRemovals } from "./commands/removals.ts";
import { createTokens } from "./commands/tokens.ts";
import { TypingSignals } from "./commands/typing.ts";
import type { Config } from "./config.ts";
import { Feed } from "./delivery/feed.ts";
import { Hub } from "./delivery/hub.ts";
import { Presence } from "./delivery/presence.ts";
import { createSignalHearing } from "./delivery/signals.ts";
import { watchUnheard } from "./delivery/unheard.ts";
import { limits } from "./limits.ts";
import { createLine, createLines } from "./line.ts";
import type { Peers } from "./peers.ts";
import { openStorages } from "./storage/storage.ts";

/** A running server. */
export interface Parley {
  /** Where it listens, for example http://localhost:3000. */
  url: string;
  /**
   * Stops accepting, answers what is in flight, sends streams away in batches; at most about nine seconds.
   */
  close(): Promise<void>;
}

/** A database that is reachable and migrated, and the secret of access tokens: what Config may leave open. */
export interface Ground {
  databaseUrl: string;
  listenDatabaseUrl: string;
  jwtSecret: string;
}

/** Starts the parts in order; close() stops them in reverse. `peers`: other processes on the same port. */
export async function startParley(
  config: Config,
  ground: Ground,
  log: Logger,
  peers: Peers | null = null,
): Promise<Parley> {
  const pool = await openDatabase({
    url: ground.databaseUrl,
    ...(config.ssl && { ssl: config.ssl }),
    maxConnections: config.poolSize,
  });
  const direct = { url: ground.listenDatabaseUrl, ...(config.ssl && { ssl: config.ssl }) };
  const sending = openSending(direct, () => void feed.verify());
  const hub = new Hub();
  const presence = config.presence ? new Presence(pool, hub, log) : null;
  const feed = new Feed({
    pool,
    listen: { url: ground.listenDatabaseUrl, ssl: config.ssl },
    log,
    onEvents: (events) => hub.dispatch(events),
    onSignal: createSignalHearing({ hub, log, presence }),
    onBreak: () => hub.closeAll("restarting"),
  });
  await feed.start();
  hub.start();
  const unheard = watchUnheard(hub, log);
  presence?.start();
  const indexing = startIndexing(pool, log, () => feed.position);
  const watch = watchSessions(pool, hub, log);
  const parts = await createParts(config, ground, log, { pool, sending, feed, hub });
  const maintenance = startMaintenance(parts, config.retentionDays);
  const readMetrics = createMetrics(parts);
  peers?.serve(readMetrics);
  const server = await listen(config, parts, async () => {
    const all = await Promise.all([readMetrics(), ...((await peers?.collect()) ?? [])]);
    return renderMetrics(all);
  });
  const silent = trackSilent(server);
  return {
    url: `http://localhost:${portOf(server)}`,
    close: async () => {
      const closed = closeServer(server, silent);
      await hub.drain("restarting", limits.drainMs);
      await Promise.race([Promise.all([closed, presence?.stop()]), wait(limits.closeGraceMs)]);
      server.closeAllConnections();
      clearInterval(watch);
      maintenance.stop();
      parts.typing.stop();
      parts.removals.stop();
      indexing.stop();
      unheard.stop();
      hub.stop();
      feed.stop();
      await Promise.race([Promise.all([pool.end(), sending.end()]), wait(1_000)]);
    },
  };
}

async function createParts(
  config: Config,
  ground: Ground,
  log: Logger,
  { pool, sending, feed, hub }: { pool: Pool; sending: Pipeline; feed: Feed; hub: Hub },
): Promise<Parts> {
  const tokens = createTokens(ground.jwtSecret);
  const rateLimits = createRateLimits(pool, config.rateLimits);
  const removals = createRemovals(pool, log);
  return {
    config,
    log,
    pool,
    accounts: { pool, passwords: await createPasswords(shareOfCores(config)), tokens, removals },
    authentication: createAuthentication(pool, tokens, config.allowedOrigins, rateLimits),
    rateLimits,
    requests: new Requests(),
    sender: createSender(sending, (events) => feed.take(events)),
    readMarks: createReadMarks(pool),
    typing: new TypingSignals(pool, log),
    removals,
    attachments: {
      pool,
      storages: openStorages(config.attachmentsTarget, pool),
      images: createImages(),
      maxBytes: config.attachmentMaxBytes,
      log,
    },
    inSearchTurn: createSearchLine(config.poolSize),
    inUploadPlace: createPlaces(limits.uploadsAtOnce, limits.uploadsPerUser),
    inAvatarPlace: createPlaces(limits.avatarsAtOnce, limits.avatarsPerUser),
    feed,
    hub,
    joins: { pool, feed, hub, inTurn: createLine(limits.replaysAtOnce, Number.POSITIVE_INFINITY) },
  };
}

/** Searches take their time: each person's wait for each other, and half of the pool is left to others. */
function createSearchLine(poolSize: number): Places {
  const inOwnTurn = createLines(limits.searchesPerUser, limits.searchesWaiting);
  const inTurn = createLine(Math.floor(poolSize / 2), limits.searchesWaiting);
  return (userId, task) => inOwnTurn(userId, () => inTurn(task));
}

/** Hashes keep a core busy each: the processes of this machine together run as many as it has cores. */
function shareOfCores({ webConcurrency }: Config): number {
  return Math.ceil(availableParallelism() / webConcurrency);
}

async function listen(config: Config, parts: Parts, metrics: () => Promise<string>): Promise<Server> {
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
    ...metricsRoutes(config.metricsToken, metrics),
    ...(await pageRoutes()),
  ];
  const app = createApp(parts, [...routes, ...documentRoutes(routes)]);
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
  return server;
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

/** Ends the streams of sessions that ran out while they were open; revoked ones end by the log. */
function watchSessions(pool: Pool, hub: Hub, log: Logger): NodeJS.Timeout {
  return setInterval(async () => {
    const overdue = hub.overdueSessions(new Date());
    if (overdue.length === 0) return;
    try {
      hub.closeSessions(new Set(await findEndedSessions(pool, overdue)), "session_expired");
    } catch (error) {
      log.warn({ err: error }, "cannot check sessions");
    }
  }, limits.sessionWatchMs).unref();
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

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
