import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { limits } from "../limits.ts";

/**
 * Whose turn it is on connections whose clients ask on without waiting for answers. Node hands over all that
 * came in one piece at once, some thousand requests, of which each would take a connection of the pool.
 */
export class Turns {
  readonly #latest = new WeakMap<Duplex, ServerResponse>();
  readonly #before = new WeakMap<IncomingMessage, ServerResponse>();
  readonly #waiting = new WeakMap<Duplex, number>();
  readonly #over = new WeakSet<Duplex>();

  watch(server: Server): void {
    const latest = this.#latest;
    const waiting = this.#waiting;
    // One function for all. Between two requests a connection keeps nothing of the last.
    function forget(this: ServerResponse): void {
      const { socket } = this.req;
      if (latest.get(socket) === this) latest.delete(socket);
      waiting.set(socket, (waiting.get(socket) ?? 1) - 1);
    }
    server.prependListener("request", (request: IncomingMessage, response: ServerResponse) => {
      const before = this.unfinished(request.socket);
      if (before) this.#before.set(request, before);
      latest.set(request.socket, response);
      response.once("finish", forget);
      const count = (waiting.get(request.socket) ?? 0) + 1;
      waiting.set(request.socket, count);
      if (count > limits.requestsWaiting) this.#cut(request.socket);
    });
  }

  #cut(socket: Duplex): void {
    this.end(socket);
    socket.destroy();
  }

  /** The last answer on a connection, until all of it is written. */
  unfinished(socket: Duplex): ServerResponse | undefined {
    const response = this.#latest.get(socket);
    return response?.writableFinished ? undefined : response;
  }

  /** Resolves when all that was asked before on the connection is answered; undefined: it is already. */
  mine(request: IncomingMessage): Promise<void> | undefined {
    const before = this.#before.get(request);
    if (!before || before.writableFinished) return undefined;
    return new Promise((resolve) => {
      before.once("finish", resolve);
    });
  }

  /** What comes after this on the connection is not to be understood, though it may look like a request. */
  end(socket: Duplex): void {
    this.#over.add(socket);
  }

  isOver(socket: Duplex): boolean {
    return this.#over.has(socket) || socket.destroyed;
  }
}
