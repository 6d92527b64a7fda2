import type { Send } from "../../sql/messages.ts";
import { limits } from "../limits.ts";

/** A send that waits for its batch. */
export interface Waiting {
  send: Send;
  bytes: number;
  resolve: (sent: { created: boolean; message: string }) => void;
  reject: (error: unknown) => void;
}

/**
 * The sends that wait, each sender's in their order, and the senders in turn. Who has sends in flight is held
 * back until they are answered: if those are refused as a whole and tried again one by one, these must not be
 * stored before them. Nobody waits for a sender who is held back, and no batch looks through what that one
 * has sent: a thousand sends that can only go one by one are a thousand short looks.
 */
export class SendLine {
  /** Those who may send, who has waited longest first. */
  readonly #ready = new Map<string, Waiting[]>();
  /** Those who have sends in flight, with what waits behind these. */
  readonly #heldBack = new Map<string, Waiting[]>();
  /** All that wait. */
  length = 0;
  bytes = 0;
  /** Those of senders who are not held back. */
  ready = 0;

  push(waiting: Waiting): void {
    const { sender_id } = waiting.send;
    this.length++;
    this.bytes += waiting.bytes;
    const heldBack = this.#heldBack.get(sender_id);
    if (heldBack) {
      heldBack.push(waiting);
      return;
    }
    this.ready++;
    const theirs = this.#ready.get(sender_id);
    if (theirs) theirs.push(waiting);
    else this.#ready.set(sender_id, [waiting]);
  }

  /** Takes the next batch, of at most so many sends; its senders are held back until release(). */
  take(most: number): Waiting[] {
    const batch: Waiting[] = [];
    let bytesLeft: number = limits.batchBytes;
    for (const [senderId, theirs] of this.#ready) {
      const count = countTogether(theirs, Math.min(most, limits.batchMessages) - batch.length, bytesLeft);
      if (count === 0) break;
      this.#ready.delete(senderId);
      this.#heldBack.set(senderId, theirs);
      this.ready -= theirs.length;
      for (const waiting of theirs.splice(0, count)) {
        bytesLeft -= waiting.bytes;
        batch.push(waiting);
      }
    }
    this.length -= batch.length;
    this.bytes -= limits.batchBytes - bytesLeft;
    return batch;
  }

  /** A batch has been answered: its senders come next after all who wait already. */
  release(batch: readonly Waiting[]): void {
    for (const { send } of batch) {
      const theirs = this.#heldBack.get(send.sender_id);
      this.#heldBack.delete(send.sender_id);
      if (!theirs || theirs.length === 0) continue;
      this.#ready.set(send.sender_id, theirs);
      this.ready += theirs.length;
    }
  }
}

/**
 * How many of one sender's sends can go together, of at most so many with so many bytes: the first, if there
 * is room for it, and those after it. It ends before a second one to the same discussion with the same
 * client_id, which in the next batch finds the first one stored; before a second one with the same
 * attachment, which finds it sent; and before a reply that follows on a message to the same discussion, as it
 * may be a reply to that.
 */
function countTogether(theirs: readonly Waiting[], most: number, bytesLeft: number): number {
  const keys = new Set<string>();
  let bytes = 0;
  let count = 0;
  for (const { send, bytes: sendBytes } of theirs) {
    bytes += sendBytes;
    if (count >= most || bytes > bytesLeft) break;
    const talk = `in ${send.discussion_id}`;
    if (send.reply_to_seq !== null && keys.has(talk)) break;
    keys.add(talk);
    if (send.client_id !== null) {
      const key = `${talk} ${send.client_id}`;
      if (keys.has(key)) break;
      keys.add(key);
    }
    if (send.attachment_ids.some((id) => keys.has(id))) break;
    for (const id of send.attachment_ids) keys.add(id);
    count++;
  }
  return count;
}
