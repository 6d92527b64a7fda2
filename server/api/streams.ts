import type { ServerResponse } from "node:http";
import { fromNodeHandler, type H3Event } from "h3";
import { z } from "zod";
import { type Opening, readOpening } from "../../sql/log.ts";
import type { Session } from "../../sql/sessions.ts";
import { join } from "../delivery/join.ts";
import { openSse } from "../delivery/sse.ts";
import { Stream, type Wire } from "../delivery/stream.ts";
import { fail } from "../errors.ts";
import { cursorSchema, idSchema } from "../fields.ts";
import type { Parts } from "./parts.ts";
import { parse } from "./problems.ts";
import { requireMembership } from "./standing.ts";

/** The paths of streams: all of one's discussions, or one; as Server-Sent Events, or as a WebSocket. */
const paths = /^\/api\/v1(?:\/discussions\/([^/]+))?\/(events|ws)$/;
const cursorField = z.object({ since: cursorSchema.optional() });

/** What a stream's address asks for. Null for any other path. */
export function matchStream(path: string): { discussionId: string | null; kind: "events" | "ws" } | null {
  const match = paths.exec(path);
  if (!match) return null;
  return { discussionId: match[1] ?? null, kind: match[2] as "events" | "ws" };
}

/** The right to a stream and its exact starting point, read from one snapshot. */
export interface Opened {
  session: Session;
  opening: Opening;
  discussionId: string | null;
}

/**
 * Checks who asks, for what and from where. Throws unauthenticated, session_revoked, origin_not_allowed,
 * discussion_not_found, not_a_member, invalid_request.
 */
export async function openStream(
  parts: Parts,
  request: { url: URL; headers: Headers; method: string },
  target: { discussionId: string | null; kind: "events" | "ws" },
): Promise<Opened> {
  const session = await parts.authentication.stream(request, target.kind === "ws");
  const discussionId = target.discussionId === null ? null : parse(idSchema, target.discussionId);
  const header = target.kind === "events" ? request.headers.get("last-event-id") : null;
  const { since } = parse(cursorField, {
    since: header || request.url.searchParams.get("since") || undefined,
  });
  const opening = await readOpening(parts.pool, {
    session_id: session.session_id,
    user_id: session.user_id,
    discussion_id: discussionId,
    since: since ?? null,
  });
  if (!opening.session_live) fail("session_revoked");
  if (discussionId !== null) requireMembership(opening.standing);
  return { session, opening, discussionId };
}

/** Begins the stream on a wire: replay, then live. */
export function beginStream(parts: Parts, { session, opening, discussionId }: Opened, wire: Wire): Stream {
  const owner = {
    userId: session.user_id,
    sessionId: session.session_id,
    sessionExpiresAt: new Date(session.expires_at),
    discussionId,
    authorizedAt: opening.newest,
  };
  const stream = new Stream(owner, wire, { position: opening.start, discussionIds: opening.discussion_ids });
  parts.hub.add(stream);
  if (opening.reset_reason) stream.reset(opening.epoch, opening.reset_reason);
  join(parts.joins, stream).catch((error) => {
    parts.log.warn({ err: error }, "a replay broke off");
    // The client has a cursor for all that it got and comes back for the rest.
    stream.close("restarting");
  });
  return stream;
}

/**
 * Answers `GET …/events`; resolves when the stream has ended. Throws as openStream() while nothing is sent.
 */
export async function serveEvents(
  parts: Parts,
  event: H3Event,
  headers: [string, string][],
): Promise<unknown> {
  const target = matchStream(event.url.pathname);
  if (target?.kind !== "events") return fail("not_found");
  const { url, req } = event;
  const opened = await openStream(parts, { url, headers: req.headers, method: req.method }, target);
  return fromNodeHandler((_request, response) => {
    // It went away while its right was being checked; its "close" has been and will not come again.
    if (response.destroyed) return;
    const stream = beginStream(parts, opened, openSse(response as ServerResponse, headers));
    return new Promise<void>((resolve) => {
      response.once("close", () => {
        parts.hub.remove(stream);
        resolve();
      });
    });
  })(event);
}
