import type { H3Event } from "h3";
import { z } from "zod";
import { findMe, findUser, listUsers } from "../../sql/users.ts";
import { eraseMe, updateMe } from "../commands/accounts.ts";
import { fail } from "../errors.ts";
import {
  displayNameSchema,
  emailSchema,
  idSchema,
  limitSchema,
  pageCursorSchema,
  passwordSchema,
  text,
} from "../fields.ts";
import { meSchema, pageOf, userSchema } from "../schemas.ts";
import { addressOf } from "./address.ts";
import type { Parts } from "./parts.ts";
import { json, list, noContent, type Route, route } from "./route.ts";

const usersQuery = z.object({
  query: text(1, 64).optional(),
  email: text(1, 254).optional(),
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([text(0, 64)])),
});
const userParams = z.object({ id: idSchema });
const eraseMeBody = z.strictObject({ password: text(1, 1024) });
const updateMeBody = z
  .strictObject({
    display_name: displayNameSchema.optional(),
    email: emailSchema.nullable().optional(),
    status_text: text(0, 140).optional(),
    password: passwordSchema.optional(),
    current_password: text(1, 1024).optional(),
  })
  .refine((body) => body.password === undefined || body.current_password !== undefined, {
    path: ["current_password"],
    error: "is needed to change the password",
  });

export function userRoutes(parts: Parts): Route[] {
  return [
    route({
      method: "GET",
      path: "/api/v1/users",
      name: "listUsers",
      summary: "The people one can talk to",
      description: "`query`: the start of the username or of a word of the name. `email`: the whole address.",
      tag: "Users",
      access: "session",
      query: usersQuery,
      answers: { 200: pageOf(userSchema) },
      refusals: [],
      handle: async ({ query }) => {
        const page = await listUsers(parts.pool, {
          query: query.query,
          email: query.email,
          after: query.cursor?.[0],
          limit: query.limit,
        });
        return list(page.items, page.nextKey);
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/users/:id",
      name: "readUser",
      summary: "A user",
      tag: "Users",
      access: "session",
      params: userParams,
      answers: { 200: userSchema },
      refusals: ["user_not_found"],
      handle: async ({ params }) =>
        json(200, (await findUser(parts.pool, params.id)) ?? fail("user_not_found")),
    }),
  ];
}

export function meRoutes(parts: Parts): Route[] {
  /** Whoever has got hold of a session must not find out its owner's password by trying. */
  const guess = <T>(event: H3Event, userId: string, act: () => Promise<T>) =>
    parts.rateLimits.guess(addressOf(event.req, parts.config.trustedProxies), userId, act);

  return [
    route({
      method: "GET",
      path: "/api/v1/users/me",
      name: "readMe",
      summary: "Oneself",
      tag: "Users",
      access: "session",
      answers: { 200: meSchema },
      refusals: [],
      handle: async ({ caller }) => json(200, await findMe(parts.pool, caller.user_id)),
    }),
    route({
      method: "PATCH",
      path: "/api/v1/users/me",
      name: "updateMe",
      summary: "Change one's own name, address, status or password",
      description: "A new password takes the current one and ends the other sessions.",
      tag: "Users",
      access: "session",
      body: updateMeBody,
      answers: { 200: meSchema },
      refusals: ["invalid_credentials", "email_taken", "overloaded"],
      handle: async ({ event, caller, body }) => {
        const act = () => updateMe(parts.accounts, caller, body);
        return json(200, await (body.password === undefined ? act() : guess(event, caller.user_id, act)));
      },
    }),
    route({
      method: "DELETE",
      path: "/api/v1/users/me",
      name: "eraseMe",
      summary: "Erase one's account; messages stay, by a deleted user",
      tag: "Users",
      access: "session",
      body: eraseMeBody,
      answers: { 204: null },
      refusals: ["invalid_credentials", "overloaded"],
      handle: async ({ event, caller, body }) => {
        const act = () => eraseMe(parts.accounts, caller.user_id, body.password);
        await guess(event, caller.user_id, act);
        return noContent();
      },
    }),
  ];
}
