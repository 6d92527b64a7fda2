import type { Closing } from "../errors.ts";
import { joiningTypes, privateTypes } from "../events.ts";
import { limits } from "../limits.ts";
import type { EncodedEvent } from "./encoding.ts";
import type { Signal } from "./signals.ts";
import type { Stream } from "./stream.ts";

const heartbeat = Buffer.from(":\n\n");

/** Who is told of a person's first stream and of the end of the last. */
export interface Attendance {
  arrived(userId: string): void;
  left(userId: string): void;
}

/**
 * Who hears what: the live streams by discussion and by user. It follows the memberships in the log itself,
 * so a subscription changes at an exact position. No I/O but the streams' own writes.
 */
export class Hub {
  #streams = new Set<Stream>();
  #byDiscussion = new Map<string, Set<Stream>>();
  /** Arrays, as nearly every user has few streams, and a Set of one takes 150 bytes. */
  #byUser = new Map<string, readonly Stream[]>();
  /** How many streams are about to open, by user. */
  #expected = new Map<string, number>();
  #timers: NodeJS.Timeout[] = [];
  #draining: Closing | undefined;
  #shown = 0;
  #ended = new Map<string, number>();
  #attendance: Attendance | null = null;

  start(): void {
    this.#timers = [
      setInterval(() => this.#beat(), limits.sseHeartbeatMs),
      setInterval(() => this.#ping(), limits.socketPingMs),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** From now on it is told who comes and goes. */
  reportTo(attendance: Attendance): void {
    this.#attendance = attendance;
  }

  /** The people who have streams here. */
  users(): Iterable<string> {
    return this.#byUser.keys();
  }

  /** Counts a stream in, from its opening on. Before attach() it hears nothing, but may be ended. */
  add(stream: Stream): void {
    this.#streams.add(stream);
    const { userId } = stream.owner;
    const others = this.#byUser.get(userId);
    this.#byUser.set(userId, others ? [...others, stream] : [stream]);
    if (!others) this.#attendance?.arrived(userId);
    if (this.#draining) stream.close(this.#draining);
  }

  /**
   * From now on the stream is shown every event; it has seen all before. Call it in the turn of that check.
   */
  attach(stream: Stream): void {
    stream.isLive = true;
    for (const discussionId of stream.discussions) insert(this.#byDiscussion, discussionId, stream);
  }

  /** The stream's connection is gone. */
  remove(stream: Stream): void {
    stream.end();
    const ending = stream.ending ?? "gone";
    if (this.#streams.delete(stream)) this.#ended.set(ending, (this.#ended.get(ending) ?? 0) + 1);
    this.#removeFromUser(stream);
    for (const discussionId of stream.discussions) drop(this.#byDiscussion, discussionId, stream);
  }

  /** How many streams somebody has open here, or is about to. */
  streamsOf(userId: string): number {
    return (this.#byUser.get(userId)?.length ?? 0) + (this.#expected.get(userId) ?? 0);
  }

  /**
   * Counts a stream that is allowed to open, before it is there: others that ask at the same time find it
   * counted. Call what this gives once it was added, or will not come; more than once is once.
   */
  expect(userId: string): () => void {
    this.#expected.set(userId, (this.#expected.get(userId) ?? 0) + 1);
    let isExpected = true;
    return () => {
      if (!isExpected) return;
      isExpected = false;
      const left = (this.#expected.get(userId) ?? 1) - 1;
      if (left > 0) this.#expected.set(userId, left);
      else this.#expected.delete(userId);
    };
  }

  /**
   * What `/metrics` shows: streams open now by format, events shown to live streams since the start, and how
   * streams ended.
   */
  counts(): { open: Map<string, number>; shown: number; ended: ReadonlyMap<string, number> } {
    let sse = 0;
    for (const { format } of this.#streams) if (format === "sse") sse++;
    const open = new Map([
      ["sse", sse],
      ["websocket", this.#streams.size - sse],
    ]);
    return { open, shown: this.#shown, ended: this.#ended };
  }

  hasEventStreams(): boolean {
    for (const { format } of this.#streams) if (format === "sse") return true;
    return false;
  }

  /** Cuts off the event streams on these connections, and gives how many there were. */
  cutUnheard(connections: ReadonlySet<string>): number {
    if (connections.size === 0) return 0;
    let cut = 0;
    for (const stream of this.#streams) if (stream.cutIfAmong(connections)) cut++;
    return cut;
  }

  /** Shows events, in order, to the streams that they may concern. */
  dispatch(events: readonly EncodedEvent[]): void {
    for (const encoded of events) {
      if (encoded.event.user_id !== "") {
        this.#dispatchPersonal(encoded);
        continue;
      }
      const streams = this.#byDiscussion.get(encoded.event.discussion_id);
      if (!streams) continue;
      this.#shown += streams.size;
      for (const stream of streams) stream.offer(encoded);
    }
  }

  /**
   * Shows a signal to the live streams of these discussions, but not to those of whom it is about, nor to
   * those that heard it already.
   */
  show(signal: Signal, discussionIds: readonly string[], heard?: WeakSet<Stream>): void {
    for (const discussionId of discussionIds) {
      const streams = this.#byDiscussion.get(discussionId);
      if (!streams) continue;
      for (const stream of streams) {
        if (stream.owner.userId === signal.userId || heard?.has(stream)) continue;
        heard?.add(stream);
        stream.offerSignal(signal);
      }
    }
  }

  /** Ends all streams at once, so that their clients come back with their cursors. */
  closeAll(closing: Closing): void {
    for (const stream of this.#streams) stream.close(closing);
  }

  /**
   * Ends all streams in small batches over some time, in random order: their clients do not come back at
   * once.
   */
  async drain(closing: Closing, overMs: number): Promise<void> {
    this.#draining = closing;
    const streams = [...this.#streams].sort(() => Math.random() - 0.5);
    const stepMs = 50;
    const perStep = Math.ceil(streams.length / (overMs / stepMs));
    while (streams.length > 0) {
      for (const stream of streams.splice(0, perStep)) stream.close(closing);
      if (streams.length > 0)
        await new Promise((resolve) => setTimeout(resolve, stepMs * (0.5 + Math.random() / 2)));
    }
  }

  /** The sessions of open streams whose time, as far as is known here, is over. */
  overdueSessions(now: Date): string[] {
    const overdue = [...this.#streams].filter(({ owner }) => owner.sessionExpiresAt <= now.getTime());
    return [...new Set(overdue.map((stream) => stream.owner.sessionId))];
  }

  closeSessions(sessionIds: ReadonlySet<string>, closing: Closing): void {
    for (const stream of this.#streams) {
      if (sessionIds.has(stream.owner.sessionId)) stream.close(closing);
    }
  }

  /** An event that concerns a person by name may change what that person's streams are subscribed to. */
  #dispatchPersonal(encoded: EncodedEvent): void {
    const { discussion_id, user_id, type } = encoded.event;
    for (const stream of this.#byUser.get(user_id) ?? []) {
      if (!stream.isLive) {
        stream.foresee(encoded);
        continue;
      }
      if (joiningTypes.has(type) && stream.covers(discussion_id))
        insert(this.#byDiscussion, discussion_id, stream);
      this.#shown++;
      stream.offer(encoded);
      if (!stream.discussions.has(discussion_id)) drop(this.#byDiscussion, discussion_id, stream);
    }
    if (privateTypes.has(type)) return;
    const others = this.#byDiscussion.get(discussion_id);
    if (!others) return;
    this.#shown += others.size;
    for (const stream of others) if (stream.owner.userId !== user_id) stream.offer(encoded);
  }

  #removeFromUser(stream: Stream): void {
    const { userId } = stream.owner;
    const others = this.#byUser.get(userId)?.filter((other) => other !== stream) ?? [];
    if (others.length > 0) this.#byUser.set(userId, others);
    else if (this.#byUser.delete(userId)) this.#attendance?.left(userId);
  }

  #beat(): void {
    for (const stream of this.#streams) if (stream.format === "sse") stream.sendRaw(heartbeat);
  }

  #ping(): void {
    for (const stream of this.#streams) if (stream.format === "frame") stream.ping();
  }
}

function insert(index: Map<string, Set<Stream>>, key: string, stream: Stream): void {
  const streams = index.get(key);
  if (streams) streams.add(stream);
  else index.set(key, new Set([stream]));
}

function drop(index: Map<string, Set<Stream>>, key: string, stream: Stream): void {
  const streams = index.get(key);
  streams?.delete(stream);
  if (streams?.size === 0) index.delete(key);
}
