import type { Logger } from "pino";
import { presenceSignal, typingSignal } from "../events.ts";
import { encodeFrame, encodeSse, type Format } from "./encoding.ts";
import type { Hub } from "./hub.ts";
import type { Stream } from "./stream.ts";

/** What is true for a moment: told once, stored nowhere, and dropped where it would be in the way. */
export class Signal {
  readonly type: string;
  /** Whom it is about: that person's own streams do not hear it. */
  readonly userId: string;
  readonly json: string;
  #sse: Buffer | undefined;
  #frame: Buffer | undefined;

  constructor(type: string, userId: string, json: string) {
    this.type = type;
    this.userId = userId;
    this.json = json;
  }

  /** Made once per format, when first needed, and shared by all streams. */
  bytes(format: Format): Buffer {
    if (format === "sse") this.#sse ??= encodeSse(this.type, null, this.json);
    else this.#frame ??= encodeFrame(this.json);
    return (format === "sse" ? this.#sse : this.#frame) as Buffer;
  }
}

export interface SignalParts {
  hub: Hub;
  log: Logger;
  /** Null where presence is switched off: what others say of it is not even looked at. */
  presence: { onLeaving(): void } | null;
}

/**
 * Gives what takes the payloads of the channel `signals`: lines of words, made by sql/typing.ts and
 * sql/functions/10_presence.sql.
 *
 *     typing <user> <discussion>
 *     presence <user> online|offline <time or -> <discussion> <discussion> …
 *     leaving
 *
 * Whoever may connect to the database can NOTIFY: a line that is none of these is left out, with a warning.
 */
export function createSignalHearing({ hub, log, presence }: SignalParts): (payload: string) => void {
  // Who heard the last line. That of somebody with very many discussions goes on in the next.
  let told = "";
  let heard = new WeakSet<Stream>();

  function hear(line: string): void {
    const words = line.split(" ");
    if (words[0] === "typing") {
      const { userId, discussionIds } = readTyping(words);
      const json = typingSignal(userId, discussionIds[0] ?? "");
      hub.show(new Signal("typing", userId, json), discussionIds);
    } else if (presence && words[0] === "presence") {
      const { userId, status, at, discussionIds } = readPresence(words);
      const json = presenceSignal(userId, status, at);
      if (json !== told) heard = new WeakSet();
      told = json;
      hub.show(new Signal("presence", userId, json), discussionIds, heard);
    } else if (presence && line === "leaving") {
      presence.onLeaving();
    } else if (words[0] !== "presence" && line !== "leaving") {
      throw new Error("not a signal");
    }
  }

  return (payload) => {
    let problem: unknown;
    for (const line of payload.split("\n")) {
      try {
        hear(line);
      } catch (error) {
        problem = error;
      }
    }
    if (problem) log.warn({ err: problem }, "unreadable signal");
  };
}

const id = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

function readTyping([, userId, discussionId, ...more]: string[]) {
  if (more.length > 0) throw new Error("more than a typing");
  return { userId: readId(userId), discussionIds: [readId(discussionId)] };
}

function readPresence([, userId, status, at = "", ...discussionIds]: string[]) {
  if (status !== "online" && status !== "offline") throw new Error("not a status");
  if (at !== "-" && !time.test(at)) throw new Error("not a time");
  return {
    userId: readId(userId),
    status: status as "online" | "offline",
    at: at === "-" ? null : at,
    discussionIds: discussionIds.map(readId),
  };
}

function readId(word: string | undefined): string {
  if (word === undefined || !id.test(word)) throw new Error("not an id");
  return word;
}
