/**
 * The contract as a program of a few hundred lines that knows no database, no network and no two things at
 * once: people, discussions, messages, and the log of all that happened, with who may hear each of it. The
 * commands change it; tests/model/shapes.ts shows it as the wire does.
 */
import { type Times, timeToken } from "./match.ts";

export type Role = "owner" | "admin" | "member";
/** What somebody is to a discussion; null: there is nothing to see. */
export type Standing = Role | "visitor" | null;

export interface Person {
  id: string;
  name: string;
  username: string;
  display_name: string;
  created_at: string;
  isErased: boolean;
}

export interface Member {
  user_id: string;
  role: Role;
  joined_at: string;
  /** What was marked as read, or was said before the joining. */
  mark: number;
  muted_until: string | null;
}

/** What a message said from a position of the log on. */
export interface Version {
  position: number;
  content: string;
  mentions: string[];
  edited_at: string | null;
  /** Of the edit that `edited_at` tells of. */
  editedPosition: number;
  deleted_at: string | null;
  /** Since when it read so. */
  began_at: string;
}

export interface Reaction {
  emoji: string;
  user_ids: string[];
}

export interface Message {
  seq: number;
  sender_id: string;
  client_id: string | null;
  reply_to_seq: number | null;
  created_at: string;
  /** The last one is what it says now. */
  versions: Version[];
  reactions: Reaction[];
}

export interface Discussion {
  id: string;
  label: string;
  kind: "direct" | "group";
  name: string | null;
  visibility: "private" | "public";
  created_by: string;
  created_at: string;
  /** What makes another one the same; null: another one has it. */
  identity: string | null;
  members: Member[];
  messages: Message[];
  /** Where in the log it was deleted. */
  deletedAt: number | null;
}

/** One event of the log. */
export interface Entry {
  position: number;
  /** Of the step by which it came. */
  step: number;
  discussion_id: string;
  /** The one whom it concerns by name, or "". */
  user_id: string;
  type: string;
  at: string;
  /** Who hears it: who is a member then, or private to one, or nobody. */
  audience: string[];
  /** What it tells, but for the text of a message. */
  data: Record<string, unknown>;
  /** Of which message it tells all, with which reactions, and which version that was. */
  told: { seq: number; version: number; reactions: Reaction[] } | null;
}

type Draft = Pick<Entry, "discussion_id" | "type"> & Partial<Entry>;

export class Model {
  readonly epoch: string;
  /** The log's end before the first of our entries. */
  readonly start: number;
  people: Person[];
  discussions = new Map<string, Discussion>();
  log: Entry[] = [];
  /** `<blocker> <blocked>` */
  blocks = new Set<string>();
  times: Times = new Map();
  step = 0;
  #tokens = 0;

  constructor(epoch: string, start: number, people: Person[]) {
    this.epoch = epoch;
    this.start = start;
    this.people = people;
  }

  /** Another one, to try something on. Entries of the log never change. */
  copy(): Model {
    const other = new Model(this.epoch, this.start, structuredClone(this.people));
    other.discussions = structuredClone(this.discussions);
    other.log = [...this.log];
    other.blocks = new Set(this.blocks);
    other.times = new Map(this.times);
    other.step = this.step;
    other.#tokens = this.#tokens;
    return other;
  }

  /** The position of the newest entry. */
  get end(): number {
    return this.start + this.log.length;
  }

  get cursor(): string {
    return `${this.epoch}.${this.end}`;
  }

  /** A point in time that the server will tell. */
  time(): string {
    this.#tokens++;
    return timeToken(this.#tokens);
  }

  append(draft: Draft): Entry {
    const entry: Entry = {
      position: this.end + 1,
      step: this.step,
      user_id: "",
      at: this.time(),
      audience: this.find(draft.discussion_id)?.members.map(({ user_id }) => user_id) ?? [],
      data: {},
      told: null,
      ...draft,
    };
    this.log.push(entry);
    return entry;
  }

  person(id: string): Person {
    const person = this.people.find((one) => one.id === id);
    if (!person) throw new Error(`nobody is ${id}`);
    return person;
  }

  /** A discussion that is there. */
  find(id: string): Discussion | undefined {
    const discussion = this.discussions.get(id);
    return discussion && discussion.deletedAt === null ? discussion : undefined;
  }

  standing(id: string, userId: string): Standing {
    const discussion = this.find(id);
    if (!discussion) return null;
    return memberOf(discussion, userId)?.role ?? (discussion.visibility === "public" ? "visitor" : null);
  }

  discussionsOf(userId: string): Discussion[] {
    return [...this.discussions.values()].filter(
      (discussion) => discussion.deletedAt === null && memberOf(discussion, userId),
    );
  }

  /** Whether somebody is blocked by the other in their one-to-one discussion. */
  isBlocked(discussion: Discussion, userId: string): boolean {
    if (discussion.kind !== "direct") return false;
    return discussion.members.some((other) => this.blocks.has(`${other.user_id} ${userId}`));
  }
}

export function memberOf(discussion: Discussion, userId: string): Member | undefined {
  return discussion.members.find(({ user_id }) => user_id === userId);
}

export function messageOf(discussion: Discussion, seq: number): Message | undefined {
  return discussion.messages[seq - 1];
}

export function versionOf(message: Message): Version {
  const version = message.versions.at(-1);
  if (!version) throw new Error("a message says something");
  return version;
}

/** The number of the version that a message had at a position of the log. */
export function versionAt(message: Message, position: number): number {
  return message.versions.findLastIndex((version) => version.position <= position);
}

/** How far somebody has read: the mark, or one's own last message. */
export function lastReadSeq(discussion: Discussion, member: Member): number {
  const own = discussion.messages.findLast(({ sender_id }) => sender_id === member.user_id);
  return Math.max(member.mark, own?.seq ?? 0);
}

export function unreadCount(discussion: Discussion, member: Member): number {
  const read = lastReadSeq(discussion, member);
  return discussion.messages.filter(
    (message) =>
      message.seq > read && message.sender_id !== member.user_id && versionOf(message).deleted_at === null,
  ).length;
}
