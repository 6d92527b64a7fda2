import assert from "node:assert/strict";
import type { Client, Json } from "../support/client.ts";

/**
 * A client's state, as the contract lets one keep it: loaded once with its cursors, and from then on changed
 * by events alone. Only a discussion that one is added to is loaded again, as its past is in no event.
 */
export class State {
  readonly client: Client;
  readonly rooms = new Map<string, Room>();
  cursor = "";

  constructor(client: Client) {
    this.client = client;
  }

  /** Another state at the same point, to go on from there later. */
  copy(): State {
    const other = new State(this.client);
    other.cursor = this.cursor;
    for (const [id, room] of this.rooms) other.rooms.set(id, structuredClone(room));
    return other;
  }
}

interface Room {
  facts: Json;
  members: Map<string, Json>;
  messages: Map<number, Json>;
  /** Up to where in the log each half is loaded: events until there are in it already. */
  factsAt: number;
  messagesAt: number;
}

export async function loadState(client: Client): Promise<State> {
  const state = new State(client);
  const { items, cursor, next_cursor } = await client.ok("GET", "/discussions?limit=200");
  assert.equal(next_cursor, null);
  state.cursor = cursor;
  for (const discussion of items) await addRoom(state, discussion, cursor);
  return state;
}

/** Applies what a stream received, in its order, control and signals left out. */
export async function applyAll(state: State, received: readonly Json[]): Promise<void> {
  for (const event of received) {
    assert.notEqual(event.type, "reset", "nothing was pruned");
    if (event.cursor === undefined) continue;
    if (event.type !== "ready") await applyEvent(state, event);
    state.cursor = event.cursor;
  }
}

/**
 * The state in a form to compare: without cursors, in a fixed order, and with what the contract derives: the
 * unread count, one's role, the last message.
 */
function describe(state: State): Json {
  const me = state.client.user.id;
  const rooms = [...state.rooms].map(([id, { facts, members, messages }]) => {
    const sorted = [...messages.values()].sort((a, b) => a.seq - b.seq);
    const mark = members.get(me)?.last_read_seq;
    const unread = sorted.filter((m) => m.seq > mark && m.sender_id !== me && m.deleted_at === null);
    return [
      id,
      describeRoom(facts, [...members.values()], sorted, {
        member_count: members.size,
        last_seq: sorted.at(-1)?.seq ?? 0,
        unread_count: unread.length,
        my_role: members.get(me)?.role,
      }),
    ];
  });
  return Object.fromEntries(rooms.sort());
}

/** That the state, after its events, is what one gets who asks now. */
export async function assertFresh(state: State, hint: string): Promise<void> {
  assert.deepEqual(describe(state), await fetchDescription(state.client), hint);
}

/** The same, fetched anew. */
async function fetchDescription(client: Client): Promise<Json> {
  const { items } = await client.ok("GET", "/discussions?limit=200");
  const rooms = [];
  for (const discussion of items) {
    const { items: messages } = await client.ok("GET", `/discussions/${discussion.id}/messages?limit=200`);
    const { member_count, last_seq, unread_count, my_role } = discussion;
    const shown = { member_count, last_seq, unread_count, my_role };
    rooms.push([discussion.id, describeRoom(discussion, discussion.members, messages, shown)]);
  }
  return Object.fromEntries(rooms.sort());
}

/**
 * The event's position in the log. Clients need not know it: they could as well open the stream of each
 * discussion from its own cursor.
 */
function positionOf(cursor: string): number {
  return Number(cursor.split(".")[1]);
}

async function applyEvent(state: State, event: Json): Promise<void> {
  const { type, discussion_id: id } = event;
  const position = positionOf(event.cursor);
  if (type === "discussion.created") return createRoom(state, event);
  if (type === "member.added" && event.member.user_id === state.client.user.id) {
    if (!state.rooms.has(id)) await loadRoom(state, id);
  }
  const room = state.rooms.get(id);
  if (!room) return;
  if (position > room.factsAt) {
    if (type === "discussion.deleted") state.rooms.delete(id);
    if (type === "member.removed" && event.user_id === state.client.user.id) state.rooms.delete(id);
    applyToFacts(room, event);
  }
  if (position > room.messagesAt) applyToMessages(room, event);
}

function createRoom(state: State, event: Json): void {
  if (state.rooms.has(event.discussion_id)) return;
  const at = positionOf(event.cursor);
  const { discussion } = event;
  const members = new Map<string, Json>(discussion.members.map((member: Json) => [member.user_id, member]));
  const room = { facts: discussion, members, messages: new Map(), factsAt: at, messagesAt: at };
  state.rooms.set(event.discussion_id, room);
}

/** Loads a discussion that one was added to; one may have been removed again since. */
async function loadRoom(state: State, id: string): Promise<void> {
  const answer = await state.client.call("GET", `/discussions/${id}`);
  if (answer.status !== 200 || answer.body.my_role === null) return;
  await addRoom(state, answer.body, answer.body.cursor);
}

async function addRoom(state: State, discussion: Json, cursor: string): Promise<void> {
  const answer = await state.client.call("GET", `/discussions/${discussion.id}/messages?limit=200`);
  if (answer.status !== 200) return;
  const { items, has_before, cursor: messagesCursor } = answer.body;
  assert.equal(has_before, false, "the test loads whole histories");
  state.rooms.set(discussion.id, {
    facts: discussion,
    members: new Map(discussion.members.map((member: Json) => [member.user_id, member])),
    messages: new Map(items.map((message: Json) => [message.seq, message])),
    factsAt: positionOf(cursor),
    messagesAt: positionOf(messagesCursor),
  });
}

function applyToFacts(room: Room, event: Json): void {
  const { facts, members } = room;
  switch (event.type) {
    case "discussion.updated":
      room.facts = { ...facts, ...event.discussion };
      room.members = new Map(event.discussion.members.map((member: Json) => [member.user_id, member]));
      break;
    case "member.added":
    case "member.updated":
      members.set(event.member.user_id, event.member);
      break;
    case "member.removed":
      members.delete(event.user_id);
      break;
    case "read.updated":
      mark(members, event.user_id, event.last_read_seq);
      break;
    case "message.new":
      // Sending marks one's own message as read.
      mark(members, event.message.sender_id, event.message.seq);
  }
}

function mark(members: Map<string, Json>, userId: string, seq: number): void {
  const member = members.get(userId);
  if (member) members.set(userId, { ...member, last_read_seq: Math.max(member.last_read_seq, seq) });
}

/** What is told of a message that never came is no harm here: whatever is missing shows in the comparison. */
function applyToMessages({ messages }: Room, event: Json): void {
  const message = messages.get(event.seq);
  if (event.seq !== undefined && !message) return;
  switch (event.type) {
    case "message.new":
      assert.ok(!messages.has(event.message.seq), `message ${event.message.seq} came twice`);
      messages.set(event.message.seq, event.message);
      break;
    case "message.updated":
      messages.set(event.message.seq, event.message);
      break;
    case "message.deleted":
      messages.set(event.seq, { ...message, content: "", deleted_at: event.deleted_at });
      break;
    case "reaction.added":
    case "reaction.removed":
      messages.set(event.seq, { ...message, reactions: react(message.reactions, event) });
  }
}

/** Adding twice changes nothing: a replayed message may have its reactions already. */
function react(reactions: readonly Json[], { type, emoji, user_id }: Json): Json[] {
  const users = reactions.find((kind) => kind.emoji === emoji)?.user_ids ?? [];
  const others = users.filter((id: string) => id !== user_id);
  const user_ids = type === "reaction.added" ? [...others, user_id] : others;
  const rest = reactions.filter((kind) => kind.emoji !== emoji);
  return user_ids.length > 0 ? [...rest, { emoji, user_ids }] : rest;
}

function describeRoom(facts: Json, members: Json[], messages: Json[], derived: object): Json {
  const { id, kind, name, visibility, created_by, created_at } = facts;
  return {
    ...{ id, kind, name, visibility, created_by, created_at, ...derived },
    members: [...members].sort((a, b) => (a.user_id < b.user_id ? -1 : 1)),
    messages: messages.map(describeMessage),
  };
}

/** Of a deleted message, what the contract promises of it; of others all, the reactions in a fixed order. */
function describeMessage(message: Json): Json {
  const { discussion_id, seq, sender_id, content, created_at, deleted_at, reply_to_seq } = message;
  if (deleted_at !== null)
    return { discussion_id, seq, sender_id, content, created_at, deleted_at, reply_to_seq };
  const reactions = message.reactions
    .map(({ emoji, user_ids }: Json) => ({ emoji, user_ids: [...user_ids].sort() }))
    .sort((a: Json, b: Json) => (a.emoji < b.emoji ? -1 : 1));
  return { ...message, reactions };
}
