import { availableParallelism } from "node:os";
import type { Logger } from "pino";
import { openDatabase, openSending, type Pool } from "../sql/database.ts";
import type { Pipeline } from "../sql/pipeline.ts";
import { findEndedSessions } from "../sql/sessions.ts";
import { createAuthentication } from "./api/authentication.ts";
import { startHttpServer } from "./api/http-server.ts";
import { createMetrics, renderMetrics } from "./api/metrics.ts";
import type { Parts } from "./api/parts.ts";
import { createRateLimits } from "./api/rate-limits.ts";
import { Requests } from "./api/requests.ts";
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
  const server = await startHttpServer(parts, async () => {
    const all = await Promise.all([readMetrics(), ...((await peers?.collect()) ?? [])]);
    return renderMetrics(all);
  });
  return {
    url: server.url,
    close: async () => {
      const closed = server.close();
      await hub.drain("restarting", limits.drainMs);
      await Promise.race([Promise.all([closed, presence?.stop()]), wait(limits.closeGraceMs)]);
      server.cut();
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

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
