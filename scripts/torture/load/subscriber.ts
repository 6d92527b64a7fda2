import type { Json } from "../../../tests/support/client.ts";
import type { Random } from "../../../tests/support/random.ts";
import { aboutOf, type Control, emptied, type Heard, type Subscription } from "../history.ts";
import { type Connect, type Connection, openEvents, openSocket } from "./connection.ts";
import type { Gate } from "./gate.ts";
import { hashOf } from "./notebook.ts";
import type { Person } from "./person.ts";

export interface SubscriberOptions {
  name: string;
  person: Person;
  kind: "sse" | "ws";
  discussionId: string | null;
  since: string;
  random: Random;
  /** Whoever comes back goes through it. */
  returns: Gate;
  /** How long it stays connected before it cuts itself off, at random up to twice this; 0: for ever. */
  patienceMs: number;
}

/** The contract: what is said at least every so often, and half as long again. */
const silenceMs = 45_000;
const reconnectMs = 200;
/** At 1001 and 1012 the contract asks for up to two seconds; after a rate limit, for five. */
const awaitedMs: Readonly<Record<number, number>> = { 1001: 2_000, 1012: 2_000, 4002: 5_000 };
/** What the contract has for streams: of answers that are no stream, and of ends. */
const statuses = new Set([401, 403, 404, 429, 503]);
const codes = new Set([1001, 1009, 1012, 4000, 4001, 4002, 4500, 4501, 4502, 4503]);
const signals = new Set(["typing", "presence"]);
const answers = new Set(["ack", "error", "pong"]);

/** Reads a stream and comes back whenever it ends, with the last cursor, as the contract asks. */
export class Subscriber {
  readonly record: Subscription;
  readonly #options: SubscriberOptions;
  readonly #connect: Connect;
  #cursor: string;
  #connection: Connection | undefined;
  #isOpen = false;
  #isReady = false;
  #isStopped = false;
  #cutTimer: NodeJS.Timeout | undefined;
  #silenceTimer: NodeJS.Timeout | undefined;
  /** The highest seq that it heard of, by discussion. */
  readonly #seqs = new Map<string, number>();

  constructor(options: SubscriberOptions) {
    const { name, person, discussionId, since } = options;
    this.#options = options;
    this.#cursor = since;
    this.#connect = options.kind === "sse" ? openEvents : openSocket;
    this.record = {
      name,
      user_id: person.id,
      discussion_id: discussionId,
      since,
      heard: [],
      connections: 0,
      over: null,
      faults: [],
    };
  }

  start(): void {
    if (this.#isStopped) return;
    const { person, kind, discussionId } = this.#options;
    const base = discussionId === null ? "/api/v1" : `/api/v1/discussions/${discussionId}`;
    const end = kind === "sse" ? "events" : "ws";
    const url = `${person.url}${base}/${end}?since=${encodeURIComponent(this.#cursor)}`;
    this.#isReady = false;
    this.#watch();
    this.#connection = this.#connect(url, person.token, {
      opened: () => this.#opened(),
      took: (json, id) => this.#take(json, id),
      ended: (ending) => this.#ended(ending),
    });
  }

  /** Whether its replay is over, on a connection that lives. */
  get isReady(): boolean {
    return this.#isReady;
  }

  hasHeard(discussionId: string, seq: number): boolean {
    return (this.#seqs.get(discussionId) ?? 0) >= seq;
  }

  /** Whether there was a connection to cut. */
  cut(): boolean {
    const wasOpen = this.#isOpen;
    this.#isReady = false;
    this.#connection?.cut();
    return wasOpen;
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#cutTimer);
    clearTimeout(this.#silenceTimer);
    this.cut();
  }

  #opened(): void {
    this.#isOpen = true;
    this.record.connections++;
    this.record.heard.push({ kind: "opened", cursor: this.#cursor });
    const { patienceMs, random } = this.#options;
    if (patienceMs > 0) this.#cutTimer = setTimeout(() => this.cut(), random.between(0, 2 * patienceMs));
  }

  #take(json: Json, id: string | null): void {
    if (this.#isStopped) return;
    this.#watch();
    if (signals.has(json.type) || answers.has(json.type)) return;
    if (typeof json.cursor !== "string" || (id !== null && id !== json.cursor)) {
      this.record.faults.push(`id ${id} of ${JSON.stringify(json).slice(0, 200)}`);
      return;
    }
    this.#cursor = json.cursor;
    const isControl = json.type === "ready" || json.type === "reset";
    this.record.heard.push(isControl ? control(json) : heard(json));
    if (json.type === "ready" && this.#isReady) this.record.faults.push(`ready once more at ${json.cursor}`);
    if (isControl) this.#isReady = json.type === "ready";
    if (json.type === "reset") void this.#load().catch(() => {}); // Given up in the end.
    if (json.message) this.#learn(json.discussion_id, json.message.seq);
  }

  /** After a reset: what is there now, which will not be told. */
  async #load(): Promise<void> {
    this.#seqs.clear();
    const { person, discussionId } = this.#options;
    const path = discussionId === null ? "/discussions?limit=100" : `/discussions/${discussionId}`;
    const { status, body } = await person.persist("GET", path);
    if (status >= 300) return;
    for (const { id, last_seq } of body.items ?? [body]) this.#learn(id, last_seq);
  }

  /** The newest event of a message may tell of an old one. */
  #learn(discussionId: string, seq: number): void {
    this.#seqs.set(discussionId, Math.max(seq, this.#seqs.get(discussionId) ?? 0));
  }

  #ended({ code, status }: { code: number | null; status: number | null }): void {
    this.#isOpen = false;
    this.#isReady = false;
    clearTimeout(this.#cutTimer);
    clearTimeout(this.#silenceTimer);
    if (this.#isStopped) return;
    const { person, random } = this.#options;
    const refused = status === 403 || status === 404;
    if ((code !== null && code >= 4500) || refused) {
      this.record.over = code ?? status;
      this.#isStopped = true;
      return;
    }
    const isKnown = status === null ? code === null || codes.has(code) : statuses.has(status);
    if (!isKnown) this.record.faults.push(`ended with ${status ?? code}`);
    if (status === 401) void person.persist("GET", "/users/me").catch(() => {});
    person.moveOn();
    const delayMs = awaitedMs[code ?? 0] ?? reconnectMs;
    const comeBack = async () => this.start();
    setTimeout(() => void this.#options.returns.pass(comeBack), random.between(0.2, 1) * delayMs);
  }

  /** A connection on which nothing comes any more is dead, whatever it looks like. */
  #watch(): void {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.cut(), silenceMs);
  }
}

function control({ type, cursor, reason }: Json): Control {
  return reason === undefined ? { kind: type, cursor } : { kind: type, cursor, reason };
}

function heard(event: Json): Heard {
  const { cursor, type, discussion_id, message } = event;
  const hash = message ? (message.deleted_at ? emptied : hashOf(message.content)) : null;
  const seq = message?.seq ?? event.seq ?? null;
  return { kind: "event", cursor, type, discussion_id, seq, hash, about: aboutOf(message ?? event) };
}
