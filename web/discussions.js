import * as api from "./api.js";
import { reduceMessage } from "./messages.js";

const MOST_UNREAD = 1000;
const MOST_MEMBERS_LISTED = 100;

/**
 * One's discussions: the state of one answer of `GET /discussions`, moved on by the events after its cursor.
 *
 * Some pages are read later than the first one, so an event may tell what is known already. Every reducer
 * therefore may be applied twice: messages count once by `seq`, members are a set, reading never moves back.
 */
export class Discussions {
  #byId = new Map();
  #me;
  #changed;

  constructor(me, changed) {
    this.#me = me;
    this.#changed = changed;
  }

  replace(items) {
    this.#byId.clear();
    this.add(items);
  }

  /** A later page of the list. */
  add(items) {
    for (const item of items) if (!this.#byId.has(item.id)) this.#byId.set(item.id, item);
    this.#changed();
  }

  /** Takes an answer of the server for the newer truth, unless events have already gone past it. */
  put(discussion) {
    const known = this.#byId.get(discussion.id);
    if (known && known.last_seq > discussion.last_seq) return known;
    this.#byId.set(discussion.id, discussion);
    this.#changed(discussion.id);
    return discussion;
  }

  get(id) {
    return this.#byId.get(id);
  }

  /** Latest activity first, as the server lists them. */
  list() {
    return [...this.#byId.values()].sort((a, b) => (activity(a) < activity(b) ? 1 : -1));
  }

  /** How many discussions wait to be read; muted ones do not. */
  unread() {
    return this.list().filter((discussion) => discussion.unread_count > 0 && !isMuted(discussion)).length;
  }

  /** Fetches one; null when it is gone, or when one is not a member. */
  async load(id) {
    try {
      const discussion = await api.discussion(id);
      return discussion.my_role ? this.put(discussion) : null;
    } catch (problem) {
      if (problem.status === 404 || problem.status === 400) return null;
      throw problem;
    }
  }

  /** Call for one event after the other; rejects when something needed could not be fetched. */
  async apply(event) {
    const { discussion_id: id, type } = event;
    const discussion = this.#byId.get(id);
    if (type === "discussion.deleted" || (type === "member.removed" && event.user_id === this.#me)) {
      this.#byId.delete(id);
    } else if (!discussion) {
      await this.load(id);
    } else {
      const enough = reducers[type]?.(discussion, event, this.#me) ?? true;
      if (!enough) await this.load(id);
    }
    this.#changed(id);
  }

  /** No event tells of it: a mute is between a person and the server. */
  mute(id, until) {
    const discussion = this.#byId.get(id);
    if (discussion) discussion.muted_until = until;
    this.#changed(id);
  }

  /** Shown as read at once; the log will say the same. */
  read(id) {
    const discussion = this.#byId.get(id);
    if (!discussion || discussion.unread_count === 0) return;
    discussion.unread_count = 0;
    this.#changed(id);
  }
}

export function isMuted({ muted_until }) {
  return Date.parse(muted_until) > Date.now();
}

function activity(discussion) {
  return discussion.last_message?.created_at ?? discussion.created_at;
}

function updateLast(discussion, event) {
  const last = discussion.last_message;
  if (last?.seq === (event.seq ?? event.message.seq)) discussion.last_message = reduceMessage(last, event);
  return true;
}

/**
 * Each answers false when the event alone does not tell the new state, so that the discussion is fetched
 * again.
 */
const reducers = {
  /** Who writes has read all before it; no `read.updated` tells that. */
  "message.new"(discussion, { message }, me) {
    if (message.seq <= discussion.last_seq) return true;
    discussion.last_seq = message.seq;
    discussion.last_message = message;
    const sender = discussion.members.find(({ user_id }) => user_id === message.sender_id);
    if (sender) sender.last_read_seq = message.seq;
    if (message.sender_id === me) discussion.unread_count = 0;
    else if (!message.deleted_at)
      discussion.unread_count = Math.min(discussion.unread_count + 1, MOST_UNREAD);
    return true;
  },

  "message.updated": updateLast,
  "reaction.added": updateLast,
  "reaction.removed": updateLast,

  /** Whether it counted as unread depends on its sender, whom the event does not name. */
  "message.deleted"(discussion, event, me) {
    updateLast(discussion, event);
    const mine = discussion.members.find(({ user_id }) => user_id === me);
    return discussion.unread_count === 0 || event.seq <= (mine?.last_read_seq ?? 0);
  },

  "discussion.updated"(discussion, { discussion: changed }) {
    const { name, visibility, members, member_count } = changed;
    Object.assign(discussion, { name, visibility, members, member_count });
    if (name) discussion.title = name;
    return Boolean(name);
  },

  "member.added"(discussion, { member }) {
    const { members } = discussion;
    if (members.some(({ user_id }) => user_id === member.user_id)) return true;
    discussion.member_count++;
    if (members.length < MOST_MEMBERS_LISTED) members.push(member);
    return Boolean(discussion.name);
  },

  "member.updated"(discussion, { member }, me) {
    const index = discussion.members.findIndex(({ user_id }) => user_id === member.user_id);
    if (index >= 0) discussion.members[index] = member;
    if (member.user_id === me) discussion.my_role = member.role;
    return true;
  },

  "member.removed"(discussion, { user_id: gone }) {
    const rest = discussion.members.filter(({ user_id }) => user_id !== gone);
    if (rest.length === discussion.members.length && rest.length < MOST_MEMBERS_LISTED) return true;
    discussion.members = rest;
    discussion.member_count--;
    return Boolean(discussion.name);
  },

  "read.updated"(discussion, { user_id: reader, last_read_seq: seq }, me) {
    const member = discussion.members.find(({ user_id }) => user_id === reader);
    if (member) member.last_read_seq = Math.max(member.last_read_seq, seq);
    if (reader !== me || discussion.unread_count === 0) return true;
    if (seq >= discussion.last_seq) discussion.unread_count = 0;
    return discussion.unread_count === 0;
  },
};
