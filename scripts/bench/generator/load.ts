import { readCpu } from "../usage.ts";
import type { Crowd, Sender } from "./crowd.ts";
import { writeRequest } from "./http.ts";
import { writeContent } from "./marker.ts";
import type { CpuSeconds, FillOrder, LoadOrder, LoadResult } from "./orders.ts";
import { RequestConnection } from "./requests.ts";

const answerLimitMs = 30_000;
const fillLimitMs = 120_000;
const sliceMs = 1_000;

/** What is counted at the two ends of the window, all in one turn of the event loop. */
interface Sample {
  at: number;
  messages: number;
  deliveries: number;
  due: number;
  cpu: CpuSeconds;
}

/** What a message in flight still waits for, as bits. */
const answer = 1;
const hearing = 2;

/**
 * Sends in a closed loop: so many messages in flight, at most one per sender. One is in flight until it was
 * answered and heard; its sender then goes to the end of the line.
 */
export class Load {
  readonly #crowd: Crowd;
  readonly #requests: RequestConnection[];
  readonly #idleRequests: RequestConnection[];
  readonly #line: Sender[];
  /** When the message in flight of each sender was sent, and what it waits for. */
  readonly #sentAt: Float64Array;
  readonly #awaited: Uint8Array;
  readonly #timed: number;
  #latencies: number[] = [];
  #inFlight = 0;
  #acknowledged = 0;
  #due = 0;
  /** How many each sender may send. */
  #most = Number.POSITIVE_INFINITY;
  #isStopping = false;
  /** Between two messages, and when the next one may be sent. */
  readonly #pauseMs: number;
  #nextAt = 0;

  constructor(crowd: Crowd, order: Pick<LoadOrder, "timed" | "restPorts" | "inFlight" | "rate">) {
    const { senders } = crowd;
    this.#crowd = crowd;
    this.#pauseMs = order.rate === undefined ? 0 : 1_000 / order.rate;
    this.#timed = order.timed === "answer" ? answer : hearing;
    this.#line = [...senders];
    this.#sentAt = new Float64Array(senders.length);
    this.#awaited = new Uint8Array(senders.length);
    this.#requests = order.restPorts.flatMap((port) => {
      const count = Math.ceil(order.inFlight / order.restPorts.length);
      return Array.from({ length: count }, () => new RequestConnection(port, (reason) => crowd.fail(reason)));
    });
    this.#idleRequests = [...this.#requests];
    const byConnection = new Map(senders.map((sender) => [sender.connection, sender]));
    crowd.onAcknowledged = (connection) => {
      const sender = byConnection.get(connection);
      if (sender) this.#acknowledge(sender);
      else crowd.fail(`connection ${connection}: an answer that nobody waits for`);
    };
    crowd.onHeard = (connection, index, number) => {
      const sender = senders[index];
      if (sender?.heardBy === connection && sender.sent === number) this.#arrive(sender, hearing);
    };
  }

  /** Warms up, measures, and stops sending. */
  async measure(order: LoadOrder): Promise<LoadResult> {
    this.#start(order.inFlight);
    await wait(order.warmUpMs);
    this.#latencies = [];
    const before = this.#sample(order);
    const perSecond = await this.#slice(before, order.windowMs);
    const after = this.#sample(order);
    const latencies = Float64Array.from(this.#latencies).sort();
    await this.#finish();
    return {
      seconds: (after.at - before.at) / 1_000,
      messages: after.messages - before.messages,
      deliveries: after.deliveries - before.deliveries,
      due: after.due - before.due,
      cpu: {
        server: after.cpu.server - before.cpu.server,
        postgres: after.cpu.postgres - before.cpu.postgres,
        generator: after.cpu.generator - before.cpu.generator,
      },
      perSecond,
      latencies,
      messagesInAll: this.#acknowledged,
    };
  }

  /** Sends a certain number of messages by each sender. */
  async fill({ perSender, inFlight }: FillOrder): Promise<void> {
    this.#most = perSender;
    this.#start(inFlight);
    const { senders } = this.#crowd;
    const deadline = performance.now() + fillLimitMs;
    const isDone = () => senders.every(({ acknowledged }) => acknowledged === perSender);
    while (!isDone() && !this.#crowd.hasFailed && performance.now() < deadline) await wait(10);
    if (!isDone()) this.#crowd.fail(`not all of ${perSender} messages of each sender were answered in time`);
    await this.#finish();
  }

  #start(inFlight: number): void {
    for (let index = 0; index < inFlight; index++) this.#sendNext();
  }

  #sendNext(): void {
    if (this.#isStopping) return;
    const sender = this.#line.shift();
    if (!sender) return;
    this.#inFlight++;
    sender.sent++;
    this.#awaited[sender.index] = answer | hearing;
    this.#sentAt[sender.index] = performance.now();
    const { client } = this.#crowd;
    const message = { ...sender, content: writeContent(sender.index, sender.sent) };
    if (sender.connection === null) this.#request(sender, client.request?.(message));
    else this.#crowd.connection(sender.connection)?.send(client.frame(message));
  }

  #request(
    sender: Sender,
    request: { path: string; headers: Record<string, string>; body: string } | undefined,
  ): void {
    const connection = this.#idleRequests.pop();
    if (!connection || !request) {
      this.#crowd.fail("there is no connection to send by");
      return;
    }
    const text = writeRequest("POST", request.path, request.headers, request.body);
    connection.ask(text, (status, body) => {
      this.#idleRequests.push(connection);
      if (status === 201) this.#acknowledge(sender);
      else this.#crowd.fail(`answered ${status}: ${body}`);
    });
  }

  #acknowledge(sender: Sender): void {
    if (sender.acknowledged === sender.sent) {
      this.#crowd.fail(`sender ${sender.index}: answered twice`);
      return;
    }
    sender.acknowledged = sender.sent;
    this.#acknowledged++;
    this.#due += this.#crowd.hearersOf(sender);
    this.#arrive(sender, answer);
  }

  /** One of the things that a message waits for has come. */
  #arrive(sender: Sender, what: number): void {
    const awaited = this.#awaited[sender.index] ?? 0;
    if ((awaited & what) === 0) return;
    if (what === this.#timed) this.#latencies.push(performance.now() - (this.#sentAt[sender.index] ?? 0));
    this.#awaited[sender.index] = awaited & ~what;
    if (awaited !== what) return;
    this.#inFlight--;
    if (sender.sent < this.#most) this.#line.push(sender);
    this.#sendInTime();
  }

  #sendInTime(): void {
    const now = performance.now();
    this.#nextAt = Math.max(now, this.#nextAt + this.#pauseMs);
    if (this.#nextAt - now < 1) this.#sendNext();
    else setTimeout(() => this.#sendNext(), this.#nextAt - now);
  }

  /** Messages acknowledged in each second until the window has passed. */
  async #slice({ at }: Sample, windowMs: number): Promise<number[]> {
    const perSecond: number[] = [];
    for (let end = sliceMs; end <= windowMs; end += sliceMs) {
      const before = this.#acknowledged;
      await wait(at + end - performance.now());
      perSecond.push(this.#acknowledged - before);
    }
    await wait(at + windowMs - performance.now());
    return perSecond;
  }

  #sample({ processes }: LoadOrder): Sample {
    const cpu = readCpu({ ...processes, generator: [process.pid] });
    return {
      at: performance.now(),
      messages: this.#acknowledged,
      deliveries: this.#crowd.heard,
      due: this.#due,
      cpu,
    };
  }

  /** Sends nothing more, and waits for the answers to what is in flight. */
  async #finish(): Promise<void> {
    this.#isStopping = true;
    const deadline = performance.now() + answerLimitMs;
    while (this.#inFlight > 0 && !this.#crowd.hasFailed && performance.now() < deadline) await wait(5);
    if (this.#inFlight > 0)
      this.#crowd.fail(`${this.#inFlight} messages were never answered, or never heard`);
    for (const connection of this.#requests) connection.close();
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
