import { z } from "zod";
import { type Act, listEdits } from "../../sql/changes.ts";
import { edit, react, remove } from "../commands/changes.ts";
import { fail } from "../errors.ts";
import {
  contentSchema,
  idSchema,
  limitSchema,
  pageCursorSchema,
  reactionSchema,
  seqSchema,
} from "../fields.ts";
import { editSchema, messageSchema, pageOf } from "../schemas.ts";
import type { Parts } from "./parts.ts";
import { type Caller, json, list, noContent, type Route, route } from "./route.ts";
import { requireMembership } from "./standing.ts";

const messageParams = z.object({ id: idSchema, seq: seqSchema });
const reactionParams = messageParams.extend({ emoji: reactionSchema });
const editBody = z.strictObject({ content: contentSchema });
const editsQuery = z.object({
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([z.number().int().min(0).max(2_147_483_647)])),
});

const messageRefusals = ["discussion_not_found", "not_a_member", "message_not_found"] as const;

/** What can be done to messages after they were sent. The statement of each act checks the session. */
export function changeRoutes(parts: Parts): Route[] {
  const { pool } = parts;
  return [
    route({
      method: "PATCH",
      path: "/api/v1/discussions/:id/messages/:seq",
      name: "editMessage",
      summary: "Edit one's own message",
      tag: "Messages",
      access: "token",
      params: messageParams,
      body: editBody,
      answers: { 200: messageSchema },
      refusals: [...messageRefusals, "forbidden", "message_deleted", "blocked"],
      handle: async ({ caller, params, body }) =>
        json(200, await edit(pool, actOf(caller, params), body.content)),
    }),
    route({
      method: "DELETE",
      path: "/api/v1/discussions/:id/messages/:seq",
      name: "deleteMessage",
      summary: "Delete a message; its place stays",
      description: "The sender may, and owners and admins; its text is gone from everywhere.",
      tag: "Messages",
      access: "token",
      params: messageParams,
      answers: { 204: null },
      refusals: [...messageRefusals, "forbidden"],
      handle: async ({ caller, params }) => {
        await remove(pool, actOf(caller, params));
        return noContent();
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/discussions/:id/messages/:seq/edits",
      name: "listEdits",
      summary: "Earlier versions of a message",
      tag: "Messages",
      access: "session",
      params: messageParams,
      query: editsQuery,
      answers: { 200: pageOf(editSchema) },
      refusals: messageRefusals,
      handle: async ({ caller, params, query }) => {
        const { standing, page } = await listEdits(pool, {
          discussion_id: params.id,
          seq: params.seq,
          reader_id: caller.user_id,
          after: query.cursor?.[0],
          limit: query.limit,
        });
        requireMembership(standing);
        if (!page) return fail("message_not_found");
        return list(page.items, page.nextKey);
      },
    }),
  ];
}

export function reactionRoutes({ pool }: Parts): Route[] {
  const path = "/api/v1/discussions/:id/messages/:seq/reactions/:emoji";
  const refusals = [...messageRefusals, "message_deleted", "blocked"] as const;
  return [
    route({
      method: "PUT",
      path,
      name: "addReaction",
      summary: "React to a message",
      tag: "Messages",
      access: "token",
      params: reactionParams,
      answers: { 204: null },
      refusals: [...refusals, "too_many_reactions"],
      handle: async ({ caller, params }) => {
        await react(pool, actOf(caller, params), params.emoji, true);
        return noContent();
      },
    }),
    route({
      method: "DELETE",
      path,
      name: "removeReaction",
      summary: "Take a reaction back",
      tag: "Messages",
      access: "token",
      params: reactionParams,
      answers: { 204: null },
      refusals,
      handle: async ({ caller, params }) => {
        await react(pool, actOf(caller, params), params.emoji, false);
        return noContent();
      },
    }),
  ];
}

function actOf(caller: Caller, params: z.output<typeof messageParams>): Act {
  const { user_id, session_id } = caller;
  return { session_id, user_id, discussion_id: params.id, seq: params.seq };
}
