import type { LogEvent } from "../../sql/log.ts";
import { rewritingTypes } from "../events.ts";
import type { EncodedEvent } from "./encoding.ts";

/**
 * The newest stretch of the log, in memory and without holes: what a reconnecting client missed is nearly
 * always here. Bounded by number and by bytes.
 */
export class RecentEvents {
  readonly #mostEvents: number;
  readonly #mostBytes: number;
  #events: EncodedEvent[] = [];
  #first = 0;
  #bytes = 0;
  /** The discussion that was erased last. */
  #erased = "";

  constructor(mostEvents: number, mostBytes: number) {
    this.#mostEvents = mostEvents;
    this.#mostBytes = mostBytes;
  }

  /** Appends the event of the next position, and does to those before what it did to them in the database. */
  push(encoded: EncodedEvent): void {
    const { event } = encoded;
    // One event for each former member, all in a row.
    if (event.type === "discussion.deleted" && this.#erased !== event.discussion_id) {
      this.#erased = event.discussion_id;
      this.#erase(event.discussion_id);
    }
    if (rewritingTypes.has(event.type)) this.#rewrite(event);
    this.#events.push(encoded);
    this.#bytes += weight(encoded);
    while (this.#events.length - this.#first > this.#mostEvents || this.#bytes > this.#mostBytes)
      this.#shift();
    // Cut off in large steps: one cheap copy for thousands of events.
    if (this.#first > 1024 && this.#first * 2 > this.#events.length) {
      this.#events = this.#events.slice(this.#first);
      this.#first = 0;
    }
  }

  /** The events after a position; null if the next one is no longer, or not yet, here. */
  after(position: number): readonly EncodedEvent[] | null {
    const oldest = this.#events[this.#first]?.event.position;
    if (oldest === undefined || position < oldest - 1) return null;
    return this.#events.slice(this.#first + (position + 1 - oldest));
  }

  /** Of a deleted discussion: its text must not be replayed. */
  #erase(discussionId: string): void {
    for (let index = this.#first; index < this.#events.length; index++) {
      const encoded = this.#events[index];
      if (encoded?.event.discussion_id !== discussionId || encoded.event.user_id !== "") continue;
      const erased = encoded.withData("event.erased", "{}");
      this.#bytes += weight(erased) - weight(encoded);
      this.#events[index] = erased;
    }
  }

  /** Events that told of a message which was edited or deleted tell it as it is now, with their reactions. */
  #rewrite(change: LogEvent): void {
    const prefix = prefixOf(change);
    // Alike in all of them but for the reactions.
    let told = change.type === "message.updated" ? cut(change.data) : null;
    for (let index = this.#first; index < this.#events.length; index++) {
      const encoded = this.#events[index];
      if (!encoded?.event.data.startsWith(prefix)) continue;
      const { type, data } = encoded.event;
      told ??= cut(toTombstone(data, change));
      const rewritten = encoded.withData(type, told.before + cut(data).reactions + told.after);
      this.#bytes += weight(rewritten) - weight(encoded);
      this.#events[index] = rewritten;
    }
  }

  clear(): void {
    this.#events = [];
    this.#erased = "";
    this.#first = 0;
    this.#bytes = 0;
  }

  #shift(): void {
    const oldest = this.#events[this.#first];
    if (oldest) this.#bytes -= weight(oldest);
    (this.#events as unknown[])[this.#first] = undefined;
    this.#first++;
  }
}

/** How the events of a changed message begin; see message_json() in sql/functions. */
function prefixOf({ discussion_id, data }: LogEvent): string {
  const { message, seq } = JSON.parse(data);
  return `{"message":{"discussion_id":"${discussion_id}","seq":${message?.seq ?? seq},`;
}

/** Cuts what tells of a message at its reactions. In texts, quotation marks have a backslash before them. */
function cut(data: string): { before: string; reactions: string; after: string } {
  const from = data.lastIndexOf('"reactions":') + '"reactions":'.length;
  const to = data.lastIndexOf(',"created_at":"');
  return { before: data.slice(0, from), reactions: data.slice(from, to), after: data.slice(to) };
}

function toTombstone(data: string, deletion: LogEvent): string {
  const { deleted_at } = JSON.parse(deletion.data);
  return JSON.stringify({
    message: { ...JSON.parse(data).message, content: "", attachments: [], deleted_at },
  });
}

/** Bytes in memory, about: the text, its encodings as SSE and as a frame, and what belongs to them. */
function weight(encoded: EncodedEvent): number {
  return 3 * encoded.event.data.length + 512;
}
