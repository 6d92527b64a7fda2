import type { LogEvent } from "../../sql/log.ts";

/** How bytes leave: as Server-Sent Events or as WebSocket frames. */
export type Format = "sse" | "frame";

/**
 * An event of the log with its bytes, which are made once per format, when first needed, and then shared by
 * all streams.
 */
export class EncodedEvent {
  readonly event: LogEvent;
  readonly #epoch: string;
  #sse: Buffer | undefined;
  #frame: Buffer | undefined;

  constructor(epoch: string, event: LogEvent) {
    this.#epoch = epoch;
    this.event = event;
  }

  bytes(format: Format): Buffer {
    if (format === "sse") this.#sse ??= encodeSse(this.event.type, this.#cursor(), this.#json());
    else this.#frame ??= encodeFrame(this.#json());
    return (format === "sse" ? this.#sse : this.#frame) as Buffer;
  }

  /** The event as the log tells it after its past was changed. */
  withData(type: string, data: string): EncodedEvent {
    return new EncodedEvent(this.#epoch, { ...this.event, type, data });
  }

  #cursor(): string {
    return `${this.#epoch}.${this.event.position}`;
  }

  /** The members of `data` follow the envelope's; it is JSON already and is not parsed. */
  #json(): string {
    const { type, discussion_id, at, data } = this.event;
    const place = `"cursor":"${this.#cursor()}","discussion_id":"${discussion_id}"`;
    const head = `{"type":"${type}",${place},"at":"${at}"`;
    return data === "{}" ? `${head}}` : `${head},${data.slice(1)}`;
  }
}

/** A Server-Sent Event. `json` has no raw line breaks, as JSON text escapes them; `cursor` becomes its id. */
export function encodeSse(type: string, cursor: string | null, json: string): Buffer {
  const id = cursor === null ? "" : `id: ${cursor}\n`;
  return Buffer.from(`event: ${type}\n${id}data: ${json}\n\n`);
}

/** An unmasked, unfragmented text frame (RFC 6455, section 5.2). */
export function encodeFrame(json: string): Buffer {
  return frame(0x81, Buffer.from(json));
}

export const pingFrame: Buffer = frame(0x89, Buffer.alloc(0));

/** The answer to a ping, with its data: at most 125 bytes. */
export function encodePong(data: Uint8Array): Buffer {
  return frame(0x8a, data);
}

function frame(firstByte: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const headerLength = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const bytes = Buffer.allocUnsafe(headerLength + length);
  bytes[0] = firstByte;
  if (headerLength === 2) {
    bytes[1] = length;
  } else if (headerLength === 4) {
    bytes[1] = 126;
    bytes.writeUInt16BE(length, 2);
  } else {
    bytes[1] = 127;
    bytes.writeBigUInt64BE(BigInt(length), 2);
  }
  bytes.set(payload, headerLength);
  return bytes;
}
