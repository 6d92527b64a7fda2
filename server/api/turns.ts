import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** Whose turn it is on connections whose clients ask on without waiting for answers. */
export class Turns {
  readonly #latest = new WeakMap<Duplex, ServerResponse>();
  readonly #over = new WeakSet<Duplex>();

  watch(server: Server): void {
    server.prependListener("request", ({ socket }: IncomingMessage, response: ServerResponse) => {
      this.#latest.set(socket, response);
    });
  }

  /** The last answer on a connection, until all of it is written. */
  unfinished(socket: Duplex): ServerResponse | undefined {
    const response = this.#latest.get(socket);
    return response?.writableFinished ? undefined : response;
  }

  /** What comes after this on the connection is not to be understood, though it may look like a request. */
  end(socket: Duplex): void {
    this.#over.add(socket);
  }

  isOver(socket: Duplex): boolean {
    return this.#over.has(socket);
  }
}
