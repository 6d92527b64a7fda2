import { EventSource } from "eventsource";
import { WebSocket } from "ws";
import type { Client, Json } from "./client.ts";
import { checkEvent } from "./documents.ts";

export type StreamKind = "sse" | "ws";

/** A stream as a test reads it: SSE and WebSocket alike. */
export interface TestStream {
  /** All that came, in order: events, signals and control, as JSON. */
  readonly received: Json[];
  /** The cursor of the last durable event, `ready` or `reset`. */
  cursor(): string | undefined;
  /** Resolves once `holds` is true of what came; fails after `ms`. */
  until(holds: (received: Json[]) => unknown, ms?: number): Promise<void>;
  /** Sends a frame; sockets only. */
  send(frame: unknown): void;
  /** How the stream ended, if it has: the code of the contract. */
  ended(): number | undefined;
  /** Goes away without a word. */
  cut(): void;
}

export interface StreamOptions {
  discussionId?: string | undefined;
  since?: string | undefined;
  /** To open it by, with a client that has no token. */
  ticket?: string | undefined;
}

/** Opens a stream of all of one's discussions, or of one. Resolves when it is open, not when `ready` came. */
export function openTestStream(
  kind: StreamKind,
  client: Client,
  options: StreamOptions = {},
): Promise<TestStream> {
  return kind === "sse" ? openEvents(client, options) : openSocket(client, options);
}

function path({ discussionId, since, ticket }: StreamOptions, end: string): string {
  const base = discussionId ? `/api/v1/discussions/${discussionId}/${end}` : `/api/v1/${end}`;
  const query = new URLSearchParams({ ...(since && { since }), ...(ticket && { ticket }) });
  return query.size > 0 ? `${base}?${query}` : base;
}

function authorization({ token }: Client): Record<string, string> {
  return token === "" ? {} : { authorization: `Bearer ${token}` };
}

const types = [
  "message.new",
  "message.updated",
  "message.deleted",
  "reaction.added",
  "reaction.removed",
  "discussion.created",
  "discussion.updated",
  "discussion.deleted",
  "member.added",
  "member.updated",
  "member.removed",
  "read.updated",
  "typing",
  "presence",
  "ready",
  "reset",
  "closed",
];

async function openEvents(client: Client, options: StreamOptions): Promise<TestStream> {
  const source = new EventSource(client.url + path(options, "events"), {
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init?.headers, ...authorization(client) } }),
  });
  const stream = createStream(() => source.close());
  for (const type of types) {
    source.addEventListener(type, (event) => {
      const json = JSON.parse(event.data);
      if (json.cursor && event.lastEventId !== json.cursor) throw new Error("the id is not the cursor");
      if (json.type !== type) throw new Error(`type ${json.type} in an event ${type}`);
      stream.take(json);
      if (type === "closed") {
        stream.end(json.code);
        source.close();
      }
    });
  }
  await new Promise<void>((resolve, reject) => {
    source.addEventListener("open", () => resolve(), { once: true });
    source.addEventListener("error", (event) => {
      source.close();
      reject(new Error(`EventSource: ${event.code ?? event.message}`));
    });
  });
  return stream;
}

async function openSocket(client: Client, options: StreamOptions): Promise<TestStream> {
  const socket = new WebSocket(client.url.replace("http", "ws") + path(options, "ws"), {
    headers: authorization(client),
  });
  const stream = createStream(
    () => socket.terminate(),
    (frame) => socket.send(typeof frame === "string" ? frame : JSON.stringify(frame)),
  );
  socket.on("message", (data) => stream.take(JSON.parse(String(data))));
  socket.on("close", (code) => stream.end(code));
  await new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("unexpected-response", (_request, response) =>
      reject(new Error(`upgrade: ${response.statusCode}`)),
    );
    socket.once("error", reject);
  });
  socket.on("error", () => {});
  return stream;
}

function createStream(cut: () => void, send: (frame: unknown) => void = () => {}) {
  const received: Json[] = [];
  const waiting = new Set<() => void>();
  let code: number | undefined;
  const wake = () => {
    for (const check of waiting) check();
  };
  return {
    received,
    cut,
    send,
    cursor: () => received.findLast((event) => event.cursor)?.cursor,
    ended: () => code,
    end: (with_: number) => {
      code ??= with_;
      wake();
    },
    take: (json: Json) => {
      checkEvent(json);
      received.push(json);
      wake();
    },
    until: (holds: (received: Json[]) => unknown, ms = 10_000) =>
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(check);
          reject(new Error(`not within ${ms} ms: ${holds}; received ${JSON.stringify(received.slice(-5))}`));
        }, ms);
        const check = () => {
          if (!holds(received)) return;
          waiting.delete(check);
          clearTimeout(timer);
          resolve();
        };
        waiting.add(check);
        check();
      }),
  };
}
