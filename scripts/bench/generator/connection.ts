import { connect, type Socket } from "node:net";
import type { Client, ConnectionPlan } from "./client.ts";
import { readHead, writeRequest } from "./http.ts";
import { found, readMarker } from "./marker.ts";
import { SseReader } from "./sse.ts";
import { readFrames, upgradeHeaders, writeFrame, writePong } from "./websocket.ts";

/** All sockets read into the same memory, one after the other: nothing is allocated per read. */
export const readBuffer = Buffer.allocUnsafe(256 * 1024);

/** What a connection tells. */
export interface ConnectionListener {
  ready(): void;
  heard(sender: number, number: number): void;
  acknowledged(): void;
  failed(reason: string): void;
}

/** One person's WebSocket or event stream, from connecting on. */
export class Connection {
  readonly #client: Client;
  readonly #plan: ConnectionPlan;
  readonly #listener: ConnectionListener;
  readonly #socket: Socket;
  /** Reads what was received between two offsets and returns where what it could not use yet begins. */
  #read: (data: Buffer, from: number, to: number) => number = (...range) => this.#readHead(...range);
  #rest: Buffer | null = null;
  /** Where in a frame the last marker was: the next one mostly is there too. */
  #markerOffset = 0;
  #isClosing = false;

  constructor(client: Client, plan: ConnectionPlan, listener: ConnectionListener) {
    this.#client = client;
    this.#plan = plan;
    this.#listener = listener;
    this.#socket = connect({
      port: plan.port,
      host: "127.0.0.1",
      noDelay: true,
      onread: { buffer: readBuffer, callback: (length) => this.#receive(length) },
    });
    this.#socket.on("error", (error) => this.#fail(error.message));
    this.#socket.on("close", () => this.#fail("the connection ended"));
    const { path, headers } = client.opening(plan);
    const upgrade = plan.format === "ws" ? upgradeHeaders() : { accept: "text/event-stream" };
    this.#socket.write(writeRequest("GET", path, { ...upgrade, ...headers }));
  }

  /** Sends a text frame. */
  send(frame: string): void {
    this.#socket.write(writeFrame(frame));
  }

  close(): void {
    this.#isClosing = true;
    this.#socket.destroy();
  }

  #receive(length: number): boolean {
    const data =
      this.#rest === null ? readBuffer : Buffer.concat([this.#rest, readBuffer.subarray(0, length)]);
    const to = this.#rest === null ? length : data.length;
    this.#rest = null;
    const used = this.#read(data, 0, to);
    if (used < to) this.#rest = Buffer.from(data.subarray(used, to));
    return true;
  }

  #readHead(data: Buffer, from: number, to: number): number {
    const head = readHead(data, from, to);
    if (head === null) return from;
    const isSocket = this.#plan.format === "ws";
    if (head.status !== (isSocket ? 101 : 200)) {
      this.#fail(`answered ${head.status}: ${data.toString("utf8", head.end, to)}`);
      return to;
    }
    if (isSocket) {
      const sink = {
        text: (frame: Buffer, start: number, end: number) => this.#text(frame, start, end),
        ping: (payload: Buffer) => void this.#socket.write(writePong(payload)),
        fail: (reason: string) => this.#fail(reason),
      };
      this.#read = (...range) => readFrames(...range, sink);
    } else {
      const reader = new SseReader(head.length === null, (event, start, end) =>
        this.#text(event, start, end),
      );
      this.#read = (...range) => reader.read(...range);
    }
    if (this.#client.readyWhenOpen) this.#listener.ready();
    return this.#read(data, head.end, to);
  }

  #text(data: Buffer, from: number, to: number): void {
    const kind = this.#client.kindOf(data, from);
    if (kind === "delivery") {
      const at = readMarker(data, from, to, from + this.#markerOffset);
      this.#markerOffset = at - from;
      if (at !== -1) this.#listener.heard(found.sender, found.number);
      else this.#fail(`a delivery without a marker: ${data.toString("utf8", from, to)}`);
    } else if (kind === "ack") {
      this.#listener.acknowledged();
    } else {
      this.#react(data.toString("utf8", from, to));
    }
  }

  #react(text: string): void {
    const reaction = this.#client.react(text, this.#plan);
    if (reaction === null) return;
    if ("ready" in reaction) this.#listener.ready();
    else if ("reply" in reaction) this.send(reaction.reply);
    else this.#fail(reaction.refused);
  }

  #fail(reason: string): void {
    if (this.#isClosing) return;
    this.close();
    this.#listener.failed(reason);
  }
}
