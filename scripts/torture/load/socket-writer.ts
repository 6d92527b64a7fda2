import { WebSocket } from "ws";
import type { Json } from "../../../tests/support/client.ts";
import type { Attempt } from "../history.ts";
import { Notebook } from "./notebook.ts";
import type { Writing } from "./rest-writer.ts";

const mostInFlight = 8;
/** A socket on which nothing is answered for so long is given up. */
const answerLimitMs = 15_000;
const reconnectMs = 150;

/**
 * Sends by a socket, several messages at a time; what was not acknowledged goes again, in its order, on the
 * next socket, at the next instance.
 */
export function startSocketWriter(writing: Omit<Writing, "changes">) {
  const notebook = new Notebook(writing.person.name, writing.random);
  const writer = new SocketWriter(writing, notebook);
  writer.connect();
  return { notebook, stop: () => writer.stop(), giveUp: () => writer.giveUp() };
}

interface Item {
  attempt: Attempt;
  content: string;
}

class SocketWriter {
  readonly #writing: Omit<Writing, "changes">;
  readonly #notebook: Notebook;
  /** By client_id, in the order of sending. */
  readonly #inFlight = new Map<string, Item>();
  /** Those that were refused for now. */
  #postponed: Item[] = [];
  #socket: WebSocket | undefined;
  #isStopping = false;
  readonly #timer: NodeJS.Timeout;
  readonly #done = Promise.withResolvers<void>();
  #answeredAt = performance.now();

  constructor(writing: Omit<Writing, "changes">, notebook: Notebook) {
    this.#writing = writing;
    this.#notebook = notebook;
    this.#timer = setInterval(() => this.#tick(), Math.max(1, writing.pauseMs));
    this.#done.promise.catch(() => {}); // Told by stop().
  }

  connect(): void {
    const { person } = this.#writing;
    const headers = { authorization: `Bearer ${person.token}` };
    const socket = new WebSocket(`${person.url.replace("http", "ws")}/api/v1/ws`, { headers });
    this.#socket = socket;
    this.#answeredAt = performance.now();
    socket.on("open", () => {
      this.#putLast(this.#postponed.splice(0));
      for (const item of this.#inFlight.values()) this.#send(item);
    });
    socket.on("message", (data) => this.#read(String(data)));
    socket.on("error", () => {});
    socket.on("close", () => {
      if (this.#isFinished()) return;
      person.repeats += this.#inFlight.size;
      person.moveOn();
      setTimeout(() => this.connect(), this.#writing.random.between(0, 2 * reconnectMs));
    });
  }

  stop(): Promise<void> {
    this.#isStopping = true;
    this.#finish();
    return this.#done.promise;
  }

  /** What was not acknowledged never will be. */
  giveUp(): void {
    this.#isStopping = true;
    this.#inFlight.clear();
    this.#finish();
  }

  #tick(): void {
    if (this.#inFlight.size > 0 && performance.now() - this.#answeredAt > answerLimitMs) {
      this.#answeredAt = performance.now();
      this.#socket?.terminate();
    }
    if (this.#isStopping || this.#inFlight.size >= mostInFlight) return;
    if (this.#inFlight.size === 0) this.#answeredAt = performance.now();
    const item = this.#notebook.begin(this.#writing.discussionIds);
    this.#inFlight.set(item.attempt.client_id, item);
    this.#send(item);
  }

  #putLast(items: Item[]): void {
    for (const item of items) {
      const { client_id } = item.attempt;
      this.#inFlight.delete(client_id);
      this.#inFlight.set(client_id, item);
      this.#notebook.postpone(item.attempt);
    }
  }

  #sendPostponed(): void {
    const items = this.#postponed.splice(0);
    this.#putLast(items);
    for (const item of items) this.#send(item);
  }

  #send({ attempt, content }: Item): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const { discussion_id, client_id } = attempt;
    const frame = { type: "message.send", ref: client_id, discussion_id, content, client_id };
    this.#socket.send(JSON.stringify(frame));
  }

  /** Whatever the server says, it must not end the process that judges it. */
  #read(text: string): void {
    try {
      this.#take(JSON.parse(text));
    } catch (error) {
      const told = `${error}: ${text.slice(0, 200)}`;
      this.#done.reject(new Error(`${this.#notebook.writer} cannot read what came: ${told}`));
    }
  }

  #take({ type, ref, message, code }: Json): void {
    const item = this.#inFlight.get(ref);
    if (!item) return;
    this.#answeredAt = performance.now();
    if (type === "ack") {
      this.#notebook.acknowledge(item.attempt, message.seq, item.content);
      this.#inFlight.delete(ref);
    } else if (code === "unavailable" || code === "overloaded") {
      this.#writing.person.repeats++;
      if (this.#postponed.length === 0) setTimeout(() => this.#sendPostponed(), reconnectMs);
      this.#postponed.push(item);
    } else {
      this.#done.reject(new Error(`${this.#notebook.writer}: ${ref} was refused: ${code}`));
    }
    this.#finish();
  }

  #isFinished(): boolean {
    return this.#isStopping && this.#inFlight.size === 0;
  }

  #finish(): void {
    if (!this.#isFinished()) return;
    clearInterval(this.#timer);
    this.#socket?.terminate();
    this.#done.resolve();
  }
}
