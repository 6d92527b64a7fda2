import { z } from "zod";
import { findStanding } from "../../sql/members.ts";
import { listMessages, readHistory } from "../../sql/messages.ts";
import {
  attachmentIdsSchema,
  clientIdSchema,
  contentSchema,
  digits,
  idSchema,
  limitSchema,
  pageCursorSchema,
  requireContent,
  seqSchema,
  timestampSchema,
} from "../fields.ts";
import { messageSchema, pageOf, streamCursorSchema } from "../schemas.ts";
import type { Parts } from "./parts.ts";
import { json, list, type Route, route } from "./route.ts";
import { requireMembership } from "./standing.ts";

const discussionParams = z.object({ id: idSchema });
const sendBody = requireContent(
  z.strictObject({
    content: contentSchema.meta({ examples: ["Hello, Bob"] }),
    client_id: clientIdSchema.nullable().optional(),
    reply_to_seq: z.number().int().positive().max(Number.MAX_SAFE_INTEGER).nullable().optional(),
    attachment_ids: attachmentIdsSchema.nullable().optional(),
  }),
);
const historyQuery = z
  .object({
    before: seqSchema.optional(),
    after: digits(0, Number.MAX_SAFE_INTEGER).optional(),
    around: seqSchema.optional(),
    limit: limitSchema,
  })
  .refine(
    ({ before, after, around }) => [before, after, around].filter((seq) => seq !== undefined).length <= 1,
    {
      error: "only one of before, after and around",
    },
  );
const messagesQuery = z.object({
  discussion_id: idSchema.optional(),
  sender_id: idSchema.optional(),
  limit: limitSchema,
  cursor: pageCursorSchema(z.tuple([timestampSchema, idSchema, z.number().int()])),
});

const historySchema = z.strictObject({
  items: z.array(messageSchema),
  has_before: z.boolean(),
  has_after: z.boolean(),
  cursor: streamCursorSchema,
});

/** Sending. */
export function messageRoutes(parts: Parts): Route[] {
  return [
    route({
      method: "POST",
      path: "/api/v1/discussions/:id/messages",
      name: "sendMessage",
      summary: "Send a message",
      description: "With a `client_id` it may be sent again and again: it is stored once.",
      tag: "Messages",
      // send_messages() checks the session with everything else, in the statement that stores.
      access: "token",
      rate: "send",
      params: discussionParams,
      body: sendBody,
      answers: {
        201: messageSchema,
        200: { schema: messageSchema, description: "The same `client_id` had stored it before." },
      },
      refusals: [
        "discussion_not_found",
        "not_a_member",
        "reply_not_found",
        "attachment_not_found",
        "blocked",
        "client_id_reused",
        "overloaded",
      ],
      handle: async ({ caller, params, body }) => {
        const sent = await parts.sender.send({
          session_id: caller.session_id,
          sender_id: caller.user_id,
          discussion_id: params.id,
          content: body.content,
          client_id: body.client_id ?? null,
          reply_to_seq: body.reply_to_seq ?? null,
          attachment_ids: body.attachment_ids ?? [],
        });
        return json(sent.created ? 201 : 200, sent.message);
      },
    }),
  ];
}

/** Reading. */
export function historyRoutes(parts: Parts): Route[] {
  return [
    route({
      method: "GET",
      path: "/api/v1/discussions/:id/messages",
      name: "readHistory",
      summary: "The messages of a discussion, by rising seq",
      description: "The newest; or those before, after or around a `seq` (only one of these).",
      tag: "Messages",
      access: "session",
      params: discussionParams,
      query: historyQuery,
      answers: { 200: historySchema },
      refusals: ["discussion_not_found", "not_a_member"],
      handle: async ({ caller, params, query }) => {
        const page = await readHistory(parts.pool, params.id, caller.user_id, historyWindow(query));
        requireMembership(page.standing);
        return json(200, historyJson(page, query));
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/messages",
      name: "listMessages",
      summary: "Messages across one's discussions, newest first",
      tag: "Messages",
      access: "session",
      query: messagesQuery,
      answers: { 200: pageOf(messageSchema) },
      refusals: ["discussion_not_found", "not_a_member"],
      handle: async ({ caller, query }) => {
        const page = await listMessages(parts.pool, {
          reader_id: caller.user_id,
          discussion_id: query.discussion_id,
          sender_id: query.sender_id,
          after: query.cursor,
          limit: query.limit,
        });
        if (page.items === "" && query.discussion_id) {
          requireMembership(await findStanding(parts.pool, query.discussion_id, caller.user_id));
        }
        return list(page.items, page.nextKey);
      },
    }),
  ];
}

type HistoryQuery = z.output<typeof historyQuery>;

function historyWindow({ before, after, around, limit }: HistoryQuery) {
  if (around !== undefined) {
    const newer = Math.floor(limit / 2);
    return { before: around + 1, older: limit - newer, after: around, newer };
  }
  if (after !== undefined) return { before: 0, older: 0, after, newer: limit };
  return { before: before ?? Number.MAX_SAFE_INTEGER, older: limit, after: 0, newer: 0 };
}

/** As seqs have no holes, the ends of the page tell whether there is more on its sides. */
function historyJson(page: Awaited<ReturnType<typeof readHistory>>, query: HistoryQuery): string {
  const empty = page.first_seq === null;
  const first =
    page.first_seq ?? Math.min(query.before ?? page.last_seq + 1, (query.after ?? page.last_seq) + 1);
  const last = page.last_item_seq ?? first - 1;
  const hasBefore = empty ? page.last_seq > 0 && first > 1 : first > 1;
  const hasAfter = last < page.last_seq;
  const rest = JSON.stringify({ has_before: hasBefore, has_after: hasAfter, cursor: page.cursor });
  return `{"items":[${page.items}],${rest.slice(1)}`;
}
