import type { Duplex } from "node:stream";
import type { Peer } from "crossws";
import { type Closing, closings } from "../errors.ts";
import { limits } from "../limits.ts";
import { drained } from "./sse.ts";
import type { Wire } from "./stream.ts";

/**
 * A WebSocket's wire. Frames are made once for all sockets and written straight to the TCP socket: crossws
 * would frame each event anew for each peer. Between frames that is safe, as nothing here is compressed or
 * fragmented, so that each write of either side is a whole number of frames.
 */
export class SocketWire implements Wire {
  readonly format = "frame";
  readonly #peer: Peer;
  readonly #socket: Duplex;

  constructor(peer: Peer, socket: Duplex) {
    this.#peer = peer;
    this.#socket = socket;
  }

  write(bytes: Buffer): void {
    if (!this.#socket.destroyed && this.#socket.writable) this.#socket.write(bytes);
  }

  buffered(): number {
    return this.#socket.writableLength;
  }

  drained(): Promise<void> {
    return drained(this.#socket);
  }

  /** Sockets are asked for signs of life instead. */
  connection(): null {
    return null;
  }

  /** The close frame queues behind what is buffered; who does not read it in time is cut off. */
  close(closing: Closing): void {
    this.#peer.close(closings[closing], closing);
    const timer = setTimeout(() => this.cut(), limits.closeGraceMs);
    this.#socket.once("close", () => clearTimeout(timer));
  }

  cut(): void {
    this.#peer.terminate();
  }
}
