import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Client, Json } from "./client.ts";
import { eventually } from "./server.ts";
import type { StreamKind } from "./streams.ts";

/**
 * HTTP and WebSocket by hand, as an attacker writes them: nobody frames, escapes, reads or closes for us.
 */

/** A connection, and all that came over it. */
export interface Wire {
  socket: Socket;
  /** Byte for byte, as latin1. */
  text(): string;
  bytes(): Buffer;
  /** Resolves when the connection is over, whoever ended it. */
  closed: Promise<void>;
  isClosed(): boolean;
  write(bytes: Buffer | string): void;
  cut(): void;
}

const opened: Wire[] = [];

/** For `test.after.each`: also after a failure, or they would hold the test's process. */
export function cutAll(): void {
  for (const wire of opened.splice(0)) wire.cut();
}

export async function dial(url: string): Promise<Wire> {
  const socket = connect({ port: Number(new URL(url).port), host: "localhost", noDelay: true });
  const chunks: Buffer[] = [];
  let isClosed = false;
  socket.on("error", () => {});
  socket.on("data", (data) => chunks.push(data));
  const closed = new Promise<void>((resolve) => {
    socket.once("close", () => {
      isClosed = true;
      resolve();
    });
  });
  const bytes = () => {
    if (chunks.length > 1) chunks.splice(0, chunks.length, Buffer.concat(chunks));
    return chunks[0] ?? Buffer.alloc(0);
  };
  const wire = {
    socket,
    text: () => bytes().toString("latin1"),
    bytes,
    closed,
    isClosed: () => isClosed,
    write: (data: Buffer | string) => {
      // What is written to a connection that the server has ended goes nowhere.
      if (socket.writable) socket.write(typeof data === "string" ? Buffer.from(data, "latin1") : data);
    },
    cut: () => void socket.destroy(),
  };
  opened.push(wire);
  await once(socket, "connect");
  return wire;
}

/** Resolves once `holds` is true of what came; tells what came if it never is. */
export function heard(wire: Wire, pattern: RegExp, ms = 10_000): Promise<void> {
  return eventually(() => {
    if (pattern.test(wire.text())) return;
    throw new Error(`no ${pattern} in … ${JSON.stringify(wire.text().slice(-300))}`);
  }, ms);
}

/** Waits for the end of a connection, and fails if it does not come. */
export async function ended(wire: Wire, ms = 10_000): Promise<void> {
  await eventually(() => {
    if (!wire.isClosed()) throw new Error(`still open: ${JSON.stringify(wire.text().slice(-300))}`);
  }, ms);
}

/** The head of a socket's upgrade request, with its blank line. */
export function upgradeHead(
  client: Pick<Client, "token">,
  path = "/ws",
  more: readonly string[] = [],
): string {
  return head("GET", `/api/v1${path}`, [
    `Authorization: Bearer ${client.token}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
    ...more,
  ]);
}

/** The head of a stream's request, of either kind. */
export function streamHead(client: Pick<Client, "token">, kind: StreamKind, path?: string): string {
  if (kind === "ws") return upgradeHead(client, path);
  // Nothing comes after it.
  const lines = [`Authorization: Bearer ${client.token}`, "Connection: close"];
  return head("GET", `/api/v1${path ?? "/events"}`, lines);
}

/** The head of a request of HTTP/1.1, with its blank line. */
export function head(method: string, target: string, lines: readonly string[] = []): string {
  return `${[`${method} ${target} HTTP/1.1`, "Host: localhost", ...lines].join("\r\n")}\r\n\r\n`;
}

/** A socket whose `ready` has come. */
export async function openSocket(client: Pick<Client, "url" | "token">, path = "/ws"): Promise<Wire> {
  const wire = await dial(client.url);
  wire.write(upgradeHead(client, path));
  await heard(wire, /"type":"ready"/);
  return wire;
}

/** First bytes of frames: FIN and opcode. */
export const first = {
  text: 0x81,
  textBegin: 0x01,
  binary: 0x82,
  middle: 0x00,
  last: 0x80,
  close: 0x88,
  ping: 0x89,
  pong: 0x8a,
} as const;

export interface FrameOptions {
  masked?: boolean;
  /** What the head says, whatever the payload is. */
  length?: number | bigint;
  /** How the head says it, needed or not: in its second byte, or in 2 or 8 more. */
  lengthBytes?: 0 | 2 | 8;
}

/** A client's frame. */
export function frame(
  firstByte: number,
  payload: Buffer | string | object,
  options: FrameOptions = {},
): Buffer {
  const isBytes = typeof payload === "string" || Buffer.isBuffer(payload);
  const data = Buffer.from(isBytes ? payload : JSON.stringify(payload));
  const { masked = true, length = data.length } = options;
  const needed = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const bytes = Buffer.concat([Buffer.from([firstByte]), lengthOf(length, options.lengthBytes ?? needed)]);
  if (!masked) return Buffer.concat([bytes, data]);
  bytes[1] = Number(bytes[1]) | 0x80;
  const mask = randomBytes(4);
  return Buffer.concat([bytes, mask, data.map((byte, index) => byte ^ Number(mask[index % 4]))]);
}

function lengthOf(length: number | bigint, size: 0 | 2 | 8): Buffer {
  if (size === 0) return Buffer.from([Number(length)]);
  const bytes = Buffer.alloc(1 + size, size === 2 ? 126 : 127);
  if (size === 2) bytes.writeUInt16BE(Number(length), 1);
  else bytes.writeBigUInt64BE(BigInt(length), 1);
  return bytes;
}

/** What a server's frames say, read from after the head of the upgrade's answer. */
export interface Heard {
  /** The texts, as JSON. */
  events: Json[];
  pongs: Buffer[];
  close: { code: number; reason: string } | undefined;
  /** Bytes at the end that are not a whole frame. */
  rest: number;
}

/** Fails if the server sent anything but whole, unmasked, unfragmented frames. */
export function readFrames(wire: Wire): Heard {
  const all = wire.bytes();
  const result: Heard = { events: [], pongs: [], close: undefined, rest: 0 };
  let at = all.indexOf("\r\n\r\n") + 4;
  while (at + 2 <= all.length) {
    const [opcode = 0, short = 0] = all.subarray(at, at + 2);
    const size = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (all.length < at + size) break;
    const length =
      size === 2 ? short : size === 4 ? all.readUInt16BE(at + 2) : Number(all.readBigUInt64BE(at + 2));
    if (all.length < at + size + length) break;
    const payload = all.subarray(at + size, at + size + length);
    if (opcode === first.text) result.events.push(JSON.parse(payload.toString("utf8")));
    else if (opcode === first.pong) result.pongs.push(payload);
    else if (opcode === first.close) {
      const code = payload.length < 2 ? 1005 : payload.readUInt16BE();
      result.close = { code, reason: payload.subarray(2).toString("utf8") };
    } else if (opcode !== first.ping) throw new Error(`the server sent a frame that begins with ${opcode}`);
    at += size + length;
  }
  result.rest = all.length - at;
  return result;
}

/** An answer as it stood on the wire. */
export interface RawAnswer {
  status: number;
  /** By lower-case name. */
  headers: Map<string, string>;
  body: string;
}

/**
 * All answers that came, one after another, by their own lengths; `isHead`: whether the nth was to a HEAD.
 * Fails if there are bytes that belong to none.
 */
export function readAnswers(wire: Wire, isHead: (index: number) => boolean = () => false): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let rest = wire.text();
  while (rest !== "") {
    const end = rest.indexOf("\r\n\r\n");
    const [, status] = /^HTTP\/1\.1 (\d{3})[ \r]/.exec(rest) ?? [];
    if (end < 0 || status === undefined) throw new Error(`no answer: ${JSON.stringify(rest.slice(0, 300))}`);
    const lines = rest.slice(0, end).split("\r\n").slice(1);
    const headers = new Map(
      lines.map((line): [string, string] => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
      }),
    );
    rest = rest.slice(end + 4);
    const hasBody = !isHead(answers.length) && ![100, 101, 204, 304].includes(Number(status));
    const [body, after] = hasBody ? takeBody(rest, headers) : ["", rest];
    answers.push({ status: Number(status), headers, body });
    rest = after;
  }
  return answers;
}

function takeBody(text: string, headers: Map<string, string>): [body: string, rest: string] {
  const length = headers.get("content-length");
  if (length !== undefined) return [text.slice(0, Number(length)), text.slice(Number(length))];
  if (headers.get("transfer-encoding") !== "chunked") return [text, ""];
  let body = "";
  let at = 0;
  for (;;) {
    const line = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, line), 16);
    if (line < 0 || Number.isNaN(size)) throw new Error("a body in chunks broke off");
    body += text.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
    if (size === 0) return [body, text.slice(at)];
  }
}
