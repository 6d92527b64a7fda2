import type { LogEvent } from "../../sql/log.ts";
import { type BatchResult, type Send, type SendResult, sendMessages } from "../../sql/messages.ts";
import type { Pipeline } from "../../sql/pipeline.ts";
import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";
import { Tally } from "../tally.ts";
import { SendLine, type Waiting } from "./send-line.ts";
import { isUnavailable } from "./unavailable.ts";

/** A stored message as JSON text; `created` is false if the same client_id had stored it before. */
export interface Sent {
  created: boolean;
  message: string;
}

/** The one way in for messages, from REST and sockets alike. */
export interface Sender {
  /**
   * Stores a message. Throws session_revoked, discussion_not_found, not_a_member, blocked, reply_not_found,
   * attachment_not_found, client_id_reused, overloaded; or what Postgres throws, after which it may or may
   * not be stored: the caller's client asks again with the same client_id.
   */
  send(send: Send): Promise<Sent>;
  readonly counts: SendCounts;
}

/** What `/metrics` shows. */
export interface SendCounts {
  /** Sends by what came of them: "created", "stored" (before), a code of errors.ts, or "failed". */
  readonly results: ReadonlyMap<string, number>;
  /** How many messages a batch had. */
  readonly batches: Tally;
  waiting(): number;
}

/**
 * Group commit: sends that arrive while batches are in flight form the next one. There is no timer, so an
 * idle server adds no delay, and a busy one pays for one transaction, one flush and one NOTIFY per batch.
 *
 * A second batch goes out beside the first as soon as it is worth a transaction of its own: Postgres then has
 * the next one at hand when it has committed, instead of waiting until the answers have gone out and the next
 * sends have come in. For the same reason a large batch is not more than half of all that is under way: else
 * all clients go through Postgres and back as one crowd, and server and Postgres wait for each other.
 *
 * `onStored` is told the events of what was committed, which the answer brings along.
 */
export function createSender(pipeline: Pipeline, onStored: (events: readonly LogEvent[]) => void): Sender {
  const line = new SendLine();
  const counter = createCounter();
  let inFlight = 0;
  let sendsInFlight = 0;
  let gathering = false;
  let lastCount = 0;

  /**
   * Waits as long as each turn of the event loop brings more sends, which is no longer than it takes to read
   * what is there: without it the first of many answers to the last batch would make a batch of its own.
   * After a batch of one, nobody is waited for.
   */
  function gather(seen: number, turns: number): void {
    if (lastCount > 1 && line.ready > seen && line.ready < mostAtOnce() && turns < limits.gatherTurns) {
      setImmediate(gather, line.ready, turns + 1);
      return;
    }
    gathering = false;
    fill();
  }

  function mostAtOnce(): number {
    return Math.max(limits.batchWhole, Math.ceil((line.ready + sendsInFlight) / 2));
  }

  function fill(): void {
    const enough = inFlight === 0 ? 1 : limits.batchWorthwhile;
    if (inFlight >= limits.batchesInFlight || line.ready < enough) return;
    const batch = line.take(mostAtOnce());
    lastCount = batch.length;
    counter.batches.add(batch.length);
    inFlight++;
    sendsInFlight += batch.length;
    void store({ pipeline, onStored, count: counter.count }, batch).finally(() => {
      inFlight--;
      sendsInFlight -= batch.length;
      line.release(batch);
      fill();
    });
    fill();
  }

  return {
    counts: { ...counter, waiting: () => line.length },
    send: (send) =>
      new Promise((resolve, reject) => {
        const bytes = Buffer.byteLength(send.content);
        if (line.length >= limits.sendsWaiting || line.bytes + bytes > limits.sendsWaitingBytes) {
          counter.count("overloaded");
          reject(
            new Failure("overloaded", "Too many messages at once", {
              retryAfterSeconds: limits.retryAfterSeconds,
            }),
          );
          return;
        }
        line.push({ send, bytes, resolve, reject });
        if (gathering) return;
        gathering = true;
        setImmediate(gather, 0, 0);
      }),
  };
}

function createCounter() {
  const results = new Map<string, number>();
  return {
    results,
    batches: new Tally([1, 2, 5, 10, 20, 50, 100, 200, 500]),
    count: (result: string) => void results.set(result, (results.get(result) ?? 0) + 1),
  };
}

interface Storing {
  pipeline: Pipeline;
  onStored(events: readonly LogEvent[]): void;
  count(result: string): void;
}

async function store(storing: Storing, batch: Waiting[]): Promise<void> {
  const sends = batch.map(({ send }) => send);
  let stored: BatchResult;
  try {
    stored = await sendMessages(storing.pipeline, sends);
  } catch (error) {
    await storeApart(storing, batch, error);
    return;
  }
  // First those who wait to hear something, then those who said it.
  if (stored.events.length > 0) storing.onStored(stored.events);
  batch.forEach((waiting, index) => {
    answer(storing, waiting, stored.results[index]);
  });
}

/**
 * One send that Postgres refuses must not take the others along: it is found by halving. Not so when Postgres
 * itself is away: then all of them would wait for as many time-outs.
 */
async function storeApart(storing: Storing, batch: Waiting[], error: unknown): Promise<void> {
  if (batch.length === 1 || isUnavailable(error)) {
    for (const { reject } of batch) {
      storing.count("failed");
      reject(error);
    }
    return;
  }
  const half = Math.ceil(batch.length / 2);
  await store(storing, batch.slice(0, half));
  await store(storing, batch.slice(half));
}

function answer({ count }: Storing, { resolve, reject }: Waiting, result: SendResult | undefined): void {
  count(result?.code ?? "failed");
  if (!result) reject(new Error("send_messages returned too few results"));
  else if (result.message === null) reject(new Failure(result.code));
  else resolve({ created: result.code === "created", message: result.message });
}
