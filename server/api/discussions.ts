import type { HTTPResponse } from "h3";
import { z } from "zod";
import type { Pool } from "../../sql/database.ts";
import { findDiscussion, listDiscussions, listPublicDiscussions } from "../../sql/discussions.ts";
import { changeDiscussion, createDirect, createGroup, removeDiscussion } from "../commands/discussions.ts";
import { fail } from "../errors.ts";
import { idSchema, idsSchema, limitSchema, pageCursorSchema, text, timestampSchema } from "../fields.ts";
import { discussionSchema, pageOf, streamCursorSchema } from "../schemas.ts";
import type { Parts } from "./parts.ts";
import { json, list, noContent, type Route, route } from "./route.ts";

const nameSchema = text(1, 100).refine((value) => value.trim() !== "", "must not be blank");
const visibilitySchema = z.enum(["private", "public"]);

const createBody = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("direct"), user_id: idSchema }),
  z.strictObject({
    kind: z.literal("group"),
    name: nameSchema.nullable().optional(),
    member_ids: idsSchema,
    visibility: visibilitySchema.default("private"),
  }),
]);
const listQuery = z.object({
  visibility: z.literal("public").optional(),
  query: text(1, 100).optional(),
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([text(0, 128), idSchema])),
});
const discussionParams = z.object({ id: idSchema });
const changeBody = z.strictObject({
  name: nameSchema.nullable().optional(),
  visibility: visibilitySchema.optional(),
});

/** All of them. */
export function discussionsRoutes({ pool }: Parts): Route[] {
  return [
    route({
      method: "POST",
      path: "/api/v1/discussions",
      name: "createDiscussion",
      summary: "Open a discussion, or find the one that there is",
      description: "There is one per pair of people, and one group per name and set of members.",
      tag: "Discussions",
      access: "session",
      body: createBody,
      answers: {
        201: discussionSchema,
        200: { schema: discussionSchema, description: "It was there already." },
      },
      refusals: ["user_not_found", "blocked", "discussion_not_found"],
      handle: async ({ caller, body }) => {
        // An existing one may be deleted before it is read; then it has to be created after all.
        for (let attempt = 0; attempt < 3; attempt++) {
          const { id, created } =
            body.kind === "direct"
              ? await createDirect(pool, caller.user_id, body.user_id)
              : await createGroup(pool, caller.user_id, { ...body, name: body.name ?? null });
          const discussion = await findDiscussion(pool, id, caller.user_id);
          if (discussion) return json(created ? 201 : 200, discussion);
        }
        return fail("discussion_not_found");
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/discussions",
      name: "listDiscussions",
      summary: "One's discussions, latest activity first; or public groups",
      description: "Public groups, joined or not, with `visibility=public`; only these take a `query`.",
      tag: "Discussions",
      access: "session",
      query: listQuery,
      answers: { 200: pageOf(discussionSchema, { cursor: streamCursorSchema }) },
      refusals: [],
      handle: async ({ caller, query }) => {
        const filter = { reader_id: caller.user_id, after: query.cursor, limit: query.limit };
        const page = query.visibility
          ? await listPublicDiscussions(pool, { ...filter, query: query.query })
          : await listDiscussions(pool, checkActivityKey(filter));
        return list(page.items, page.nextKey, { cursor: page.cursor });
      },
    }),
  ];
}

/** One of them. */
export function discussionRoutes(parts: Parts): Route[] {
  const { pool } = parts;
  return [
    route({
      method: "GET",
      path: "/api/v1/discussions/:id",
      name: "readDiscussion",
      summary: "A discussion",
      tag: "Discussions",
      access: "session",
      params: discussionParams,
      answers: { 200: discussionSchema },
      refusals: ["discussion_not_found"],
      handle: async ({ caller, params }) => show(pool, params.id, caller.user_id),
    }),
    route({
      method: "PATCH",
      path: "/api/v1/discussions/:id",
      name: "updateDiscussion",
      summary: "Rename a group, or open or close it",
      tag: "Discussions",
      access: "session",
      params: discussionParams,
      body: changeBody,
      answers: { 200: discussionSchema },
      refusals: ["discussion_not_found", "not_a_member", "forbidden", "direct_discussion"],
      handle: async ({ caller, params, body }) => {
        await changeDiscussion(pool, caller, params.id, body);
        return show(pool, params.id, caller.user_id);
      },
    }),
    route({
      method: "DELETE",
      path: "/api/v1/discussions/:id",
      name: "deleteDiscussion",
      summary: "Delete a group with all that is in it",
      tag: "Discussions",
      access: "session",
      params: discussionParams,
      answers: { 204: null },
      refusals: ["discussion_not_found", "not_a_member", "forbidden", "direct_discussion"],
      handle: async ({ caller, params }) => {
        await removeDiscussion(parts, caller, params.id);
        return noContent();
      },
    }),
  ];
}

/** The answer of whatever changes a discussion. Throws discussion_not_found. */
export async function show(pool: Pool, id: string, readerId: string): Promise<HTTPResponse> {
  return json(200, (await findDiscussion(pool, id, readerId)) ?? fail("discussion_not_found"));
}

/** The key of a page of one's own discussions starts with a timestamp, that of public ones with a name. */
function checkActivityKey<T extends { after: readonly [string, string] | undefined }>(filter: T): T {
  if (filter.after && !timestampSchema.safeParse(filter.after[0]).success)
    fail("invalid_request", "cursor: is not a cursor");
  return filter;
}
