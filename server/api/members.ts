import { z } from "zod";
import { listMembers } from "../../sql/members.ts";
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
import { discussionSchema, memberSchema, pageOf, readMarkSchema } from "../schemas.ts";
import { show } from "./discussions.ts";
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

const memberRefusals = [
  "discussion_not_found",
  "not_a_member",
  "member_not_found",
  "forbidden",
  "direct_discussion",
  "last_owner",
] as const;

/** Who is in a discussion. */
export function membersRoutes({ pool }: Parts): Route[] {
  return [
    route({
      method: "POST",
      path: "/api/v1/discussions/:id/join",
      name: "join",
      summary: "Join a public group",
      tag: "Members",
      access: "session",
      params: discussionParams,
      answers: { 200: discussionSchema },
      refusals: ["discussion_not_found"],
      handle: async ({ caller, params }) => {
        await joinDiscussion(pool, caller, params.id);
        return show(pool, params.id, caller.user_id);
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/discussions/:id/members",
      name: "listMembers",
      summary: "The members of a discussion",
      tag: "Members",
      access: "session",
      params: discussionParams,
      query: membersQuery,
      answers: { 200: pageOf(memberSchema) },
      refusals: ["discussion_not_found"],
      handle: async ({ caller, params, query }) => {
        const { standing, page } = await listMembers(pool, {
          discussion_id: params.id,
          reader_id: caller.user_id,
          after: query.cursor,
          limit: query.limit,
        });
        return standing ? list(page.items, page.nextKey) : fail("discussion_not_found");
      },
    }),
    route({
      method: "POST",
      path: "/api/v1/discussions/:id/members",
      name: "addMembers",
      summary: "Add people to a group",
      tag: "Members",
      access: "session",
      params: discussionParams,
      body: addBody,
      answers: { 200: discussionSchema },
      refusals: ["discussion_not_found", "not_a_member", "direct_discussion", "user_not_found"],
      handle: async ({ caller, params, body }) => {
        await addMembers(pool, caller, params.id, body.user_ids);
        return show(pool, params.id, caller.user_id);
      },
    }),
  ];
}

/** One member. */
export function memberRoutes(parts: Parts): Route[] {
  const { pool } = parts;
  return [
    route({
      method: "PATCH",
      path: "/api/v1/discussions/:id/members/:user_id",
      name: "changeRole",
      summary: "Change a member's role",
      tag: "Members",
      access: "session",
      params: memberParams,
      body: roleBody,
      answers: { 200: discussionSchema },
      refusals: memberRefusals,
      handle: async ({ caller, params, body }) => {
        await changeRole(pool, caller, params.id, params.user_id, body.role);
        return show(pool, params.id, caller.user_id);
      },
    }),
    route({
      method: "DELETE",
      path: "/api/v1/discussions/:id/members/:user_id",
      name: "removeMember",
      summary: "Remove a member, or leave",
      description: "Who leaves gives their own id; the last one to leave takes the group along.",
      tag: "Members",
      access: "session",
      params: memberParams,
      answers: { 204: null },
      refusals: memberRefusals,
      handle: async ({ caller, params }) => {
        await removeMember(parts, caller, params.id, params.user_id);
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
      name: "markRead",
      summary: "Mark a discussion as read up to a message",
      tag: "Members",
      access: "token",
      params: discussionParams,
      body: readBody,
      answers: { 200: readMarkSchema },
      refusals: ["discussion_not_found", "not_a_member", "overloaded"],
      handle: async ({ caller, params, body }) =>
        json(200, await parts.readMarks.mark({ ...caller, discussion_id: params.id, seq: body.seq })),
    }),
    route({
      method: "PUT",
      path: "/api/v1/discussions/:id/mute",
      name: "mute",
      summary: "Ask for no notifications for a while, or for all again",
      tag: "Members",
      access: "session",
      params: discussionParams,
      body: muteBody,
      answers: { 204: null },
      refusals: ["discussion_not_found", "not_a_member"],
      handle: async ({ caller, params, body }) => {
        await mute(parts.pool, caller.user_id, params.id, body.until);
        return noContent();
      },
    }),
  ];
}
