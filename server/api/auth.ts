import { type H3Event, HTTPResponse } from "h3";
import { z } from "zod";
import { listSessions } from "../../sql/sessions.ts";
import {
  accountName,
  createTicket,
  endSession,
  login,
  refresh,
  register,
  type SignIn,
} from "../commands/accounts.ts";
import { fail } from "../errors.ts";
import {
  displayNameSchema,
  emailSchema,
  idSchema,
  limitSchema,
  pageCursorSchema,
  passwordSchema,
  text,
  usernameSchema,
} from "../fields.ts";
import { limits } from "../limits.ts";
import { pageOf, sessionSchema, signInSchema, ticketSchema, tokensSchema } from "../schemas.ts";
import { addressOf } from "./address.ts";
import { cookieName } from "./authentication.ts";
import type { Parts } from "./parts.ts";
import { json, list, noContent, type Route, route } from "./route.ts";

const registerBody = z.strictObject({
  username: usernameSchema,
  password: passwordSchema,
  email: emailSchema.optional(),
  display_name: displayNameSchema.optional(),
  cookie: z.boolean().default(false),
});
const loginBody = z.strictObject({
  username: text(1, 254).meta({ description: "Or the e-mail address.", examples: ["ann"] }),
  password: text(1, 1024).meta({ examples: ["correct horse battery"] }),
  cookie: z.boolean().default(false),
});
const refreshBody = z.strictObject({ refresh_token: z.string().max(128) });
const sessionsQuery = z.object({ limit: limitSchema, cursor: pageCursorSchema(z.tuple([idSchema])) });
const sessionParams = z.object({ id: idSchema });
const signInAnswer = {
  schema: signInSchema,
  headers: { "set-cookie": "The session cookie, if `cookie` was true." },
};

export function authRoutes(parts: Parts): Route[] {
  const address = (event: H3Event) => addressOf(event.req, parts.config.trustedProxies);

  return [
    route({
      method: "POST",
      path: "/api/v1/auth/register",
      name: "register",
      summary: "Create an account and log in",
      tag: "Accounts",
      access: "open",
      rate: "register",
      body: registerBody,
      answers: { 201: signInAnswer },
      refusals: ["username_taken", "email_taken", "overloaded"],
      handle: async ({ event, body }) => {
        const account = {
          ...body,
          email: body.email ?? null,
          display_name: body.display_name ?? body.username,
        };
        const act = () => register(parts.accounts, account, client(event, body.cookie));
        return signedIn(201, event, await parts.rateLimits.inTurn(address(event), act));
      },
    }),
    route({
      method: "POST",
      path: "/api/v1/auth/login",
      name: "login",
      summary: "Log in by username or e-mail address",
      tag: "Accounts",
      access: "open",
      rate: "login",
      body: loginBody,
      answers: { 200: signInAnswer },
      refusals: ["invalid_credentials", "overloaded"],
      handle: async ({ event, body }) => {
        const act = () => login(parts.accounts, body, client(event, body.cookie));
        const name = await accountName(parts.accounts, body.username);
        return signedIn(200, event, await parts.rateLimits.guess(address(event), name, act));
      },
    }),
    route({
      method: "POST",
      path: "/api/v1/auth/refresh",
      name: "refresh",
      summary: "Exchange a refresh token for the next one",
      description: "A token that was used before ends its whole session.",
      tag: "Accounts",
      access: "open",
      rate: "refresh",
      body: refreshBody,
      answers: { 200: tokensSchema },
      refusals: ["invalid_refresh_token", "refresh_token_reused", "session_revoked"],
      handle: async ({ body }) => {
        const tokens = await refresh(parts.accounts, body.refresh_token);
        return json(200, tokenFields(tokens.accessToken, tokens.refreshToken));
      },
    }),
  ];
}

export function sessionRoutes(parts: Parts): Route[] {
  return [
    route({
      method: "POST",
      path: "/api/v1/auth/logout",
      name: "logout",
      summary: "End the session that asks",
      tag: "Accounts",
      access: "session",
      answers: { 204: { headers: { "set-cookie": "Takes the session cookie away." } } },
      refusals: [],
      handle: async ({ event, caller }) => {
        await endSession(parts.accounts, caller.session_id, caller.user_id);
        return new HTTPResponse(null, {
          status: 204,
          headers: { "set-cookie": sessionCookie(event, "", 0) },
        });
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/auth/sessions",
      name: "listSessions",
      summary: "One's own sessions",
      tag: "Accounts",
      access: "session",
      query: sessionsQuery,
      answers: { 200: pageOf(sessionSchema) },
      refusals: [],
      handle: async ({ caller, query }) => {
        const page = await listSessions(parts.pool, {
          user_id: caller.user_id,
          current_id: caller.session_id,
          after: query.cursor?.[0],
          limit: query.limit,
        });
        return list(page.items, page.nextKey);
      },
    }),
    route({
      method: "DELETE",
      path: "/api/v1/auth/sessions/:id",
      name: "endSession",
      summary: "End one of one's sessions, and its streams",
      tag: "Accounts",
      access: "session",
      params: sessionParams,
      answers: { 204: null },
      refusals: ["session_not_found"],
      handle: async ({ caller, params }) => {
        const revoked = await endSession(parts.accounts, params.id, caller.user_id);
        return revoked ? noContent() : fail("session_not_found");
      },
    }),
    route({
      method: "POST",
      path: "/api/v1/auth/tickets",
      name: "createTicket",
      summary: "A ticket that opens one stream, by ?ticket=, within 30 seconds",
      tag: "Accounts",
      access: "session",
      answers: { 201: ticketSchema },
      refusals: [],
      handle: async ({ caller }) => {
        const ticket = await createTicket(parts.pool, caller.session_id);
        return json(201, { ticket, expires_in: limits.ticketSeconds });
      },
    }),
  ];
}

function signedIn(status: number, event: H3Event, signIn: SignIn): HTTPResponse {
  const tokens = JSON.stringify(tokenFields(signIn.accessToken, signIn.refreshToken));
  const answer = json(status, `{"user":${signIn.user},${tokens.slice(1)}`);
  if (signIn.cookie !== null) {
    answer.headers.set("set-cookie", sessionCookie(event, signIn.cookie, limits.sessionDays * 86_400));
  }
  return answer;
}

function tokenFields(accessToken: string, refreshToken: string) {
  return {
    access_token: accessToken,
    token_type: "Bearer",
    expires_in: limits.accessTokenSeconds,
    refresh_token: refreshToken,
  };
}

function sessionCookie(event: H3Event, secret: string, maxAgeSeconds: number): string {
  const secure = event.url.protocol === "https:" ? "; Secure" : "";
  return `${cookieName}=${secret}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; SameSite=Lax${secure}`;
}

function client(event: H3Event, cookie: boolean) {
  const userAgent = event.req.headers.get("user-agent") ?? "";
  return { userAgent: userAgent.slice(0, 256), cookie };
}
