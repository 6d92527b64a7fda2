import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client, Json } from "../support/client.ts";
import { openTestStream, type StreamKind, type TestStream } from "../support/streams.ts";

/**
 * A client as the contract wants it: it knows a discussion's messages, follows its stream, comes back with
 * its last cursor whenever the stream ends, and loads the messages anew at a reset.
 */
export class Follower {
  readonly #kind: StreamKind;
  readonly #client: Client;
  readonly #discussionId: string;
  #stream: TestStream | undefined;
  #isStopped = false;
  #running: Promise<void> = Promise.resolve();
  /** Contents by seq. */
  readonly known = new Map<number, string>();
  /** Of the messages that were told since the last load: each comes once, and in its order. */
  #highest = 0;
  readonly resets: string[] = [];
  cursor = "";

  constructor(kind: StreamKind, client: Client, discussionId: string) {
    this.#kind = kind;
    this.#client = client;
    this.#discussionId = discussionId;
  }

  async load(): Promise<void> {
    const { items, cursor } = await this.#client.ok(
      "GET",
      `/discussions/${this.#discussionId}/messages?limit=200`,
    );
    this.known.clear();
    this.#highest = 0;
    for (const { seq, content } of items) this.known.set(seq, content);
    this.cursor = cursor;
  }

  /** Follows until pause(). */
  follow(): void {
    this.#isStopped = false;
    this.#running = this.#follow();
    this.#running.catch(() => {}); // Told by pause().
  }

  /** Goes away with what it knows. Throws what went wrong while it followed. */
  async pause(): Promise<void> {
    this.#isStopped = true;
    this.#stream?.cut();
    await this.#running;
  }

  async #follow(): Promise<void> {
    while (!this.#isStopped) {
      const stream = await openTestStream(this.#kind, this.#client, { since: this.cursor }).catch(() => null);
      if (stream) await this.#read(stream);
      await sleep(50);
    }
  }

  async #read(stream: TestStream): Promise<void> {
    this.#stream = stream;
    let read = 0;
    while (!this.#isStopped) {
      const event = stream.received[read++];
      if (event) await this.#take(event);
      else if (stream.ended() !== undefined) return;
      else {
        read--;
        await sleep(10);
      }
    }
    stream.cut();
  }

  async #take({ type, cursor, reason, message }: Json): Promise<void> {
    if (cursor) this.cursor = cursor;
    if (type === "message.new") {
      const { seq, content } = message;
      assert.ok(seq > this.#highest, `${seq} was told after ${this.#highest}`);
      this.#highest = seq;
      this.known.set(seq, content);
    }
    if (type !== "reset") return;
    this.resets.push(reason);
    // Until it succeeds: the server may be gone again.
    while (!this.#isStopped) {
      const isLoaded = await this.load().then(
        () => true,
        () => false,
      );
      // What came on the stream since the reset is in what was loaded, or follows.
      this.cursor = cursor;
      if (isLoaded) return;
      await sleep(50);
    }
  }

  /** Knows exactly what there is. */
  assertExact(stored: readonly Json[]): void {
    assert.deepEqual(
      [...this.known].sort(([a], [b]) => a - b),
      stored.map(({ seq, content }) => [seq, content]),
    );
  }
}
