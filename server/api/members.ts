import { z } from "zod";
import { findDiscussion } from "../../sql/discussions.ts";
import { findStanding, listMembers } from "../../sql/members.ts";
import { addMembers, changeRole, joinDiscussion, mute, removeMember } from "../commands/members.ts";
import { fail } from "../errors.ts";
import {
  idSchema,
  idsSchema,
  limitSchema,
  momentSchema,
  pageCursorSchema,
  timestampSchema,
} from "../fields.ts";
import type { Parts } from "./parts.ts";
import { json, list, noContent, type Route, route } from "./route.ts";

const discussionParams = z.object({ id: idSchema });
const memberParams = z.object({ id: idSchema, user_id: idSchema });
const membersQuery = z.object({
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([timestampSchema, idSchema])),
});
const addBody = z.strictObject({ user_ids: idsSchema.min(1) });
const roleBody = z.strictObject({ role: z.enum(["owner", "admin", "member"]) });
const muteBody = z.strictObject({ until: momentSchema.nullable() });
const readBody = z.strictObject({ seq: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER) });

export function memberRoutes(parts: Parts): Route[] {
  const { pool } = parts;
  const show = async (id: string, readerId: string) =>
    json(200, (await findDiscussion(pool, id, readerId)) ?? fail("discussion_not_found"));

  return [
    route({
      method: "POST",
      path: "/api/v1/discussions/:id/join",
      access: "session",
      params: discussionParams,
      handle: async ({ caller, params }) => {
        await joinDiscussion(pool, caller.user_id, params.id);
        return show(params.id, caller.user_id);
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/discussions/:id/members",
      access: "session",
      params: discussionParams,
      query: membersQuery,
      handle: async ({ caller, params, query }) => {
        if ((await findStanding(pool, params.id, caller.user_id)) === null) fail("discussion_not_found");
        const filter = { discussion_id: params.id, after: query.cursor, limit: query.limit };
        const page = await listMembers(pool, filter);
        return list(page.items, page.nextKey);
      },
    }),
    route({
      method: "POST",
      path: "/api/v1/discussions/:id/members",
      access: "session",
      params: discussionParams,
      body: addBody,
      handle: async ({ caller, params, body }) => {
        await addMembers(pool, caller.user_id, params.id, body.user_ids);
        return show(params.id, caller.user_id);
      },
    }),
    route({
      method: "PATCH",
      path: "/api/v1/discussions/:id/members/:user_id",
      access: "session",
      params: memberParams,
      body: roleBody,
      handle: async ({ caller, params, body }) => {
        await changeRole(pool, caller.user_id, params.id, params.user_id, body.role);
        return show(params.id, caller.user_id);
      },
    }),
    route({
      method: "DELETE",
      path: "/api/v1/discussions/:id/members/:user_id",
      access: "session",
      params: memberParams,
      handle: async ({ caller, params }) => {
        await removeMember(pool, caller.user_id, params.id, params.user_id);
        return noContent();
      },
    }),
  ];
}

/** What members say about themselves in a discussion. */
export function readRoutes(parts: Parts): Route[] {
  return [
    route({
      method: "PUT",
      path: "/api/v1/discussions/:id/read",
      access: "token",
      params: discussionParams,
      body: readBody,
      handle: async ({ caller, params, body }) =>
        json(200, await parts.readMarks.mark({ ...caller, discussion_id: params.id, seq: body.seq })),
    }),
    route({
      method: "PUT",
      path: "/api/v1/discussions/:id/mute",
      access: "session",
      params: discussionParams,
      body: muteBody,
      handle: async ({ caller, params, body }) => {
        await mute(parts.pool, caller.user_id, params.id, body.until);
        return noContent();
      },
    }),
  ];
}
