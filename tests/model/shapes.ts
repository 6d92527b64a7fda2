/** The model's objects as the contract shows them on the wire. */
import type { Json } from "../support/client.ts";
import {
  type Discussion,
  type Entry,
  lastReadSeq,
  type Member,
  type Message,
  type Model,
  memberOf,
  type Reaction,
  unreadCount,
  type Version,
  versionOf,
} from "./model.ts";

export function messageJson(
  discussion: Discussion,
  message: Message,
  version: Version = versionOf(message),
  reactions: readonly Reaction[] = message.reactions,
): Json {
  return {
    discussion_id: discussion.id,
    seq: message.seq,
    sender_id: message.sender_id,
    content: version.content,
    client_id: message.client_id,
    reply_to_seq: message.reply_to_seq,
    mentions: version.mentions,
    attachments: [],
    reactions,
    created_at: message.created_at,
    edited_at: version.edited_at,
    deleted_at: version.deleted_at,
  };
}

export function memberJson(discussion: Discussion, member: Member): Json {
  const { user_id, role, joined_at } = member;
  return { user_id, role, joined_at, last_read_seq: lastReadSeq(discussion, member) };
}

/** The same for every reader, as events tell it. */
export function sharedJson(discussion: Discussion): Json {
  const { id, kind, name, visibility, created_by, created_at, members, messages } = discussion;
  return {
    ...{ id, kind, name, visibility, created_by, created_at },
    member_count: members.length,
    members: members.map((member) => memberJson(discussion, member)),
    last_seq: messages.length,
  };
}

export function discussionJson(model: Model, discussion: Discussion, readerId: string): Json {
  const me = memberOf(discussion, readerId);
  const last = discussion.messages.at(-1);
  return {
    ...sharedJson(discussion),
    title: titleOf(model, discussion, readerId),
    last_message: me && last ? messageJson(discussion, last) : null,
    unread_count: me ? unreadCount(discussion, me) : 0,
    my_role: me?.role ?? null,
    muted_until: me?.muted_until ?? null,
    cursor: model.cursor,
  };
}

/** What part of a history is asked for: the newest, or one of these. */
export interface HistoryPage {
  limit: number;
  before?: number;
  after?: number;
  around?: number;
}

export function historyJson(model: Model, discussion: Discussion, page: HistoryPage): Json {
  const { messages } = discussion;
  const [first, last] = rangeOf(page, messages.length);
  const shown = messages.slice(first - 1, last);
  return {
    items: shown.map((message) => messageJson(discussion, message)),
    has_before: messages.length > 0 && first > 1,
    has_after: last < messages.length,
    cursor: model.cursor,
  };
}

/** The seqs of the first and the last message of a page; of an empty one, between which it would be. */
function rangeOf({ limit, before, after, around }: HistoryPage, count: number): [number, number] {
  if (after !== undefined) return [Math.min(after, count) + 1, Math.min(after + limit, count)];
  if (around !== undefined) {
    const newer = Math.floor(limit / 2);
    return [Math.max(1, around - (limit - newer) + 1), Math.min(around + newer, count)];
  }
  const last = Math.min((before ?? count + 1) - 1, count);
  return [Math.max(1, last - limit + 1), last];
}

export function editsJson(message: Message): Json {
  const earlier = versionOf(message).deleted_at === null ? message.versions.slice(0, -1) : [];
  const items = earlier.map(({ content, mentions, began_at }, index) => {
    return { version: index + 1, content, mentions, created_at: began_at };
  });
  return { items, next_cursor: null };
}

/** What an entry tells, of a message with the words of that version. */
export function entryData(model: Model, entry: Entry, version: number): Json {
  if (entry.told === null) return entry.data;
  const discussion = model.discussions.get(entry.discussion_id);
  const message = discussion?.messages[entry.told.seq - 1];
  const words = message?.versions[version];
  if (!discussion || !message || !words) throw new Error("an entry tells of a message that never was");
  return { message: messageJson(discussion, message, words, entry.told.reactions) };
}

/** A row of the log as it stands there now: nothing is left of discussions that were deleted. */
export function rowJson(model: Model, entry: Entry): Json {
  const { position, discussion_id, user_id, type, at, told } = entry;
  const discussion = model.discussions.get(discussion_id);
  if (discussion && discussion.deletedAt !== null && user_id === "")
    return { position, discussion_id, user_id, type: "event.erased", at, data: {} };
  const version = (told && discussion?.messages[told.seq - 1]?.versions.length) ?? 0;
  return { position, discussion_id, user_id, type, at, data: entryData(model, entry, version - 1) };
}

function titleOf(model: Model, { name, members }: Discussion, readerId: string): string {
  if (name !== null) return name;
  const display = (id: string) => {
    const person = model.person(id);
    return person.isErased ? "Deleted user" : person.display_name;
  };
  const others = members.filter(({ user_id }) => user_id !== readerId);
  if (others.length === 0) return `${display(readerId)} (you)`;
  return others.map(({ user_id }) => display(user_id)).join(", ");
}
