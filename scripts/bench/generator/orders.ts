/** What the benchmark and its load generator say to each other. */
import type { Person } from "../population.ts";
import type { ConnectionPlan } from "./client.ts";

export interface SenderPlan {
  person: Person;
  room: number;
  roomId: string;
  /** By which connection it sends; null: by REST. */
  connection: number | null;
  /**
   * Which connection must have heard its message, besides the answer, before it sends the next one. Without
   * this, what a server acknowledges but cannot deliver would pile up, and no rate could be sustained; and
   * where an answer comes before the message is on its way, the next one may overtake it.
   */
  heardBy: number;
}

/** Whose CPU is measured, beside the generator's own: process ids, with all their descendants. */
export interface Processes {
  server: number[];
  postgres: number[];
}

/** Seconds of CPU. */
export interface CpuSeconds {
  server: number;
  postgres: number;
  generator: number;
}

/** Opens connections, besides those that are open, and gets ready to check what they hear. */
export interface OpenOrder {
  type: "open";
  /** The id of the system that is spoken to. */
  system: string;
  connections: ConnectionPlan[];
  /** Of each connection, the rooms that it hears, as indices. */
  hears: number[][];
  senders: SenderPlan[];
  /** How many connections may be under way at the same time. */
  atOnce: number;
  /** So many messages of each sender were stored before; who is ready has heard them, too. */
  backlog: number;
  /** How long is waited for what was acknowledged but not heard yet. */
  deliveryLimitMs: number;
  processes: Processes;
}

/** Lets the senders send, in turn, and measures. */
export interface LoadOrder {
  type: "load";
  /** Messages in flight in all; at most one per sender. */
  inFlight: number;
  /** At most so many messages per second; absent: as many as the loop allows. */
  rate?: number;
  /** What ends the time that is taken of each message. */
  timed: "answer" | "hearing";
  /** Of the servers, for sending by REST. */
  restPorts: number[];
  warmUpMs: number;
  windowMs: number;
  processes: Processes;
}

/** Sends so many messages by each sender, and waits until all are acknowledged. */
export interface FillOrder {
  type: "fill";
  perSender: number;
  inFlight: number;
}

/** GET requests, one at a time, each on the same kept-alive connection. */
export interface RequestOrder {
  type: "request";
  port: number;
  person: Person;
  /** `items`: how many the answer has. `firstSeq`: the seqs of a history rise by one from there. */
  requests: { label: string; path: string; firstSeq: number | null; items: number }[];
}

/** Waits until all that was acknowledged has been heard, and judges every listener's sequence. */
export interface JudgeOrder {
  type: "judge";
}

/** Closes all connections. */
export interface CloseOrder {
  type: "close";
}

export type Order = OpenOrder | LoadOrder | FillOrder | JudgeOrder | CloseOrder | RequestOrder;

export interface OpenResult {
  /** From connect() to ready, for each connection, in milliseconds. */
  readyMs: number[];
  /** From the first connect() to the last that was ready. */
  seconds: number;
  cpu: CpuSeconds;
}

export interface LoadResult {
  seconds: number;
  messages: number;
  deliveries: number;
  /** How many deliveries the messages that were acknowledged in the window ask for. */
  due: number;
  /** In the window. */
  cpu: CpuSeconds;
  /** Messages acknowledged in each second of the window. */
  perSecond: number[];
  /** From sending to what was `timed`; sorted, in milliseconds. */
  latencies: Float64Array;
  /** All that was acknowledged since the connections were opened. */
  messagesInAll: number;
}

export interface RequestResult {
  /** For each label, sorted, in milliseconds. */
  latencies: Record<string, number[]>;
}

/** Of what the connections heard since they were opened. */
export interface Verdict {
  /** In words; empty if every listener's sequence is exact. */
  problems: string[];
  /** Among how many groups of listeners that hear the same rooms the order differed. */
  groupsOutOfOrder: number;
}

export type Answer = { ok: true; result: unknown } | { ok: false; error: string };
