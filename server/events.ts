import { z } from "zod";
import { clientIdSchema, contentSchema, editedContentSchema, idSchema, reactionSchema } from "./fields.ts";

/**
 * What goes over streams, besides what Postgres writes: the frames a client may send, and the control frames
 * that the server answers with. Durable events are JSON text made by sql/functions and are only wrapped here.
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
  z.strictObject({
    type: z.literal("message.send"),
    ref,
    discussion_id,
    content: contentSchema,
    client_id: clientIdSchema.nullable().optional(),
    reply_to_seq: seq.nullable().optional(),
  }),
  z.strictObject({
    type: z.literal("message.edit"),
    ref,
    discussion_id,
    seq,
    content: editedContentSchema,
  }),
  z.strictObject({ type: z.literal("message.delete"), ref, discussion_id, seq }),
  z.strictObject({ type: z.literal("reaction.add"), ref, discussion_id, seq, emoji: reactionSchema }),
  z.strictObject({ type: z.literal("reaction.remove"), ref, discussion_id, seq, emoji: reactionSchema }),
  z.strictObject({ type: z.literal("read"), ref, discussion_id, seq: seq.or(z.literal(0)) }),
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
