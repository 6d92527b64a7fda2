/** Readers in Node: npm's EventSource and WebSocket on client.js, and curl as a child process. */
import { type ChildProcess, spawn } from "node:child_process";
import { EventSource } from "eventsource";
import { WebSocket } from "ws";
import type { Client, Json } from "../support/client.ts";
import "./client.js";

/** `[cursor, type, discussion_id, seq, content]` */
export type Entry = [string, string, string, number | null, string | null];

export interface Ledger {
  name: string;
  events: Entry[];
  readies: number;
  losses: number;
  signals: number;
  closings: number[];
  faults: string[];
  cursor: string | null;
}

export interface Work {
  author: string;
  sent: string[];
  repeats: number;
  faults: string[];
}

export interface Writer {
  work: Work;
  stop(): void;
  isDone(): boolean;
}

export interface Writing {
  author: string;
  discussionIds: string[];
  everyMs: number;
}

export interface Reader {
  ledger: Ledger;
  close(): void;
}

interface OwnLedger extends Ledger {
  take(json: Json, id?: string): void;
  fault(text: string): void;
}

/** What client.js defines, for Node and for pages alike. */
interface StreamClients {
  createLedger(name: string): OwnLedger;
  countOf(ledger: Ledger, content: string): number;
  readEvents(ledger: Ledger, options: { open(cursor: string): unknown; since: string }): { close(): void };
  readSocket(
    ledger: Ledger,
    options: { open(cursor: string): unknown; since: string; writer?: Writer | null },
  ): { close(): void };
  writeBySocket(options: Writing): Writer;
  writeByRest(options: Writing & { url: string; headers: Record<string, string> }): Writer;
}

const clients = (globalThis as unknown as { streamClients: StreamClients }).streamClients;

export const { countOf } = clients;

export interface Reading {
  name: string;
  /** Whose address may be a proxy's. */
  client: Client;
  /** Below /api/v1. */
  path: string;
  since: string;
}

/** npm's EventSource, which comes back by itself with Last-Event-ID. */
export function readWithEventSource({ name, client, path, since }: Reading): Reader {
  const ledger = clients.createLedger(name);
  const open = (cursor: string) =>
    new EventSource(`${client.url}/api/v1${path}?since=${encodeURIComponent(cursor)}`, {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init?.headers, ...bearer(client) } }),
    });
  return { ledger, ...clients.readEvents(ledger, { open, since }) };
}

/** npm's WebSocket, opened anew with the last cursor; with `writer` it also sends. */
export function readWithWebSocket({ name, client, path, since }: Reading, writer: Writer | null): Reader {
  const ledger = clients.createLedger(name);
  const open = (cursor: string) => {
    const address = client.url.replace("http", "ws");
    return new WebSocket(`${address}/api/v1${path}?since=${encodeURIComponent(cursor)}`, {
      headers: bearer(client),
    });
  };
  return { ledger, ...clients.readSocket(ledger, { open, since, writer }) };
}

export function socketWriter(writing: Writing): Writer {
  return clients.writeBySocket(writing);
}

export function restWriter(client: Client, writing: Writing): Writer {
  return clients.writeByRest({ ...writing, url: client.url, headers: bearer(client) });
}

/** `curl -N`, started again with `-H "Last-Event-ID: …"` whenever it ends, and killed now and then. */
export function readWithCurl({ name, client, path, since }: Reading): Reader & { kill(): void } {
  const ledger = clients.createLedger(name);
  let child: ChildProcess | undefined;
  let stopped = false;
  const run = () => {
    if (stopped) return;
    const address = `${client.url}/api/v1${path}?since=${encodeURIComponent(since)}`;
    const headers = [`Authorization: Bearer ${client.token}`];
    if (ledger.cursor) headers.push(`Last-Event-ID: ${ledger.cursor}`);
    child = spawn("curl", ["-sSN", ...headers.flatMap((header) => ["-H", header]), address], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    child.stdout?.setEncoding("utf8").on("data", eventParser(ledger));
    child.once("error", (error) => ledger.fault(error.message));
    child.once("close", () => {
      ledger.losses++;
      setTimeout(run, 50 + Math.random() * 200);
    });
  };
  run();
  const kill = () => child?.kill("SIGKILL");
  return {
    ledger,
    kill,
    close: () => {
      stopped = true;
      kill();
    },
  };
}

/**
 * A parser of Server-Sent Events for what curl prints; what is cut off before its blank line does not
 * count.
 */
export function eventParser(ledger: OwnLedger): (text: string) => void {
  let rest = "";
  return (text) => {
    rest += text;
    for (let end = rest.indexOf("\n\n"); end !== -1; end = rest.indexOf("\n\n")) {
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      const fields = new Map(
        block.split("\n").flatMap((line) => {
          const field = /^([a-z]+): (.*)$/.exec(line);
          return field ? [[field[1] ?? "", field[2] ?? ""] as const] : [];
        }),
      );
      const data = fields.get("data");
      if (data === undefined) continue;
      const json = JSON.parse(data);
      if (fields.get("event") !== json.type) ledger.fault(`type ${json.type} in ${block.slice(0, 100)}`);
      ledger.take(json, fields.get("id") ?? "");
    }
  };
}

function bearer(client: Client): Record<string, string> {
  return { authorization: `Bearer ${client.token}` };
}
