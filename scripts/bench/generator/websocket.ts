import { randomBytes } from "node:crypto";

/** What a reader of frames hands on. Offsets are those of the payload. */
export interface FrameSink {
  text(data: Buffer, from: number, to: number): void;
  ping(data: Buffer): void;
  fail(reason: string): void;
}

const text = 1;
const close = 8;
const ping = 9;

/**
 * Reads the whole frames (RFC 6455, section 5.2) between two offsets and returns where the first one that is
 * not whole begins. Servers do not mask, and none here fragments.
 */
export function readFrames(data: Buffer, from: number, to: number, sink: FrameSink): number {
  let at = from;
  while (to - at >= 2) {
    let length = (data[at + 1] as number) & 127;
    let start = at + 2;
    if (length === 126) {
      if (to - at < 4) break;
      length = ((data[at + 2] as number) << 8) | (data[at + 3] as number);
      start = at + 4;
    } else if (length === 127) {
      if (to - at < 10) break;
      length = Number(data.readBigUInt64BE(at + 2));
      start = at + 10;
    }
    const end = start + length;
    if (end > to) break;
    const first = data[at] as number;
    if (first === (0x80 | text)) sink.text(data, start, end);
    else if (first === (0x80 | ping)) sink.ping(data.subarray(start, end));
    else if (first === (0x80 | close)) sink.fail(`closed with ${closeCode(data, start, end)}`);
    else sink.fail(`a frame that begins with ${first}`);
    at = end;
  }
  return at;
}

/** A masked text frame, as a client has to send it. */
export function writeFrame(payload: string): Buffer {
  return mask(0x80 | text, Buffer.from(payload));
}

export function writePong(payload: Buffer): Buffer {
  return mask(0x8a, payload);
}

export function upgradeHeaders(): Record<string, string> {
  return {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": randomBytes(16).toString("base64"),
  };
}

/** One key for all frames: unmasking costs the server the same with any but 0. */
const key = Buffer.from([0x6b, 0x1f, 0xd2, 0x94]);

function mask(firstByte: number, payload: Buffer): Buffer {
  const { length } = payload;
  const headLength = length < 126 ? 2 : 4;
  const frame = Buffer.allocUnsafe(headLength + 4 + length);
  frame[0] = firstByte;
  frame[1] = 0x80 | (length < 126 ? length : 126);
  if (headLength === 4) frame.writeUInt16BE(length, 2);
  frame.set(key, headLength);
  for (let at = 0; at < length; at++) {
    frame[headLength + 4 + at] = (payload[at] as number) ^ (key[at & 3] as number);
  }
  return frame;
}

function closeCode(data: Buffer, from: number, to: number): string {
  return to - from < 2 ? "no code" : `${data.readUInt16BE(from)} ${data.toString("utf8", from + 2, to)}`;
}
