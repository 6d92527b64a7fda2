import { z } from "zod";
import { type ErrorCode, errors } from "./errors.ts";

/**
 * The objects of the wire, for the documents at /openapi.json and /asyncapi.json and for the tests, which
 * check every answer and event against them. Postgres makes their JSON (sql/functions/01_shapes.sql), and
 * serving a request does not come by here. An `id` makes a schema a component of the documents.
 */

const id = z.uuid();
const seq = z.int().min(1);
const count = z.int().min(0);

export const timeSchema = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  .meta({ format: "date-time", examples: ["2026-03-01T08:30:00.000Z"] });

export const streamCursorSchema = z
  .string()
  .regex(/^[0-9a-z]{1,16}\.(0|[1-9][0-9]{0,14})$/)
  .meta({ id: "Cursor", description: "A point of the event log; opaque.", examples: ["k3v9x2.1042"] });

export const roleSchema = z.enum(["owner", "admin", "member"]).meta({ id: "Role" });

const userFields = {
  id,
  username: z.string().meta({ examples: ["ann"] }),
  display_name: z.string().meta({ examples: ["Ann Lee"] }),
  avatar_url: z.string().meta({ format: "uri-reference" }),
  status_text: z.string().meta({ examples: ["At the sea"] }),
  created_at: timeSchema,
};

export const userSchema = z.strictObject(userFields).meta({ id: "User" });

export const meSchema = z
  .strictObject({ ...userFields, email: z.email().nullable() })
  .meta({ id: "Me", description: "Oneself: a user, with what nobody else sees." });

export const sessionSchema = z
  .strictObject({
    id,
    user_agent: z.string(),
    created_at: timeSchema,
    used_at: timeSchema,
    expires_at: timeSchema,
    current: z.boolean().meta({ description: "Whether it is the session that asks." }),
  })
  .meta({ id: "Session" });

const tokenFields = {
  access_token: z.string().meta({ description: "A JWT, for `Authorization: Bearer`." }),
  token_type: z.literal("Bearer"),
  expires_in: z
    .int()
    .min(1)
    .meta({ description: "Seconds.", examples: [900] }),
  refresh_token: z.string().meta({ description: "Good for one exchange." }),
};

export const tokensSchema = z.strictObject(tokenFields).meta({ id: "Tokens" });
export const signInSchema = z.strictObject({ user: meSchema, ...tokenFields }).meta({ id: "SignIn" });

export const ticketSchema = z
  .strictObject({
    ticket: z.string(),
    expires_in: z
      .int()
      .min(1)
      .meta({ description: "Seconds.", examples: [30] }),
  })
  .meta({ id: "Ticket", description: "Opens one stream, by `?ticket=`." });

export const memberSchema = z
  .strictObject({ user_id: id, role: roleSchema, joined_at: timeSchema, last_read_seq: count })
  .meta({ id: "Member" });

export const attachmentSchema = z
  .strictObject({
    id,
    name: z.string().meta({ examples: ["harbour.png"] }),
    media_type: z.string().meta({ examples: ["image/png"] }),
    size: count.meta({ description: "Bytes.", examples: [48_213] }),
    width: z
      .int()
      .min(1)
      .optional()
      .meta({ examples: [1_280] }),
    height: z
      .int()
      .min(1)
      .optional()
      .meta({ examples: [960] }),
    url: z.string().meta({ format: "uri-reference" }),
  })
  .meta({ id: "Attachment" });

const reactionSchema = z
  .strictObject({ emoji: z.string().meta({ examples: ["👍"] }), user_ids: z.array(id) })
  .meta({ id: "Reaction", description: "Who reacted with one emoji." });

export const messageSchema = z
  .strictObject({
    discussion_id: id,
    seq: seq.meta({ description: "1, 2, 3 … in its discussion, without holes." }),
    sender_id: id,
    content: z.string().meta({ description: "Empty in a deleted message, and where there is only a file." }),
    client_id: z.string().nullable(),
    reply_to_seq: seq.nullable(),
    mentions: z.array(id).meta({ description: "The members whom the text names as @username." }),
    attachments: z.array(attachmentSchema),
    reactions: z.array(reactionSchema),
    created_at: timeSchema,
    edited_at: timeSchema.nullable(),
    deleted_at: timeSchema.nullable(),
  })
  .meta({ id: "Message", description: "The same JSON everywhere: history, answers, acks and events." });

export const foundMessageSchema = z
  .strictObject({
    ...messageSchema.shape,
    snippet: z.string().meta({
      description: "HTML: the text around the first match. Matches stand in `<mark>`; all else is escaped.",
      examples: ["prices are sky<mark>rocke</mark>ting &amp; rents too"],
    }),
    rank: z.int().min(0).max(1_000).meta({ description: "How well it matches." }),
  })
  .meta({ id: "FoundMessage", description: "A message, with why it was found." });

export const editSchema = z
  .strictObject({
    version: z.int().min(1),
    content: z.string(),
    mentions: z.array(id),
    created_at: timeSchema.meta({ description: "When the message began to read so." }),
  })
  .meta({ id: "Edit", description: "An earlier version of a message." });

const eventDiscussionFields = {
  id,
  kind: z.enum(["direct", "group"]),
  name: z.string().nullable(),
  visibility: z.enum(["private", "public"]),
  created_by: id,
  created_at: timeSchema,
  member_count: count,
  members: z.array(memberSchema).max(100).meta({ description: "The first 100." }),
  last_seq: count,
};

export const eventDiscussionSchema = z.strictObject(eventDiscussionFields).meta({
  id: "EventDiscussion",
  description: "A discussion as events tell it: without what depends on the reader.",
});

export const discussionSchema = z
  .strictObject({
    ...eventDiscussionFields,
    title: z.string().meta({ description: "For the reader: a group's name, else the others' names." }),
    last_message: messageSchema.nullable(),
    unread_count: count.max(1_000).meta({ description: "Exact, counted up to 1,000." }),
    my_role: roleSchema.nullable().meta({ description: "Null for who sees a public group from outside." }),
    muted_until: timeSchema.nullable(),
    cursor: streamCursorSchema,
  })
  .meta({ id: "Discussion" });

export const readMarkSchema = z
  .strictObject({ last_read_seq: count, unread_count: count.max(1_000) })
  .meta({ id: "ReadMark" });

const presenceFields = {
  status: z.enum(["online", "offline"]),
  last_seen_at: timeSchema
    .nullable()
    .meta({ description: "Since when it is so; null for somebody who was never seen." }),
};

export const presenceSchema = z.strictObject(presenceFields).meta({ id: "Presence" });

export const memberPresenceSchema = z
  .strictObject({ user_id: id, ...presenceFields })
  .meta({ id: "MemberPresence" });

const codes = Object.keys(errors) as [ErrorCode, ...ErrorCode[]];

export const codeSchema = z
  .enum(codes)
  .meta({ id: "ErrorCode", description: "What went wrong, for programs; stable." });

export const problemSchema = z
  .strictObject({
    type: z.literal("about:blank"),
    title: z.string(),
    status: z.int().min(400).max(599),
    code: codeSchema,
    detail: z.string().meta({ description: "For people." }),
    request_id: z.string(),
    errors: z
      .array(z.strictObject({ path: z.string().meta({ examples: ["member_ids.0"] }), message: z.string() }))
      .optional()
      .meta({ description: "What is wrong with the input, place by place." }),
    retry_after: z.int().min(1).optional().meta({ description: "Seconds, as in the header Retry-After." }),
  })
  .meta({ id: "Problem", description: "A refusal (RFC 9457)." });

/** A page of a list; `more` are fields beside the usual ones. */
export function pageOf<T extends z.ZodType>(item: T, more: z.ZodRawShape = {}) {
  return z.strictObject({
    items: z.array(item),
    next_cursor: z.string().nullable().meta({ description: "For ?cursor=; null on the last page." }),
    ...more,
  });
}
