import { cpuSince, readCpu } from "../usage.ts";
import { Checker, describeIrregularities } from "./check.ts";
import type { Client } from "./client.ts";
import { Connection } from "./connection.ts";
import type { OpenOrder, OpenResult, SenderPlan, Verdict } from "./orders.ts";

const openLimitMs = 120_000;
const keptFailures = 5;

/** A sender and how far it is. */
export interface Sender extends SenderPlan {
  index: number;
  /** The number of its last message; that one is in flight if `acknowledged` is smaller. */
  sent: number;
  acknowledged: number;
}

/** How far a connection is in its opening. */
interface Readiness {
  /** The server has said that from now on it hears everything. */
  isLive: boolean;
  /** How many messages that were stored before it has not heard yet. */
  behind: number;
  isReady: boolean;
}

/** The connections of many people, and what they have heard. */
export class Crowd {
  readonly client: Client;
  readonly senders: Sender[];
  /** Called when a connection's sender is answered, and when a connection has heard something. */
  onAcknowledged: (connection: number) => void = () => {};
  onHeard: (connection: number, sender: number, number: number) => void = () => {};
  readonly #order: OpenOrder;
  readonly #checker: Checker;
  readonly #connections: Connection[] = [];
  readonly #readiness: Readiness[] = [];
  readonly #failures: string[] = [];
  #failed = 0;
  /** By room. */
  #hearers: Map<number, number> | undefined;
  #onFailure: () => void = () => {};

  constructor(client: Client, order: OpenOrder) {
    this.client = client;
    this.#order = order;
    this.#checker = new Checker(order.connections.length, order.senders.length);
    this.senders = order.senders.map((plan, index) => ({
      ...plan,
      index,
      sent: order.backlog,
      acknowledged: order.backlog,
    }));
  }

  /** How many connections hear what a sender sends. */
  hearersOf({ room }: Sender): number {
    this.#hearers ??= this.#countHearers();
    return this.#hearers.get(room) ?? 0;
  }

  /** How many messages were heard, by all connections together. */
  get heard(): number {
    return this.#checker.heard;
  }

  /** Opens all connections. Throws when one fails or not all are ready in time. */
  open(): Promise<OpenResult> {
    const { connections, atOnce, processes } = this.#order;
    const readyMs: number[] = connections.map(() => 0);
    const groups = { ...processes, generator: [process.pid] };
    const cpuBefore = readCpu(groups);
    const begun = performance.now();
    const { promise, resolve, reject } = Promise.withResolvers<OpenResult>();
    let ready = 0;
    const openNext = () => {
      const index = this.#connections.length;
      if (index === connections.length) return;
      const started = performance.now();
      this.#connect(index, () => {
        readyMs[index] = performance.now() - started;
        ready++;
        if (ready < connections.length) return openNext();
        const seconds = (performance.now() - begun) / 1_000;
        resolve({ readyMs, seconds, cpu: cpuSince(cpuBefore, groups) });
      });
    };
    const timer = setTimeout(() => reject(new Error(this.#describeUnready())), openLimitMs);
    this.#onFailure = () => reject(new Error(this.#failures.join("; ")));
    for (let index = 0; index < Math.min(atOnce, connections.length); index++) openNext();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#onFailure = () => {};
    });
  }

  connection(index: number): Connection | undefined {
    return this.#connections[index];
  }

  /** Notes what must not happen; the verdict tells it. */
  fail(reason: string): void {
    this.#failed++;
    if (this.#failures.length < keptFailures) this.#failures.push(reason);
    this.#onFailure();
  }

  get hasFailed(): boolean {
    return this.#failed > 0;
  }

  /** Waits until all that was acknowledged has been heard, then judges what every connection heard. */
  async judge(): Promise<Verdict> {
    const expected = this.senders.reduce(
      (sum, sender) => sum + sender.acknowledged * this.hearersOf(sender),
      0,
    );
    const deadline = performance.now() + this.#order.deliveryLimitMs;
    while (this.heard < expected && !this.hasFailed && performance.now() < deadline) await wait(10);
    // Whatever should not come at all has a moment to come, too.
    await wait(50);
    const rooms = this.#order.hears.map((heard) => new Set(heard));
    const irregularities = this.#checker.judge((listener, index) => {
      const sender = this.senders[index];
      return sender && rooms[listener]?.has(sender.room) ? sender.acknowledged : 0;
    });
    const failures = this.#failed > 0 ? [`${this.#failed} failures: ${this.#failures.join("; ")}`] : [];
    return {
      problems: [...describeIrregularities(irregularities), ...failures],
      groupsOutOfOrder: this.#countOrders(),
    };
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  #connect(index: number, whenReady: () => void): void {
    const plan = this.#order.connections[index];
    if (!plan) return;
    const { backlog, hears } = this.#order;
    const behind = backlog * this.senders.filter(({ room }) => hears[index]?.includes(room)).length;
    const state: Readiness = { isLive: false, behind, isReady: false };
    this.#readiness[index] = state;
    const check = () => {
      if (!state.isLive || state.behind > 0 || state.isReady) return;
      state.isReady = true;
      whenReady();
    };
    this.#connections[index] = new Connection(this.client, plan, {
      ready: () => {
        state.isLive = true;
        check();
      },
      heard: (sender, number) => {
        this.#checker.hear(index, sender, number);
        if (state.behind > 0 && --state.behind === 0) check();
        this.onHeard(index, sender, number);
      },
      acknowledged: () => this.onAcknowledged(index),
      failed: (reason) => this.fail(`connection ${index}: ${reason}`),
    });
  }

  /** For each way of not being ready, how many connections are in it. */
  #describeUnready(): string {
    const unready = this.#readiness.filter(({ isReady }) => !isReady);
    const groups = Map.groupBy(
      unready,
      ({ isLive, behind }) => `${isLive ? "live" : "not live"}, ${behind} behind`,
    );
    const counts = [...groups].map(([what, group]) => `${group.length} (${what})`);
    return `${unready.length} connections were not ready in time: ${counts.join(", ")}`;
  }

  #countHearers(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const rooms of this.#order.hears)
      for (const room of rooms) counts.set(room, (counts.get(room) ?? 0) + 1);
    return counts;
  }

  /** Among how many groups of connections that hear the same rooms not all heard the same sequence. */
  #countOrders(): number {
    const groups = Map.groupBy(this.#order.hears.keys(), (index) => this.#order.hears[index]?.join());
    const hashes = [...groups.values()].map(
      (group) => new Set(group.map((index) => this.#checker.hashOf(index))),
    );
    return hashes.filter((distinct) => distinct.size > 1).length;
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
