import { z } from "zod";
import { deleteBlock, insertBlock, listBlocks } from "../../sql/blocks.ts";
import { fail } from "../errors.ts";
import { idSchema, limitSchema, pageCursorSchema, timestampSchema } from "../fields.ts";
import { pageOf, userSchema } from "../schemas.ts";
import type { Parts } from "./parts.ts";
import { list, noContent, type Route, route } from "./route.ts";

const userParams = z.object({ id: idSchema });
const blocksQuery = z.object({
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([timestampSchema, idSchema])),
});

/** Whom one does not want to hear from in one-to-one discussions. */
export function blockRoutes(parts: Parts): Route[] {
  return [
    route({
      method: "PUT",
      path: "/api/v1/users/:id/block",
      name: "blockUser",
      summary: "Block somebody in one-to-one discussions",
      tag: "Users",
      access: "session",
      params: userParams,
      answers: { 204: null },
      refusals: ["user_not_found"],
      handle: async ({ caller, params }) => {
        if (params.id === caller.user_id) fail("invalid_request", "id: nobody can block themselves");
        const isThere = await insertBlock(parts.pool, caller.user_id, params.id);
        return isThere ? noContent() : fail("user_not_found");
      },
    }),
    route({
      method: "DELETE",
      path: "/api/v1/users/:id/block",
      name: "unblockUser",
      summary: "Take a block back",
      tag: "Users",
      access: "session",
      params: userParams,
      answers: { 204: null },
      refusals: [],
      handle: async ({ caller, params }) => {
        await deleteBlock(parts.pool, caller.user_id, params.id);
        return noContent();
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/users/me/blocks",
      name: "listBlocks",
      summary: "Whom one has blocked",
      tag: "Users",
      access: "session",
      query: blocksQuery,
      answers: { 200: pageOf(userSchema) },
      refusals: [],
      handle: async ({ caller, query }) => {
        const filter = { blocker_id: caller.user_id, after: query.cursor, limit: query.limit };
        const page = await listBlocks(parts.pool, filter);
        return list(page.items, page.nextKey);
      },
    }),
  ];
}
