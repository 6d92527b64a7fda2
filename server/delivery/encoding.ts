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

  /** What is left in the log of this event after its discussion was deleted. */
  erased(): EncodedEvent {
    return new EncodedEvent(this.#epoch, { ...this.event, type: "event.erased", data: "{}" });
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
  const length = Buffer.byteLength(json);
  const headerLength = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(headerLength + length);
  frame[0] = 0x81;
  if (headerLength === 2) {
    frame[1] = length;
  } else if (headerLength === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.write(json, headerLength);
  return frame;
}
