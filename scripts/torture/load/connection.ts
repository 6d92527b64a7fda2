import { get } from "node:http";
import { WebSocket } from "ws";
import type { Json } from "../../../tests/support/client.ts";

/** What a subscriber is told of its connection. */
export interface ConnectionEvents {
  /** The stream is open. */
  opened(): void;
  /**
   * An event, a signal or a word of the stream's own; `id` as the transport gives it, if it gives one. What
   * cannot be read comes as type `garbled`, and is the last that comes.
   */
  took(json: Json, id: string | null): void;
  /** It is over; `code` as in the contract, `status` if it was not even opened. */
  ended(end: { code: number | null; status: number | null }): void;
}

export interface Connection {
  /** Goes away without a word. */
  cut(): void;
}

export type Connect = (url: string, token: string, events: ConnectionEvents) => Connection;

/** Server-Sent Events, read as they come. */
export const openEvents: Connect = (url, token, events) => {
  let code: number | null = null;
  let status: number | null = null;
  const end = once(() => events.ended({ code, status }));
  const request = get(url, { headers: { authorization: `Bearer ${token}` }, agent: false }, (response) => {
    if (response.statusCode !== 200) {
      status = response.statusCode ?? 0;
      response.resume();
    } else {
      events.opened();
    }
    const take = eventReader((json, id) => {
      if (json.type === "closed") code = json.code;
      else events.took(json, id);
    });
    const read = guarded(take, events, () => request.destroy());
    if (status === null) response.setEncoding("utf8").on("data", read);
    response.on("close", end);
    response.on("error", () => {});
  });
  request.on("error", end);
  return { cut: () => request.destroy() };
};

export const openSocket: Connect = (url, token, events) => {
  let status: number | null = null;
  const socket = new WebSocket(url.replace(/^http/, "ws"), { headers: { authorization: `Bearer ${token}` } });
  socket.on("open", events.opened);
  const take = (text: string) => events.took(JSON.parse(text), null);
  const read = guarded(take, events, () => socket.terminate());
  socket.on("message", (data) => read(String(data)));
  socket.on("unexpected-response", (_request, response) => {
    status = response.statusCode ?? 0;
    socket.terminate();
  });
  socket.on("error", () => {});
  socket.on("close", (code) => events.ended({ code: code < 1005 || code > 1006 ? code : null, status }));
  return { cut: () => socket.terminate() };
};

/** What is cut off before its blank line does not count. */
export function eventReader(take: (json: Json, id: string | null) => void): (text: string) => void {
  let rest = "";
  return (text) => {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = new Map(block.split("\n").map(readField));
      const data = fields.get("data");
      if (data !== undefined) take(JSON.parse(data), fields.get("id") ?? "");
    }
  };
}

/** Whatever the server says, it must not end the process that judges it. */
function guarded(
  take: (text: string) => void,
  events: ConnectionEvents,
  cut: () => void,
): (text: string) => void {
  let isOver = false;
  return (text) => {
    if (isOver) return;
    try {
      take(text);
    } catch (error) {
      isOver = true;
      events.took({ type: "garbled", why: String(error), text: text.slice(0, 200) }, null);
      cut();
    }
  };
}

function readField(line: string): [name: string, value: string] {
  const colon = line.indexOf(": ");
  return [line.slice(0, colon), line.slice(colon + 2)];
}

function once(act: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) act();
    isDone = true;
  };
}
