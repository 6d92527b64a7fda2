import { readChunkHead } from "./http.ts";

const lineFeed = 0x0a;
const comment = 0x3a;
const none = Buffer.alloc(0);

/** Takes each event; `from` and `to` are the offsets of its text without the empty line at its end. */
export type EventSink = (data: Buffer, from: number, to: number) => void;

/**
 * Reads Server-Sent Events out of a body, chunked or not. Servers write whole events into whole chunks, so
 * the quick way is through one buffer; an event that is divided among chunks is put together first.
 */
export class SseReader {
  readonly #isChunked: boolean;
  readonly #sink: EventSink;
  /** What is left of the chunk that we are in, without its line end. */
  #left: number;
  #isAtLineEnd = false;
  #divided: Buffer = none;
  /** How long the last event was: the next one mostly is as long. */
  #length = 0;

  constructor(isChunked: boolean, sink: EventSink) {
    this.#isChunked = isChunked;
    this.#sink = sink;
    this.#left = isChunked ? 0 : Number.POSITIVE_INFINITY;
  }

  /** Reads between two offsets and returns where what it could not use yet begins. */
  read(data: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to) {
      if (this.#isAtLineEnd) {
        if (to - at < 2) return at;
        at += 2;
        this.#isAtLineEnd = false;
      } else if (this.#left === 0) {
        const chunk = readChunkHead(data, at, to);
        if (chunk === null) return at;
        this.#left = chunk.size;
        at = chunk.end;
      } else {
        const end = Math.min(to, at + this.#left);
        this.#body(data, at, end);
        this.#left -= end - at;
        at = end;
        this.#isAtLineEnd = this.#isChunked && this.#left === 0;
      }
    }
    return at;
  }

  #body(data: Buffer, from: number, to: number): void {
    if (this.#divided.length === 0) {
      const used = this.#events(data, from, to);
      if (used < to) this.#divided = Buffer.from(data.subarray(used, to));
      return;
    }
    const joined = Buffer.concat([this.#divided, data.subarray(from, to)]);
    const used = this.#events(joined, 0, joined.length);
    this.#divided = used < joined.length ? Buffer.from(joined.subarray(used)) : none;
  }

  #events(data: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to) {
      const end = this.#endOfEvent(data, at, to);
      if (end === -1) return at;
      this.#length = end - at;
      this.#sink(data, at, end);
      at = end + 2;
    }
    return at;
  }

  /** Where the empty line that ends an event begins; -1 if it is not there yet. */
  #endOfEvent(data: Buffer, at: number, to: number): number {
    const guess = at + this.#length;
    const isWorthIt = this.#length > 0 && guess + 2 <= to && data[at] !== comment;
    if (isWorthIt && data[guess] === lineFeed && data[guess + 1] === lineFeed) return guess;
    for (let line = data.indexOf(lineFeed, at); line !== -1 && line + 2 <= to; ) {
      if (data[line + 1] === lineFeed) return line;
      line = data.indexOf(lineFeed, line + 1);
    }
    return -1;
  }
}
