import { z } from "zod";
import { findPresence, listPresences } from "../../sql/presence.ts";
import { fail } from "../errors.ts";
import { idSchema } from "../fields.ts";
import { memberPresenceSchema, presenceSchema } from "../schemas.ts";
import type { Parts } from "./parts.ts";
import { json, noContent, type Route, route } from "./route.ts";
import { requireMembership } from "./standing.ts";

const idParams = z.object({ id: idSchema });

/** Who is there, and who types. */
export function presenceRoutes({ config, pool, typing }: Parts): Route[] {
  return [
    route({
      method: "GET",
      path: "/api/v1/users/:id/presence",
      name: "readPresence",
      summary: "Whether somebody is there",
      description:
        "Known to those who share a one-to-one discussion or a group of at most 100 members; to others " +
        "everybody seems never to have been there.",
      tag: "Users",
      access: "session",
      params: idParams,
      answers: { 200: presenceSchema },
      refusals: ["user_not_found"],
      handle: async ({ caller, params }) => {
        const filter = { user_id: params.id, reader_id: caller.user_id, shown: config.presence };
        return json(200, (await findPresence(pool, filter)) ?? fail("user_not_found"));
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/discussions/:id/presence",
      name: "listPresences",
      summary: "Which members are there",
      tag: "Members",
      access: "session",
      params: idParams,
      answers: { 200: z.strictObject({ items: z.array(memberPresenceSchema).max(100) }) },
      refusals: ["discussion_not_found", "not_a_member", "too_many_members"],
      handle: async ({ caller, params }) => {
        const filter = { discussion_id: params.id, reader_id: caller.user_id, shown: config.presence };
        const { standing, items } = await listPresences(pool, filter);
        requireMembership(standing);
        return json(200, `{"items":[${items ?? fail("too_many_members")}]}`);
      },
    }),
    route({
      method: "POST",
      path: "/api/v1/discussions/:id/typing",
      name: "showTyping",
      summary: "Show the others that one is typing, for six seconds",
      tag: "Messages",
      access: "token",
      params: idParams,
      answers: { 204: null },
      refusals: ["discussion_not_found", "not_a_member", "blocked"],
      handle: async ({ caller, params }) => {
        await typing.show({ ...caller, discussion_id: params.id });
        return noContent();
      },
    }),
  ];
}
