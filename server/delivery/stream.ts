import type { Closing } from "../errors.ts";
import type { ResetReason } from "../events.ts";
import {
  internalTypes,
  joiningTypes,
  leavingTypes,
  privateTypes,
  readyEvent,
  resetEvent,
} from "../events.ts";
import { limits } from "../limits.ts";
import { type EncodedEvent, encodeFrame, encodeSse, type Format, pingFrame } from "./encoding.ts";
import { flushSoon, joinPieces } from "./flush.ts";
import type { Signal } from "./signals.ts";

/** A connection as its stream sees it: bytes go in, and it says how many it still holds. */
export interface Wire {
  readonly format: Format;
  write(bytes: Buffer): void;
  /** Bytes written and not yet taken by the operating system. */
  buffered(): number;
  /** Resolves when there is room again, or nothing will be read any more. */
  drained(): Promise<void>;
  /** Names its TCP connection, if only TCP tells of its end; see connectionName(). Null while it has none. */
  connection(): string | null;
  /** Tells the client why, lets what is buffered go out, and frees everything within a bounded time. */
  close(closing: Closing): void;
  /** Frees everything at once. */
  cut(): void;
}

/** For whom a stream is, and what it shows: one discussion, or all of the user's (null). */
export interface StreamOwner {
  userId: string;
  sessionId: string;
  /** Milliseconds, as of Date. */
  sessionExpiresAt: number;
  discussionId: string | null;
  /** The newest position when the right to the stream was checked, and of which history. */
  authorizedAt: number;
  epoch: string;
}

/** Where a stream begins. */
export interface StreamStart {
  position: number;
  /** Of which discussions the user was a member there. */
  discussionIds: readonly string[];
  /** Of which the user no longer is one, and where that ended; null: none. */
  left: Map<string, Leaving> | null;
}

/** The newest end of a membership. */
export interface Leaving {
  position: number;
  /** RFC 3339, UTC, milliseconds. */
  at: string;
}

/**
 * One subscription to the log. It is shown every event after its position, by the replay and then by the hub,
 * and decides what its client hears: all the logic of membership is here, so replay and live cannot differ.
 */
export class Stream {
  readonly owner: StreamOwner;
  readonly #wire: Wire;
  /** Of which discussions the user is a member at `position`. */
  readonly discussions = new Set<string>();
  /** Whether the hub shows it every event: its replay is over. */
  isLive = false;
  #left: Map<string, Leaving> | null;
  #position: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #ending: Closing | "gone" | undefined;
  #isHeard = true;

  constructor(owner: StreamOwner, wire: Wire, start: StreamStart) {
    this.#left = start.left;
    this.owner = owner;
    this.#wire = wire;
    this.#position = start.position;
    for (const discussionId of start.discussionIds) this.discussions.add(discussionId);
  }

  get position(): number {
    return this.#position;
  }

  get isClosed(): boolean {
    return this.#ending !== undefined;
  }

  /** Why it ended, if it has; "gone" if its client went away. */
  get ending(): Closing | "gone" | undefined {
    return this.#ending;
  }

  get format(): Format {
    return this.#wire.format;
  }

  /** Whether this stream shows that discussion whenever its user is a member. */
  covers(discussionId: string): boolean {
    return this.owner.discussionId === null || this.owner.discussionId === discussionId;
  }

  /**
   * Shows the stream an event of the log; positions rise. What is not for its client only moves the position.
   */
  offer(encoded: EncodedEvent): void {
    const { position, discussion_id, user_id, type } = encoded.event;
    if (position <= this.#position || this.#ending !== undefined) return;
    this.#position = position;
    if (user_id === this.owner.userId) {
      this.#offerPersonal(encoded);
      return;
    }
    if (!this.discussions.has(discussion_id)) return;
    if (internalTypes.has(type) || (user_id !== "" && privateTypes.has(type))) return;
    if (this.#left !== null && isEditedSince(this.#left.get(discussion_id), encoded)) return;
    this.#push(encoded.bytes(this.#wire.format));
  }

  /**
   * Shows the stream a signal, unless its client is behind in reading or very much came in this turn: what is
   * left unread of signals must never be the reason to close it.
   */
  offerSignal(signal: Signal): void {
    if (this.#wire.buffered() > 0 || this.#pendingBytes > limits.signalBytes) return;
    this.#push(signal.bytes(this.#wire.format));
  }

  /** What follows up to this position is not for this stream. */
  skipTo(position: number): void {
    this.#position = Math.max(this.#position, position);
  }

  /** The replay is over; live events follow. */
  ready(epoch: string): void {
    const cursor = `${epoch}.${this.#position}`;
    this.#control("ready", cursor, readyEvent(cursor));
  }

  /** The client's cursor leads nowhere: it has to load its state anew and goes on from here. */
  reset(epoch: string, reason: ResetReason): void {
    const cursor = `${epoch}.${this.#position}`;
    this.#control("reset", cursor, resetEvent(cursor, reason));
  }

  /** Sends an answer to a frame of the client; sockets only. */
  answer(json: string): void {
    this.#push(encodeFrame(json));
  }

  /** Sends bytes that belong to no event, such as a heartbeat. */
  sendRaw(bytes: Buffer): void {
    this.#push(bytes);
  }

  /** The client gave a sign of life. */
  heard(): void {
    this.#isHeard = true;
  }

  /** Asks for a sign of life; sockets only. A client that gave none since the last time is gone. */
  ping(): void {
    if (this.isClosed) return;
    if (this.#isHeard) {
      this.#isHeard = false;
      this.#push(pingFrame);
    } else {
      this.end();
      this.#wire.cut();
    }
  }

  /** Cuts the stream off if its connection is one of these. */
  cutIfAmong(connections: ReadonlySet<string>): boolean {
    const connection = this.#wire.connection();
    if (this.isClosed || connection === null || !connections.has(connection)) return false;
    this.end();
    this.#wire.cut();
    return true;
  }

  /** What was pushed and not yet written. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Writes what is pending, and tells whether the client is behind in reading. */
  isCongested(): boolean {
    this.flush();
    return this.#wire.buffered() > limits.outboxBytes / 4;
  }

  drained(): Promise<void> {
    return this.#wire.drained();
  }

  close(closing: Closing): void {
    if (this.isClosed) return;
    this.flush();
    this.#end(closing);
  }

  /** The connection is gone: nothing more can be said. */
  end(ending: Closing | "gone" = "gone"): void {
    this.#ending ??= ending;
    this.#pending = [];
    this.#pendingBytes = 0;
  }

  /**
   * Writes what is pending in one piece. A stream whose client has left too much of what was written before
   * is closed instead: what comes in one turn, however large, is no sign of slowness.
   */
  flush(): void {
    const pending = this.#pending;
    if (pending.length === 0 || this.isClosed) return;
    this.#pending = [];
    this.#pendingBytes = 0;
    if (this.#wire.buffered() > limits.outboxBytes) this.#end("too_slow");
    else this.#wire.write(joinPieces(pending));
  }

  /**
   * Tells a stream that is still replaying of an event that concerns its user and that it would meet later.
   */
  foresee(encoded: EncodedEvent): void {
    this.endIfOver(encoded);
    const { position, discussion_id, type, at } = encoded.event;
    if (position <= this.owner.authorizedAt) return;
    if (joiningTypes.has(type)) this.#forgetLeaving(encoded);
    if (!leavingTypes.has(type)) return;
    this.#left ??= new Map();
    this.#left.set(discussion_id, { position, at });
  }

  /**
   * Ends the stream at once if an event takes the right to it away: also while it is still replaying, which
   * would meet that event only later. A removal before the right was checked was undone by a later joining.
   */
  endIfOver({ event }: EncodedEvent): void {
    const { position, discussion_id, user_id, type, data } = event;
    if (user_id !== this.owner.userId || position <= this.owner.authorizedAt) return;
    if (type === "session.revoked" && data.includes(this.owner.sessionId)) this.close("session_revoked");
    if (leavingTypes.has(type) && discussion_id === this.owner.discussionId) this.close("not_a_member");
  }

  #offerPersonal(encoded: EncodedEvent): void {
    const { discussion_id, type } = encoded.event;
    if (discussion_id === "") this.endIfOver(encoded);
    if (!this.covers(discussion_id)) return;
    if (joiningTypes.has(type)) {
      this.discussions.add(discussion_id);
      this.#forgetLeaving(encoded);
    }
    if (!this.discussions.has(discussion_id)) return;
    if (!internalTypes.has(type)) this.#push(encoded.bytes(this.#wire.format));
    if (!leavingTypes.has(type)) return;
    this.discussions.delete(discussion_id);
    this.endIfOver(encoded);
  }

  /** A joining after the newest leaving: a member is told messages as they are. */
  #forgetLeaving({ event: { position, discussion_id } }: EncodedEvent): void {
    const left = this.#left?.get(discussion_id);
    if (left && position > left.position) this.#left?.delete(discussion_id);
  }

  #end(closing: Closing): void {
    if (this.isClosed) return;
    this.end(closing);
    this.#wire.close(closing);
  }

  #control(type: string, cursor: string, json: string): void {
    this.#push(this.#wire.format === "sse" ? encodeSse(type, cursor, json) : encodeFrame(json));
  }

  #push(bytes: Buffer): void {
    if (this.#ending !== undefined) return;
    if (this.#pending.length === 0) flushSoon(this);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
  }
}

/**
 * The log tells messages as they are now. What somebody wrote into one after the membership ended is nothing
 * for the former member, who is told of the time before.
 */
function isEditedSince(left: Leaving | undefined, { event }: EncodedEvent): boolean {
  if (left === undefined || !event.data.startsWith('{"message":')) return false;
  const [, editedAt] = /"edited_at":"([^"]+)"/.exec(event.data) ?? [];
  return editedAt !== undefined && editedAt >= left.at;
}
