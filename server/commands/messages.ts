import type { Pool } from "../../sql/database.ts";
import { type Send, type SendResult, sendMessages } from "../../sql/messages.ts";
import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";
import { isUnavailable } from "./unavailable.ts";

/** A stored message as JSON text; `created` is false if the same client_id had stored it before. */
export interface Sent {
  created: boolean;
  message: string;
}

/** The one way in for messages, from REST and sockets alike. */
export interface Sender {
  /**
   * Stores a message. Throws session_revoked, discussion_not_found, not_a_member, reply_not_found,
   * client_id_reused, overloaded; or what Postgres throws, after which it may or may not be stored: the
   * caller's client asks again with the same client_id.
   */
  send(send: Send): Promise<Sent>;
}

interface Waiting {
  send: Send;
  bytes: number;
  resolve: (sent: Sent) => void;
  reject: (error: unknown) => void;
}

/**
 * Group commit: sends that arrive while a batch is in flight form the next one. There is no timer, so an idle
 * server adds no delay, and a busy one pays for one transaction, one flush and one NOTIFY per batch.
 */
export function createSender(pool: Pool): Sender {
  const line: Waiting[] = [];
  let lineBytes = 0;
  let inFlight = false;

  async function drain(): Promise<void> {
    inFlight = true;
    // Sends of the same tick belong to the same batch.
    await null;
    while (line.length > 0) {
      const batch = takeBatch(line);
      for (const { bytes } of batch) lineBytes -= bytes;
      await store(pool, batch);
    }
    inFlight = false;
  }

  return {
    send: (send) =>
      new Promise((resolve, reject) => {
        const bytes = Buffer.byteLength(send.content);
        if (line.length >= limits.sendsWaiting || lineBytes + bytes > limits.sendsWaitingBytes) {
          reject(
            new Failure("overloaded", "Too many messages at once", {
              retryAfterSeconds: limits.retryAfterSeconds,
            }),
          );
          return;
        }
        line.push({ send, bytes, resolve, reject });
        lineBytes += bytes;
        if (!inFlight) void drain();
      }),
  };
}

/**
 * Takes the next batch off the line. A second send of one sender, discussion and client_id stays for the next
 * batch, where it finds the first one stored.
 */
function takeBatch(line: Waiting[]): Waiting[] {
  const keys = new Set<string>();
  let bytes = 0;
  let count = 0;
  for (const { send, bytes: sendBytes } of line) {
    const key = send.client_id === null ? null : `${send.sender_id} ${send.discussion_id} ${send.client_id}`;
    if (count === limits.batchMessages || bytes + sendBytes > limits.batchBytes) break;
    if (key !== null && keys.has(key)) break;
    if (key !== null) keys.add(key);
    bytes += sendBytes;
    count++;
  }
  return line.splice(0, count);
}

async function store(pool: Pool, batch: Waiting[]): Promise<void> {
  try {
    const results = await sendMessages(
      pool,
      batch.map(({ send }) => send),
    );
    batch.forEach((waiting, index) => {
      answer(waiting, results[index]);
    });
  } catch (error) {
    // One send that Postgres refuses must not take the others along: it is found by halving. Not so when
    // Postgres itself is away: then all of them would wait for as many time-outs.
    if (batch.length > 1 && !isUnavailable(error)) {
      const half = Math.ceil(batch.length / 2);
      await store(pool, batch.slice(0, half));
      await store(pool, batch.slice(half));
    } else {
      for (const { reject } of batch) reject(error);
    }
  }
}

function answer({ resolve, reject }: Waiting, result: SendResult | undefined): void {
  if (!result) reject(new Error("send_messages returned too few rows"));
  else if (result.code !== "created" && result.code !== "stored") reject(new Failure(result.code));
  else if (result.message === null) reject(new Error("send_messages returned no message"));
  else resolve({ created: result.code === "created", message: result.message });
}
