import { z } from "zod";
import { findDiscussion, listDiscussions, listPublicDiscussions } from "../../sql/discussions.ts";
import { findStanding, listMembers, markRead } from "../../sql/members.ts";
import { changeDiscussion, createDirect, createGroup, removeDiscussion } from "../commands/discussions.ts";
import { addMembers, changeRole, joinDiscussion, removeMember } from "../commands/members.ts";
import { fail } from "../errors.ts";
import { idSchema, limitSchema, pageCursorSchema, text } from "../fields.ts";
import { limits } from "../limits.ts";
import type { Parts } from "./parts.ts";
import { json, list, noContent, type Route, route } from "./route.ts";

const nameSchema = text(1, 100).refine((value) => value.trim() !== "", "must not be blank");
const visibilitySchema = z.enum(["private", "public"]);
const idsSchema = z.array(idSchema).max(limits.membersPerCall);

const createBody = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("direct"), user_id: idSchema }),
  z.strictObject({
    kind: z.literal("group"),
    name: nameSchema.nullable().optional(),
    member_ids: idsSchema.default([]),
    visibility: visibilitySchema.default("private"),
  }),
]);
const listQuery = z.object({
  visibility: z.literal("public").optional(),
  query: text(1, 100).optional(),
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([z.string().max(128), idSchema])),
});
const discussionParams = z.object({ id: idSchema });
const memberParams = z.object({ id: idSchema, user_id: idSchema });
const changeBody = z.strictObject({
  name: nameSchema.nullable().optional(),
  visibility: visibilitySchema.optional(),
});
const addBody = z.strictObject({ user_ids: idsSchema.min(1) });
const roleBody = z.strictObject({ role: z.enum(["owner", "admin", "member"]) });
const readBody = z.strictObject({ seq: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER) });
const timestamp = z
  .string()
  .max(64)
  .refine((value) => !Number.isNaN(Date.parse(value)));
const membersQuery = z.object({
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([timestamp, idSchema])),
});

export function discussionRoutes(parts: Parts): Route[] {
  const { pool } = parts;
  const show = async (id: string, readerId: string, status = 200) =>
    json(status, (await findDiscussion(pool, id, readerId)) ?? fail("discussion_not_found"));

  return [
    route({
      method: "POST",
      path: "/api/v1/discussions",
      access: "session",
      body: createBody,
      handle: async ({ caller, body }) => {
        const { id, created } =
          body.kind === "direct"
            ? await createDirect(pool, caller.user_id, body.user_id)
            : await createGroup(pool, caller.user_id, { ...body, name: body.name ?? null });
        return show(id, caller.user_id, created ? 201 : 200);
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/discussions",
      access: "session",
      query: listQuery,
      handle: async ({ caller, query }) => {
        const filter = { reader_id: caller.user_id, after: query.cursor, limit: query.limit };
        const page = query.visibility
          ? await listPublicDiscussions(pool, { ...filter, query: query.query })
          : await listDiscussions(pool, checkActivityKey(filter));
        return list(page.items, page.nextKey, { cursor: page.cursor });
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/discussions/:id",
      access: "session",
      params: discussionParams,
      handle: async ({ caller, params }) => show(params.id, caller.user_id),
    }),
    route({
      method: "PATCH",
      path: "/api/v1/discussions/:id",
      access: "session",
      params: discussionParams,
      body: changeBody,
      handle: async ({ caller, params, body }) => {
        await changeDiscussion(pool, caller.user_id, params.id, body);
        return show(params.id, caller.user_id);
      },
    }),
    route({
      method: "DELETE",
      path: "/api/v1/discussions/:id",
      access: "session",
      params: discussionParams,
      handle: async ({ caller, params }) => {
        await removeDiscussion(pool, caller.user_id, params.id);
        return noContent();
      },
    }),
    route({
      method: "PUT",
      path: "/api/v1/discussions/:id/read",
      access: "session",
      params: discussionParams,
      body: readBody,
      handle: async ({ caller, params, body }) => {
        const read = await markRead(pool, params.id, caller.user_id, body.seq);
        return json(200, read ?? (await notMember(parts, params.id, caller.user_id)));
      },
    }),
  ];
}

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
        return list(page.items, page.nextKey, { cursor: page.cursor });
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

/** Why somebody who is not a member is refused. */
export async function notMember(parts: Parts, id: string, userId: string): Promise<never> {
  const standing = await findStanding(parts.pool, id, userId);
  return fail(standing === "visitor" ? "not_a_member" : "discussion_not_found");
}

/** The key of a page of one's own discussions starts with a timestamp, that of public ones with a name. */
function checkActivityKey<T extends { after: readonly [string, string] | undefined }>(filter: T): T {
  if (filter.after && !timestamp.safeParse(filter.after[0]).success)
    fail("invalid_request", "cursor: is not a cursor");
  return filter;
}
