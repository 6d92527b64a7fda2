import { sendMessage } from "./api.js";

const MOST_WAITING = 100;
const SLOWEST_RETRY_MS = 20_000;

/**
 * Messages written here and not yet known to be stored. Each has a `client_id` for life, and the server
 * stores one message per `client_id`; so whatever happened to an answer, sending again never doubles. For the
 * same reason the waiting ones may be kept over a reload of the page, and sent again after it.
 *
 * Per discussion one is sent after the other, so that they arrive in the order they were written.
 */
export class Outbox {
  #entries;
  #hear;
  #storageKey;
  #busy = new Map();

  /** `hear`: { changed(entry), sent(entry, message) } */
  constructor(me, hear) {
    this.#hear = hear;
    this.#storageKey = `parley.outbox.${me}`;
    this.#entries = restore(this.#storageKey);
    addEventListener("online", () => this.hurry());
    for (const { discussion_id } of this.#entries) this.#work(discussion_id);
  }

  waiting(discussionId) {
    return this.#entries.filter((entry) => entry.discussion_id === discussionId);
  }

  /** `written`: { content, reply_to_seq, attachments }. Gives null when too many are waiting already. */
  add(discussionId, written) {
    if (this.#entries.length >= MOST_WAITING) return null;
    const entry = {
      client_id: crypto.randomUUID(),
      discussion_id: discussionId,
      ...written,
      created_at: new Date().toISOString(),
      state: "sending",
      reason: "",
    };
    this.#entries.push(entry);
    this.#save();
    this.#work(discussionId);
    return entry;
  }

  retry(clientId) {
    const entry = this.#entries.find(({ client_id }) => client_id === clientId);
    if (!entry) return;
    this.#mark(entry, "sending");
    this.#work(entry.discussion_id);
  }

  /** The message is stored (or given up): nothing more to do for it. */
  drop(clientId) {
    const before = this.#entries.length;
    this.#entries = this.#entries.filter(({ client_id }) => client_id !== clientId);
    if (this.#entries.length < before) this.#save();
  }

  dropDiscussion(id) {
    for (const { client_id } of this.waiting(id)) this.drop(client_id);
  }

  /** The connection is back: do not wait out the pauses. */
  hurry() {
    for (const wake of this.#busy.values()) wake();
  }

  async #work(discussionId) {
    if (this.#busy.has(discussionId)) return;
    this.#busy.set(discussionId, () => {});
    for (let entry = this.#next(discussionId), failures = 0; entry; entry = this.#next(discussionId)) {
      const problem = await this.#send(entry);
      failures = problem ? failures + 1 : 0;
      if (problem) await this.#pause(discussionId, problem, failures);
    }
    this.#busy.delete(discussionId);
  }

  #next(discussionId) {
    return this.waiting(discussionId).find(({ state }) => state !== "refused");
  }

  /** The problem when it has to be tried again. */
  async #send(entry) {
    try {
      const message = await sendMessage(entry.discussion_id, fieldsOf(entry));
      this.drop(entry.client_id);
      this.#hear.sent(entry, message);
    } catch (problem) {
      this.#mark(entry, problem.temporary ? "waiting" : "refused", problem.message);
      if (problem.temporary) return problem;
    }
    return null;
  }

  async #pause(discussionId, problem, failures) {
    const backOffMs = Math.min(SLOWEST_RETRY_MS, 1000 * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
    const { promise, resolve } = Promise.withResolvers();
    const timer = setTimeout(resolve, Math.max(backOffMs, problem.retryAfterMs));
    this.#busy.set(discussionId, resolve);
    await promise;
    clearTimeout(timer);
    this.#busy.set(discussionId, () => {});
  }

  #mark(entry, state, reason = "") {
    if (!this.#entries.includes(entry)) return;
    Object.assign(entry, { state, reason });
    this.#save();
    this.#hear.changed(entry);
  }

  #save() {
    try {
      sessionStorage.setItem(this.#storageKey, JSON.stringify(this.#entries));
    } catch {
      // Storage may be full or forbidden; then unsent messages do not outlive a reload.
    }
  }
}

function fieldsOf({ client_id, content, reply_to_seq, attachments }) {
  return {
    client_id,
    content,
    ...(reply_to_seq && { reply_to_seq }),
    ...(attachments.length > 0 && { attachment_ids: attachments.map(({ id }) => id) }),
  };
}

function restore(storageKey) {
  try {
    const entries = JSON.parse(sessionStorage.getItem(storageKey) ?? "[]");
    return entries.map((entry) => ({ reply_to_seq: null, attachments: [], ...entry }));
  } catch {
    return [];
  }
}
