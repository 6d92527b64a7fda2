import { z } from "zod";
import { type Closing, closings } from "./errors.ts";
import {
  attachmentIdsSchema,
  clientIdSchema,
  contentSchema,
  idSchema,
  reactionSchema,
  requireContent,
} from "./fields.ts";
import {
  codeSchema,
  eventDiscussionSchema,
  memberPresenceSchema,
  memberSchema,
  messageSchema,
  streamCursorSchema,
  timeSchema,
} from "./schemas.ts";

/**
 * What goes over streams: every event and every frame. Durable events are JSON text made by sql/functions and
 * are not parsed on their way; their schemas are for the document at /asyncapi.json and for the tests.
 */

/** Types of log rows that steer the server and are never shown to a client. */
export const internalTypes: ReadonlySet<string> = new Set([
  "member.enrolled",
  "session.revoked",
  "event.erased",
]);

/** Rows with a user_id of these types open a discussion to that person's streams … */
export const joiningTypes: ReadonlySet<string> = new Set(["member.enrolled", "member.added"]);
/** … and of these end it. */
export const leavingTypes: ReadonlySet<string> = new Set(["member.removed", "discussion.deleted"]);
/** Rows with a user_id of these types are heard by that person alone. */
export const privateTypes: ReadonlySet<string> = new Set(["read.updated", "discussion.deleted"]);

/** Rows of these types change what earlier ones tell. */
export const rewritingTypes: ReadonlySet<string> = new Set(["message.updated", "message.deleted"]);

const ref = z.string().optional();
const discussion_id = idSchema.optional();
const seq = z.number().int().positive().max(Number.MAX_SAFE_INTEGER);

export const frameSchema = z.discriminatedUnion("type", [
  requireContent(
    z.strictObject({
      type: z.literal("message.send"),
      ref,
      discussion_id,
      content: contentSchema,
      client_id: clientIdSchema.nullable().optional(),
      reply_to_seq: seq.nullable().optional(),
      attachment_ids: attachmentIdsSchema.nullable().optional(),
    }),
  ),
  z.strictObject({
    type: z.literal("message.edit"),
    ref,
    discussion_id,
    seq,
    content: contentSchema,
  }),
  z.strictObject({ type: z.literal("message.delete"), ref, discussion_id, seq }),
  z.strictObject({ type: z.literal("reaction.add"), ref, discussion_id, seq, emoji: reactionSchema }),
  z.strictObject({ type: z.literal("reaction.remove"), ref, discussion_id, seq, emoji: reactionSchema }),
  z.strictObject({ type: z.literal("read"), ref, discussion_id, seq: seq.or(z.literal(0)) }),
  z.strictObject({ type: z.literal("typing"), ref, discussion_id }),
  z.strictObject({ type: z.literal("ping"), ref }),
]);

export type Frame = z.infer<typeof frameSchema>;

/** The answer to what was carried out; `fields` is JSON text: the members of the answer, without braces. */
export function ackFrame(ref: string | undefined, fields: string): string {
  const more = fields === "" ? "" : `,${fields}`;
  return ref === undefined ? `{"type":"ack"${more}}` : `{"type":"ack","ref":${JSON.stringify(ref)}${more}}`;
}

export function errorFrame(ref: string | undefined, code: string, detail: string): string {
  return `{"type":"error",${refField(ref)}"code":${JSON.stringify(code)},"detail":${JSON.stringify(detail)}}`;
}

export function pongFrame(ref: string | undefined): string {
  return ref === undefined ? '{"type":"pong"}' : `{"type":"pong","ref":${JSON.stringify(ref)}}`;
}

/** For how long somebody is shown as typing who does not go on. */
const typingSeconds = 6;

export function typingSignal(userId: string, discussionId: string): string {
  const who = `"discussion_id":"${discussionId}","user_id":"${userId}"`;
  return `{"type":"typing",${who},"expires_in":${typingSeconds}}`;
}

/** `at`: since when, as RFC 3339 text; null if that is not known. */
export function presenceSignal(userId: string, status: "online" | "offline", at: string | null): string {
  const since = at === null ? "null" : `"${at}"`;
  return `{"type":"presence","user_id":"${userId}","status":"${status}","last_seen_at":${since}}`;
}

export type ResetReason = "cursor_expired" | "epoch_changed" | "cursor_ahead";

export function readyEvent(cursor: string): string {
  return `{"type":"ready","cursor":"${cursor}"}`;
}

export function resetEvent(cursor: string, reason: ResetReason): string {
  return `{"type":"reset","reason":"${reason}","cursor":"${cursor}"}`;
}

function refField(ref: string | undefined): string {
  return ref === undefined ? "" : `"ref":${JSON.stringify(ref)},`;
}

const id = z.uuid();
const count = z.int().min(0);
const reaction = { seq, user_id: id, emoji: z.string() };

/** What happens and is kept: the fields of each event besides those that all have. */
const durable = {
  "message.new": { message: messageSchema },
  "message.updated": { message: messageSchema },
  "message.deleted": { seq, deleted_at: timeSchema },
  "reaction.added": reaction,
  "reaction.removed": reaction,
  "discussion.created": { discussion: eventDiscussionSchema },
  "discussion.updated": { discussion: eventDiscussionSchema },
  "discussion.deleted": {},
  "member.added": { member: memberSchema },
  "member.updated": { member: memberSchema },
  "member.removed": { user_id: id },
  "read.updated": { user_id: id, last_read_seq: count },
};
const envelope = { cursor: streamCursorSchema, discussion_id: id, at: timeSchema };

/** What is true for a moment and not kept. */
const signals = {
  typing: { discussion_id: id, user_id: id, expires_in: z.int().min(1).meta({ description: "Seconds." }) },
  presence: memberPresenceSchema.shape,
};

/** Where a stream is. */
const control = {
  ready: { cursor: streamCursorSchema },
  reset: { reason: z.enum(["cursor_expired", "epoch_changed", "cursor_ahead"]), cursor: streamCursorSchema },
};
/** How an EventSource learns what a WebSocket learns by its close frame. */
const closed = {
  code: z.literal(Object.values(closings)),
  reason: z.enum(Object.keys(closings) as [Closing, ...Closing[]]),
};

/** What a frame of the client is answered with; `ref` is the frame's. */
const answers = {
  ack: {
    ref,
    message: messageSchema.optional().meta({ description: "What was sent or edited." }),
    last_read_seq: count.optional().meta({ description: "With unread_count: what was read." }),
    unread_count: count.optional(),
  },
  error: { ref, code: codeSchema, detail: z.string() },
  pong: { ref },
};

/** The schema of all that a client hears, by its type. */
export const heardSchemas: Readonly<Record<string, z.ZodType>> = {
  ...withType(durable, envelope),
  ...withType({ ...signals, ...control, closed, ...answers }),
};
/** What only one kind of stream has. */
export const sseTypes: ReadonlySet<string> = new Set(["closed"]);
export const socketTypes: ReadonlySet<string> = new Set(Object.keys(answers));

function withType(types: Readonly<Record<string, z.ZodRawShape>>, more: z.ZodRawShape = {}) {
  return Object.fromEntries(
    Object.entries(types).map(([type, fields]) => [
      type,
      z.strictObject({ type: z.literal(type), ...more, ...fields }),
    ]),
  );
}
