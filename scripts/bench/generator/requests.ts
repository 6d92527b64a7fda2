import { connect, type Socket } from "node:net";
import { readBuffer } from "./connection.ts";
import { readResponse } from "./http.ts";

/** A kept-alive HTTP connection on which one request at a time is made. */
export class RequestConnection {
  readonly #socket: Socket;
  #received: Buffer | null = null;
  #answer: ((status: number, body: string) => void) | null = null;
  #isClosing = false;

  constructor(port: number, failed: (reason: string) => void) {
    const fail = (reason: string) => {
      if (!this.#isClosing) failed(reason);
      this.close();
    };
    this.#socket = connect({
      port,
      host: "127.0.0.1",
      noDelay: true,
      onread: { buffer: readBuffer, callback: (length) => this.#receive(length) },
    });
    this.#socket.on("error", (error) => fail(error.message));
    this.#socket.on("close", () => fail("the connection ended"));
  }

  /** Makes a request, as text, and calls back with what is answered. */
  ask(request: string, answer: (status: number, body: string) => void): void {
    this.#answer = answer;
    this.#socket.write(request);
  }

  close(): void {
    this.#isClosing = true;
    this.#socket.destroy();
  }

  #receive(length: number): boolean {
    const news = readBuffer.subarray(0, length);
    const data = this.#received === null ? news : Buffer.concat([this.#received, news]);
    const response = readResponse(data);
    // Copied: the next read overwrites it.
    this.#received = response === null ? Buffer.from(data) : null;
    if (response !== null) this.#answer?.(response.status, response.body);
    return true;
  }
}
