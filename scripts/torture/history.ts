/**
 * What is written down while the server is tormented: what writers were promised, and what subscribers got.
 * With what Postgres holds in the end (truth.ts) it is all that the checker knows.
 */
import type { Json } from "../../tests/support/client.ts";

/** Instead of a hash: the text of a message that was deleted. */
export const emptied = "emptied";

/** Something that a writer asked for. Its contents are all that the message may ever have said. */
export interface Attempt {
  writer: string;
  /** Rises by one with each message of a writer. */
  number: number;
  discussion_id: string;
  client_id: string;
  /** Hashes of the text that was sent, and of each edit, whether answered or not. */
  hashes: string[];
  /** Of the newest text that was acknowledged; `emptied` once a deletion was. */
  acknowledged: string | null;
  /** What the answer said; null while there was none. */
  seq: number | null;
  /** Of which history that answer was: 0, and one more after each backup that was restored. */
  era: number;
}

/** A durable event as a subscriber got it. */
export interface Heard {
  kind: "event";
  /** `<epoch>.<position>` */
  cursor: string;
  type: string;
  discussion_id: string;
  /** Of the message that it tells of; null if of none. */
  seq: number | null;
  /** Of the message's text, where the event brings it. */
  hash: string | null;
  /** Whom and what else it, or its message, tells of; see aboutOf(). */
  about: string;
}

/** What a stream says of itself, and that it was opened. A `reset` begins a new stretch. */
export interface Control {
  kind: "opened" | "ready" | "reset";
  cursor: string;
  reason?: string;
}

/** One subscription over all its connections. */
export interface Subscription {
  name: string;
  user_id: string;
  /** Null: all of the user's discussions. */
  discussion_id: string | null;
  /** The cursor with which it began. */
  since: string;
  heard: (Heard | Control)[];
  /** How often it was connected. */
  connections: number;
  /** The close code after which it did not come back; null if it was there to the end. */
  over: number | null;
  /** The run ended before it could hear the rest. */
  isBrokenOff?: boolean;
  /** Answers and frames that the contract does not know. */
  faults: string[];
}

export interface History {
  attempts: Attempt[];
  subscriptions: Subscription[];
}

/** One position of the log, as Postgres holds it. */
export interface LogRow {
  position: number;
  discussion_id: string;
  /** Empty, or the person whom the event concerns by name. */
  user_id: string;
  type: string;
  seq: number | null;
  about: string;
}

export interface StoredMessage {
  discussion_id: string;
  seq: number;
  client_id: string | null;
  /** Hashes of all its versions; the last one is what it says now. */
  hashes: string[];
  is_deleted: boolean;
  about: string;
}

/**
 * What Postgres holds of one history, of which the log is whole, also where Postgres has forgotten its
 * beginning. A restored backup ends a history and begins another one.
 */
export interface Truth {
  epoch: string;
  log: LogRow[];
  messages: StoredMessage[];
  /** Up to these positions Postgres forgot the log, one after the other: cursors before them expired. */
  prunes: readonly number[];
  /** Up to this position it is one with the history before it; 0 of the first. */
  keptTo: number;
}

/** Whom and what an event, or a message, tells of: not its whole, but what may not be mistaken. */
export function aboutOf(told: Json): string {
  const { member, emoji, last_read_seq, discussion, client_id } = told;
  const person = told.user_id ?? member?.user_id ?? told.sender_id;
  return JSON.stringify([person, member?.role, emoji, last_read_seq, discussion?.name, client_id]);
}
