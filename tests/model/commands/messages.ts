import {
  type Discussion,
  lastReadSeq,
  type Message,
  type Model,
  memberOf,
  messageOf,
  unreadCount,
  type Version,
  versionOf,
} from "../model.ts";
import { messageJson } from "../shapes.ts";
import {
  type Command,
  command,
  done,
  type Expected,
  labelOf,
  type Refusal,
  refuseOutsiders,
  type Way,
} from "./command.ts";

export interface Sending {
  content: string;
  client_id?: string;
  reply_to_seq?: number;
}

const quote = (content: string) => JSON.stringify(content.length > 30 ? `${content.slice(0, 30)}…` : content);

export function send(actorId: string, way: Way, id: string, sending: Sending): Command {
  const request = {
    method: "POST",
    path: `/discussions/${id}/messages`,
    body: sending,
    frame: { type: "message.send", discussion_id: id, ...sending },
  };
  const { content, client_id, reply_to_seq } = sending;
  const words = (model: Model) =>
    [
      `sends ${quote(content)} to ${labelOf(model, id)}`,
      ...(client_id === undefined ? [] : [`as ${client_id}`]),
      ...(reply_to_seq === undefined ? [] : [`in reply to ${reply_to_seq}`]),
    ].join(" ");
  return command(actorId, way, request, words, (model) => {
    const discussion = model.find(id);
    const refusal = refuseOutsiders(model.standing(id, actorId));
    if (refusal || !discussion) return refusal ?? { code: "discussion_not_found" };
    const stored = discussion.messages.find(
      (message) => message.sender_id === actorId && message.client_id === (client_id ?? 0),
    );
    if (stored) return again(discussion, stored, sending);
    if (model.isBlocked(discussion, actorId)) return { code: "blocked" };
    if (reply_to_seq !== undefined && !messageOf(discussion, reply_to_seq))
      return { code: "reply_not_found" };
    const message = store(model, discussion, actorId, sending);
    return { status: 201, body: messageJson(discussion, message) };
  });
}

/** The same client_id again: the message as it is, unless it said something else. */
function again(discussion: Discussion, stored: Message, { content, reply_to_seq }: Sending): Expected {
  const isSame = stored.versions[0]?.content === content && stored.reply_to_seq === (reply_to_seq ?? null);
  if (!isSame && versionOf(stored).deleted_at === null) return { code: "client_id_reused" };
  return { status: 200, body: messageJson(discussion, stored) };
}

function store(model: Model, discussion: Discussion, senderId: string, sending: Sending): Message {
  const created_at = model.time();
  const seq = discussion.messages.length + 1;
  const message: Message = {
    seq,
    sender_id: senderId,
    client_id: sending.client_id ?? null,
    reply_to_seq: sending.reply_to_seq ?? null,
    created_at,
    versions: [
      {
        position: model.end + 1,
        content: sending.content,
        mentions: mentionsIn(model, discussion, sending.content),
        edited_at: null,
        editedPosition: 0,
        deleted_at: null,
        began_at: created_at,
      },
    ],
    reactions: [],
  };
  discussion.messages.push(message);
  const told = { seq, version: 0, reactions: [] };
  model.append({ type: "message.new", discussion_id: discussion.id, at: created_at, told });
  return message;
}

/** The members whom a text names, in the order of their first mention. Names end where a space is. */
function mentionsIn(model: Model, discussion: Discussion, content: string): string[] {
  const names = content.split(" ").filter((word) => word.startsWith("@"));
  const ids = names.flatMap((name) => model.people.find(({ username }) => `@${username}` === name)?.id ?? []);
  return [...new Set(ids)].filter((id) => memberOf(discussion, id) && !model.person(id).isErased);
}

export function edit(actorId: string, way: Way, id: string, seq: number, content: string): Command {
  const request = {
    method: "PATCH",
    path: `/discussions/${id}/messages/${seq}`,
    body: { content },
    frame: { type: "message.edit", discussion_id: id, seq, content },
  };
  const words = (model: Model) => `edits ${labelOf(model, id)}/${seq} to ${quote(content)}`;
  return command(actorId, way, request, words, (model) => {
    const found = findMessage(model, actorId, id, seq);
    if ("code" in found) return found;
    const { discussion, message } = found;
    const now = versionOf(message);
    if (message.sender_id !== actorId) return { code: "forbidden" };
    if (now.deleted_at !== null) return { code: "message_deleted" };
    if (model.isBlocked(discussion, actorId)) return { code: "blocked" };
    if (now.content !== content) {
      const edited_at = model.time();
      const position = model.end + 1;
      const mentions = mentionsIn(model, discussion, content);
      const edited = { content, mentions, edited_at, editedPosition: position, began_at: edited_at };
      message.versions.push({ ...now, position, ...edited });
      const told = tell(message);
      model.append({ type: "message.updated", discussion_id: id, told });
    }
    return { status: 200, body: messageJson(discussion, message) };
  });
}

function tell(message: Message) {
  return {
    seq: message.seq,
    version: message.versions.length - 1,
    reactions: structuredClone(message.reactions),
  };
}

export function remove(actorId: string, way: Way, id: string, seq: number): Command {
  const request = {
    method: "DELETE",
    path: `/discussions/${id}/messages/${seq}`,
    frame: { type: "message.delete", discussion_id: id, seq },
  };
  const words = (model: Model) => `deletes ${labelOf(model, id)}/${seq}`;
  return command(actorId, way, request, words, (model) => {
    const found = findMessage(model, actorId, id, seq);
    if ("code" in found) return found;
    const { message } = found;
    const now = versionOf(message);
    if (message.sender_id !== actorId && model.standing(id, actorId) === "member")
      return { code: "forbidden" };
    if (now.deleted_at !== null) return done;
    const deleted: Version = { ...now, position: model.end + 1, content: "", deleted_at: model.time() };
    message.versions.push(deleted);
    model.append({
      type: "message.deleted",
      discussion_id: id,
      data: { seq, deleted_at: deleted.deleted_at },
    });
    return done;
  });
}

export function react(
  actorId: string,
  way: Way,
  id: string,
  seq: number,
  emoji: string,
  isThere: boolean,
): Command {
  const request = {
    method: isThere ? "PUT" : "DELETE",
    path: `/discussions/${id}/messages/${seq}/reactions/${encodeURIComponent(emoji)}`,
    frame: { type: isThere ? "reaction.add" : "reaction.remove", discussion_id: id, seq, emoji },
  };
  const words = (model: Model) =>
    isThere
      ? `reacts ${emoji} to ${labelOf(model, id)}/${seq}`
      : `takes ${emoji} from ${labelOf(model, id)}/${seq}`;
  return command(actorId, way, request, words, (model) => {
    const found = findMessage(model, actorId, id, seq);
    if ("code" in found) return found;
    const { discussion, message } = found;
    if (model.isBlocked(discussion, actorId)) return { code: "blocked" };
    if (versionOf(message).deleted_at !== null) return { code: "message_deleted" };
    if (!changeReactions(message, actorId, emoji, isThere)) return done;
    const type = isThere ? "reaction.added" : "reaction.removed";
    model.append({ type, discussion_id: id, data: { seq, user_id: actorId, emoji } });
    return done;
  });
}

/** Whether that changed anything. */
function changeReactions(message: Message, userId: string, emoji: string, isThere: boolean): boolean {
  const kind = message.reactions.find((one) => one.emoji === emoji) ?? { emoji, user_ids: [] };
  if (kind.user_ids.includes(userId) === isThere) return false;
  const others = kind.user_ids.filter((id) => id !== userId);
  const user_ids = isThere ? [...others, userId] : others;
  const rest = message.reactions.filter((one) => one.emoji !== emoji);
  message.reactions = user_ids.length === 0 ? rest : [...rest, { emoji, user_ids }];
  return true;
}

export function read(actorId: string, way: Way, id: string, seq: number): Command {
  const request = {
    method: "PUT",
    path: `/discussions/${id}/read`,
    body: { seq },
    frame: { type: "read", discussion_id: id, seq },
  };
  const words = (model: Model) => `reads ${labelOf(model, id)} up to ${seq}`;
  return command(actorId, way, request, words, (model) => {
    const discussion = model.find(id);
    const refusal = refuseOutsiders(model.standing(id, actorId));
    const member = discussion && memberOf(discussion, actorId);
    if (refusal || !member) return refusal ?? { code: "discussion_not_found" };
    const mark = Math.min(seq, discussion.messages.length);
    if (mark > lastReadSeq(discussion, member)) {
      member.mark = mark;
      const data = { user_id: actorId, last_read_seq: mark };
      model.append({ type: "read.updated", discussion_id: id, data });
    }
    const last_read_seq = lastReadSeq(discussion, member);
    return { status: 200, body: { last_read_seq, unread_count: unreadCount(discussion, member) } };
  });
}

function findMessage(
  model: Model,
  actorId: string,
  id: string,
  seq: number,
): Refusal | { discussion: Discussion; message: Message } {
  const discussion = model.find(id);
  const refusal = refuseOutsiders(model.standing(id, actorId));
  if (refusal || !discussion) return refusal ?? { code: "discussion_not_found" };
  const message = messageOf(discussion, seq);
  return message ? { discussion, message } : { code: "message_not_found" };
}
