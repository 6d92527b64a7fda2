import * as api from "./api.js";
import { listOf } from "./text.js";

const TELL_EVERY_MS = 3000;

/** Who is typing where. It ends by itself, or when the message arrives. */
export class Typing {
  #timers = new Map();
  #changed;

  /** `changed(discussionId)` */
  constructor(changed) {
    this.#changed = changed;
  }

  /** `expires_in` is in seconds. */
  hear({ discussion_id, user_id, expires_in }) {
    const timers = this.#timers.get(discussion_id) ?? new Map();
    this.#timers.set(discussion_id, timers);
    clearTimeout(timers.get(user_id));
    timers.set(
      user_id,
      setTimeout(() => this.end(discussion_id, user_id), expires_in * 1000),
    );
    this.#changed(discussion_id);
  }

  end(discussionId, userId) {
    const timers = this.#timers.get(discussionId);
    if (!timers?.has(userId)) return;
    clearTimeout(timers.get(userId));
    timers.delete(userId);
    if (timers.size === 0) this.#timers.delete(discussionId);
    this.#changed(discussionId);
  }

  /** "Ann is typing…", or nothing. `nameOf(userId)` */
  words(discussionId, nameOf) {
    const ids = [...(this.#timers.get(discussionId)?.keys() ?? [])];
    if (ids.length === 0) return "";
    return `${listOf(ids.map(nameOf))} ${ids.length === 1 ? "is" : "are"} typing…`;
  }
}

let toldId = null;
let toldAt = 0;

/** Lets the others know that one types; often called, seldom sent. */
export function tellTyping(discussionId) {
  if (toldId === discussionId && Date.now() - toldAt < TELL_EVERY_MS) return;
  toldId = discussionId;
  toldAt = Date.now();
  // Of no importance: the next one will do.
  api.typing(discussionId).catch(() => {});
}

/** After a message was sent, the next letter is told at once. */
export function forgetTyping() {
  toldId = null;
}
