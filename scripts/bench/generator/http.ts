/** The little of HTTP/1.1 that the generator speaks. */

const headEnd = Buffer.from("\r\n\r\n");

export interface ResponseHead {
  status: number;
  /** Of the body; null for a chunked one, Infinity for one that ends with its connection. */
  length: number | null;
  /** Where the body begins. */
  end: number;
}

export function writeRequest(
  method: string,
  path: string,
  headers: Record<string, string>,
  body: string = "",
): string {
  const all = { host: "localhost", ...headers, ...(body && { "content-length": String(body.length) }) };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
}

/** The head of a response that begins at an offset; null until all of it is there. */
export function readHead(data: Buffer, from: number, to: number): ResponseHead | null {
  const end = data.indexOf(headEnd, from);
  if (end === -1 || end + headEnd.length > to) return null;
  const head = data.toString("latin1", from, end);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  const isChunked = /\r\ntransfer-encoding: *chunked/i.test(head);
  return {
    status: Number(head.slice(9, 12)),
    length: isChunked ? null : length === undefined ? Number.POSITIVE_INFINITY : Number(length),
    end: end + headEnd.length,
  };
}

/** The head of a chunk: its size and where its data begins; null until all of it is there. */
export function readChunkHead(data: Buffer, from: number, to: number): { size: number; end: number } | null {
  let size = 0;
  for (let at = from; at < to; at++) {
    const byte = data[at] as number;
    if (byte === 0x0a) return { size, end: at + 1 };
    if (byte !== 0x0d) size = size * 16 + (byte <= 0x39 ? byte - 0x30 : (byte | 0x20) - 0x57);
  }
  return null;
}

/**
 * A whole response at the start of what was received; null until all of it is there. The connection is kept,
 * so its length has to be told.
 */
export function readResponse(data: Buffer): { status: number; body: string; end: number } | null {
  const head = readHead(data, 0, data.length);
  if (head === null) return null;
  if (head.length !== null) {
    const end = head.end + head.length;
    if (data.length < end) return null;
    return { status: head.status, body: data.toString("utf8", head.end, end), end };
  }
  const parts: Buffer[] = [];
  for (let at = head.end; ; ) {
    const chunk = readChunkHead(data, at, data.length);
    if (chunk === null || data.length < chunk.end + chunk.size + 2) return null;
    parts.push(data.subarray(chunk.end, chunk.end + chunk.size));
    at = chunk.end + chunk.size + 2;
    if (chunk.size === 0) return { status: head.status, body: Buffer.concat(parts).toString(), end: at };
  }
}
