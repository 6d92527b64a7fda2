import type { Pool } from "../../sql/database.ts";
import { findLiveSession, findSessionByCookie, type Session, takeTicket } from "../../sql/sessions.ts";
import { hashSecret } from "../commands/secrets.ts";
import type { Tokens } from "../commands/tokens.ts";
import { fail } from "../errors.ts";
import type { Caller } from "./route.ts";

export const cookieName = "parley_session";

/** The parts of a request that say who sent it; the same for HTTP requests and WebSocket upgrades. */
export interface Credentials {
  method: string;
  url: URL;
  headers: Headers;
}

export interface Authentication {
  /** By `Authorization: Bearer` or cookie. Throws unauthenticated, session_revoked, origin_not_allowed. */
  session(credentials: Credentials): Promise<Session>;
  /** The same without asking the database about a Bearer token's session. */
  token(credentials: Credentials): Promise<Caller>;
  /** For streams: Bearer, `?ticket=`, cookie, in this order. `socket`: a WebSocket upgrade. */
  stream(credentials: Credentials, socket: boolean): Promise<Session>;
}

export function createAuthentication(
  pool: Pool,
  tokens: Tokens,
  allowedOrigins: readonly string[],
): Authentication {
  async function token(credentials: Credentials): Promise<Caller> {
    const header = credentials.headers.get("authorization");
    if (header === null) return cookie(credentials, isUnsafe(credentials.method));
    // A bad token is refused, whatever else the request carries.
    const claims = await tokens.verify(/^Bearer +(\S+)$/i.exec(header)?.[1] ?? "");
    if (!claims) return fail("unauthenticated", "The access token is invalid or has expired");
    return { user_id: claims.userId, session_id: claims.sessionId };
  }

  async function session(credentials: Credentials): Promise<Session> {
    if (!credentials.headers.has("authorization")) return cookie(credentials, isUnsafe(credentials.method));
    const caller = await token(credentials);
    return (await findLiveSession(pool, caller.session_id, caller.user_id)) ?? fail("session_revoked");
  }

  async function cookie(credentials: Credentials, checkOrigin: boolean): Promise<Session> {
    const secret = readCookie(credentials.headers.get("cookie") ?? "");
    if (!secret) return fail("unauthenticated", "No access token or session cookie was sent");
    // Before anything else: a page of another origin must not learn whether the cookie is good.
    if (checkOrigin) requireOrigin(credentials, allowedOrigins);
    const found = await findSessionByCookie(pool, hashSecret(secret));
    return found ?? fail("unauthenticated", "The session is over");
  }

  return {
    session,
    token,
    stream: async (credentials, socket) => {
      if (credentials.headers.has("authorization")) return session(credentials);
      const ticket = credentials.url.searchParams.get("ticket");
      if (ticket === null) return cookie(credentials, socket);
      const taken = await takeTicket(pool, hashSecret(ticket));
      return taken ?? fail("unauthenticated", "The ticket is unknown, used or expired");
    },
  };
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
