import type { ServerResponse } from "node:http";
import type { H3Event } from "h3";
import { z } from "zod";
import { join } from "../delivery/join.ts";
import { openSse } from "../delivery/sse.ts";
import { Stream, type Wire } from "../delivery/stream.ts";
import { fail } from "../errors.ts";
import { cursorSchema, idSchema } from "../fields.ts";
import { addressOf } from "./address.ts";
import type { Credentials, LiveOpening } from "./authentication.ts";
import type { Parts } from "./parts.ts";
import { parse } from "./problems.ts";
import type { Described } from "./route.ts";
import { requireMembership } from "./standing.ts";

/** The paths of streams: all of one's discussions, or one; as Server-Sent Events, or as a WebSocket. */
const paths = /^\/api\/v1(?:\/discussions\/([^/]+))?\/(events|ws)$/;
/** In place of an answer: the response is written to by others, now and later. */
export const handedOver = Symbol("handed over");

const cursorField = z.object({ since: cursorSchema.optional() });

/** The addresses of streams as the API document tells them; what goes over them is told in asyncapi.ts. */
export const streamRoutes: readonly Described[] = [
  describe("/api/v1/events", "openEvents", "Hear all of one's discussions, as Server-Sent Events"),
  describe("/api/v1/discussions/:id/events", "openDiscussionEvents", "Hear one discussion, likewise"),
  describe("/api/v1/ws", "openSocket", "Open a WebSocket for all of one's discussions"),
  describe("/api/v1/discussions/:id/ws", "openDiscussionSocket", "Open a WebSocket for one discussion"),
];

function describe(path: string, name: string, summary: string): Described {
  const isSocket = path.endsWith("/ws");
  const isOne = path.includes(":id");
  return {
    method: "GET",
    path,
    access: "stream",
    rate: "connect",
    documentation: {
      name,
      summary,
      description: "What goes over it is described in [/asyncapi.json](/asyncapi.json).",
      tag: "Streams",
      params: isOne ? z.object({ id: idSchema }) : undefined,
      query: cursorField.extend({ ticket: z.string().optional() }),
      headers: isSocket ? undefined : z.object({ "Last-Event-ID": cursorSchema.optional() }),
      answers: isSocket
        ? { 101: { description: "The socket is open." } }
        : { 200: { description: "Events, until it is closed.", mediaTypes: ["text/event-stream"] } },
      refusals: [
        "overloaded",
        ...(isOne ? (["discussion_not_found", "not_a_member"] as const) : []),
        ...(isSocket ? (["origin_not_allowed", "upgrade_required"] as const) : []),
      ],
    },
  };
}

/** What a stream's address asks for. Null for any other path. */
export function matchStream(path: string): { discussionId: string | null; kind: "events" | "ws" } | null {
  const match = paths.exec(path);
  if (!match) return null;
  return { discussionId: match[1] ?? null, kind: match[2] as "events" | "ws" };
}

/** The pattern of a stream's path, as the routes have theirs. */
export function streamRoute({ discussionId, kind }: NonNullable<ReturnType<typeof matchStream>>): string {
  return discussionId === null ? `/api/v1/${kind}` : `/api/v1/discussions/:id/${kind}`;
}

/**
 * The right to a stream and its exact starting point, read from one snapshot. The stream counts as open until
 * `settle()`: call it once beginStream() is done, or when there will be no stream after all.
 */
export interface Opened {
  opening: LiveOpening;
  discussionId: string | null;
  settle(): void;
}

/**
 * Checks who asks, for what and from where. Throws unauthenticated, session_revoked, origin_not_allowed,
 * discussion_not_found, not_a_member, invalid_request, overloaded, rate_limited.
 */
export async function openStream(
  parts: Parts,
  request: Pick<Credentials, "url" | "headers" | "method" | "address">,
  target: { discussionId: string | null; kind: "events" | "ws" },
): Promise<Opened> {
  const holder = await parts.authentication.holder({ ...request, rate: "connect" }, target.kind === "ws");
  const discussionId = target.discussionId === null ? null : parse(idSchema, target.discussionId);
  const header = target.kind === "events" ? request.headers.get("last-event-id") : null;
  const { since } = parse(cursorField, {
    since: header || request.url.searchParams.get("since") || undefined,
  });
  const opening = await parts.authentication.open(holder, {
    discussion_id: discussionId,
    since: since ?? null,
  });
  if (discussionId !== null) requireMembership(opening.standing);
  // In one turn: of many that ask at once, each is counted before the next is looked at.
  parts.rateLimits.oneMoreStream(parts.hub.streamsOf(opening.user_id));
  return { opening, discussionId, settle: parts.hub.expect(opening.user_id) };
}

/** Begins the stream on a wire: replay, then live. */
export function beginStream(parts: Parts, { opening, discussionId }: Opened, wire: Wire): Stream {
  const owner = {
    userId: opening.user_id,
    sessionId: opening.session_id,
    sessionExpiresAt: Date.parse(opening.expires_at),
    discussionId,
    authorizedAt: opening.newest,
    epoch: opening.epoch,
  };
  const stream = new Stream(owner, wire, {
    position: opening.start,
    discussionIds: opening.discussion_ids,
    left: opening.left === null ? null : new Map(Object.entries(JSON.parse(opening.left))),
  });
  parts.hub.add(stream);
  join(parts.joins, stream, opening.reset_reason).catch((error) => {
    parts.log.warn({ err: error }, "a replay broke off");
    // The client has a cursor for all that it got and comes back for the rest.
    stream.close("restarting");
  });
  return stream;
}

/** Answers `GET …/events`: the response belongs to its stream from then on. Throws as openStream(). */
export async function serveEvents(
  parts: Parts,
  event: H3Event,
  headers: [string, string][],
): Promise<typeof handedOver> {
  const target = matchStream(event.url.pathname);
  const response = event.runtime?.node?.res;
  if (target?.kind !== "events" || !response) return fail("not_found");
  const { url, req } = event;
  const { headers: sent, method } = req;
  const address = () => addressOf(event.req, parts.config.trustedProxies);
  const opened = await openStream(parts, { url, headers: sent, method, address }, target);
  try {
    // If it went away while its right was being checked, its "close" has been and will not come again.
    if (response.destroyed) return handedOver;
    const stream = beginStream(parts, opened, openSse(response as ServerResponse, headers));
    response.on("close", () => parts.hub.remove(stream));
    return handedOver;
  } finally {
    opened.settle();
  }
}
