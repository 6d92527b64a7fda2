import type { Pool } from "../../sql/database.ts";
import type { Opening, OpeningRequest } from "../../sql/openings.ts";
import { findLiveSession, findSessionByCookie, type Session, takeTicket } from "../../sql/sessions.ts";
import { hashSecret } from "../commands/secrets.ts";
import type { Tokens } from "../commands/tokens.ts";
import { fail } from "../errors.ts";
import { createOpenings } from "./openings.ts";
import type { RateLimits, UserClass } from "./rate-limits.ts";
import type { Caller } from "./route.ts";

export const cookieName = "parley_session";

/** The parts of a request that say who sent it; the same for HTTP requests and WebSocket upgrades. */
export interface Credentials {
  method: string;
  url: URL;
  headers: Headers;
  /** As what the request counts. */
  rate: UserClass;
  /** Where it comes from; see readAddress(). */
  address(): string;
}

/** What names the session of who asks for a stream. */
export type Holder = Pick<OpeningRequest, "session_id" | "user_id" | "cookie_hash">;
/** What a stream shows, and from where. */
export type Target = Pick<OpeningRequest, "discussion_id" | "since">;
/** An opening whose session lives. */
export type LiveOpening = Opening & Session;

/** Besides what is told below, all throw rate_limited, as early as it is known who asks. */
export interface Authentication {
  /** By `Authorization: Bearer` or cookie. Throws unauthenticated, session_revoked, origin_not_allowed. */
  session(credentials: Credentials): Promise<Session>;
  /** The same without asking the database about a Bearer token's session. */
  token(credentials: Credentials): Promise<Caller>;
  /**
   * For streams: Bearer, `?ticket=`, cookie, in this order. `socket`: a WebSocket upgrade. Whether the
   * session lives is left to open(). Throws unauthenticated, origin_not_allowed.
   */
  holder(credentials: Credentials, socket: boolean): Promise<Holder>;
  /**
   * Looks the session up together with the opening. Throws unauthenticated, session_revoked, overloaded,
   * rate_limited.
   */
  open(holder: Holder, target: Target): Promise<LiveOpening>;
}

export function createAuthentication(
  pool: Pool,
  tokens: Tokens,
  allowedOrigins: readonly string[],
  rateLimits: RateLimits,
): Authentication {
  const readOpening = createOpenings(pool);

  async function token(credentials: Credentials): Promise<Caller> {
    return credentials.headers.has("authorization") ? bearer(credentials) : cookie(credentials);
  }

  async function session(credentials: Credentials): Promise<Session> {
    if (!credentials.headers.has("authorization")) return cookie(credentials);
    const caller = await bearer(credentials);
    return (await findLiveSession(pool, caller.session_id, caller.user_id)) ?? fail("session_revoked");
  }

  /** A bad token is refused, whatever else the request carries. */
  async function bearer({ headers, rate }: Credentials): Promise<Caller> {
    const [, given = ""] = /^Bearer +(\S+)$/i.exec(headers.get("authorization") ?? "") ?? [];
    const claims = await tokens.verify(given);
    if (!claims) return fail("unauthenticated", "The access token is invalid or has expired");
    const counted = rateLimits.byUser(rate, claims.userId);
    if (counted) await counted;
    return { user_id: claims.userId, session_id: claims.sessionId };
  }

  async function cookie(credentials: Credentials): Promise<Session> {
    const hash = cookieHash(credentials, isUnsafe(credentials.method));
    await rateLimits.byAddress("stranger", credentials.address());
    const found = await findSessionByCookie(pool, hash);
    if (!found) return fail("unauthenticated", "The session is over");
    await rateLimits.byUser(credentials.rate, found.user_id);
    return found;
  }

  function cookieHash(credentials: Credentials, checkOrigin: boolean): Buffer {
    const secret = readCookie(credentials.headers.get("cookie") ?? "");
    if (!secret) return fail("unauthenticated", "No access token or session cookie was sent");
    // Before anything else: a page of another origin must not learn whether the cookie is good.
    if (checkOrigin) requireOrigin(credentials, allowedOrigins);
    return hashSecret(secret);
  }

  async function holder(credentials: Credentials, socket: boolean): Promise<Holder> {
    await rateLimits.byAddress("connect", credentials.address());
    if (credentials.headers.has("authorization")) {
      return { ...(await bearer(credentials)), cookie_hash: null };
    }
    const ticket = credentials.url.searchParams.get("ticket");
    if (ticket === null) {
      return { session_id: null, user_id: null, cookie_hash: cookieHash(credentials, socket) };
    }
    const taken = await takeTicket(pool, hashSecret(ticket));
    if (!taken) return fail("unauthenticated", "The ticket is unknown, used or expired");
    await rateLimits.byUser(credentials.rate, taken.user_id);
    return { session_id: taken.session_id, user_id: taken.user_id, cookie_hash: null };
  }

  return {
    session,
    token,
    holder,
    open: async (who, target) => {
      const opening = await readOpening({ ...who, ...target });
      if (!isLive(opening)) {
        const isKnown = who.cookie_hash === null;
        return isKnown ? fail("session_revoked") : fail("unauthenticated", "The session is over");
      }
      if (who.user_id === null) await rateLimits.byUser("connect", opening.user_id);
      return opening;
    },
  };
}

function isLive(opening: Opening): opening is LiveOpening {
  return opening.session_id !== null;
}

function isUnsafe(method: string): boolean {
  return method !== "GET" && method !== "HEAD";
}

/**
 * Browsers send cookies along wherever a request comes from, so its origin must be ours or an allowed one.
 * Whole origins are compared: scheme, host and port.
 */
function requireOrigin({ headers, url }: Credentials, allowedOrigins: readonly string[]): void {
  const origin = headers.get("origin");
  if (origin !== null && (origin === url.origin || allowedOrigins.includes(origin))) return;
  fail("origin_not_allowed", "Cookies are accepted only from allowed origins");
}

function readCookie(header: string): string | undefined {
  for (const part of header.split(";")) {
    const [name, value] = part.trim().split("=", 2);
    if (name === cookieName) return value;
  }
  return undefined;
}
