import { z } from "zod";
import { listEdits } from "../../sql/changes.ts";
import { findStanding } from "../../sql/members.ts";
import { edit, react, remove } from "../commands/changes.ts";
import { fail } from "../errors.ts";
import {
  editedContentSchema,
  idSchema,
  limitSchema,
  pageCursorSchema,
  reactionSchema,
  seqSchema,
} from "../fields.ts";
import type { Parts } from "./parts.ts";
import { json, list, noContent, type Route, route } from "./route.ts";
import { requireMembership } from "./standing.ts";

const messageParams = z.object({ id: idSchema, seq: seqSchema });
const reactionParams = messageParams.extend({ emoji: reactionSchema });
const editBody = z.strictObject({ content: editedContentSchema });
const editsQuery = z.object({
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([z.number().int().min(0).max(2_147_483_647)])),
});

type Caller = { user_id: string; session_id: string };

/** What can be done to messages after they were sent. The statement of each act checks the session. */
export function changeRoutes(parts: Parts): Route[] {
  const { pool } = parts;
  const act = (caller: Caller, params: z.output<typeof messageParams>) => ({
    session_id: caller.session_id,
    user_id: caller.user_id,
    discussion_id: params.id,
    seq: params.seq,
  });

  return [
    route({
      method: "PATCH",
      path: "/api/v1/discussions/:id/messages/:seq",
      access: "token",
      params: messageParams,
      body: editBody,
      handle: async ({ caller, params, body }) =>
        json(200, await edit(pool, act(caller, params), body.content)),
    }),
    route({
      method: "DELETE",
      path: "/api/v1/discussions/:id/messages/:seq",
      access: "token",
      params: messageParams,
      handle: async ({ caller, params }) => {
        await remove(pool, act(caller, params));
        return noContent();
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/discussions/:id/messages/:seq/edits",
      access: "session",
      params: messageParams,
      query: editsQuery,
      handle: async ({ caller, params, query }) => {
        requireMembership(await findStanding(pool, params.id, caller.user_id));
        const filter = {
          discussion_id: params.id,
          seq: params.seq,
          after: query.cursor?.[0],
          limit: query.limit,
        };
        const page = (await listEdits(pool, filter)) ?? fail("message_not_found");
        return list(page.items, page.nextKey);
      },
    }),
    ...(["PUT", "DELETE"] as const).map((method) =>
      route({
        method,
        path: "/api/v1/discussions/:id/messages/:seq/reactions/:emoji",
        access: "token",
        params: reactionParams,
        handle: async ({ caller, params }) => {
          await react(pool, act(caller, params), params.emoji, method === "PUT");
          return noContent();
        },
      }),
    ),
  ];
}
