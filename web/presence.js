import * as api from "./api.js";
import { timeSince } from "./time.js";

const MOST_MEMBERS = 100;
/** So many one-to-one discussions are asked about at the start, from the top; the rest when opened. */
const MOST_ASKED = 20;

/** Who is there, as far as it has been asked and told. */
export class Presence {
  #known = new Map();
  #changed;

  /** `changed(userId)` */
  constructor(changed) {
    this.#changed = changed;
  }

  /** `signal`: { user_id, status, last_seen_at }, as items of answers are, too. */
  hear({ user_id, status, last_seen_at }) {
    this.#known.set(user_id, { status, last_seen_at });
    for (const element of document.querySelectorAll(`[data-presence="${CSS.escape(user_id)}"]`)) {
      this.#dress(element, user_id);
    }
    this.#changed(user_id);
  }

  /** Asks for the members of a discussion; without an answer they have no dot. */
  async ask({ id, member_count }) {
    if (member_count > MOST_MEMBERS) return;
    const answer = await api.presence(id).catch(() => null);
    for (const item of answer?.items ?? []) this.hear(item);
  }

  /** One after the other: nobody waits for dots. */
  async askAll(discussions) {
    const direct = discussions.filter(({ kind, member_count }) => kind === "direct" && member_count > 1);
    for (const discussion of direct.slice(0, MOST_ASKED)) await this.ask(discussion);
  }

  isOnline(userId) {
    return this.#known.get(userId)?.status === "online";
  }

  /** "online", "last seen 5 minutes ago", or nothing where it is not known. */
  words(userId) {
    if (this.isOnline(userId)) return "online";
    const seen = this.#known.get(userId)?.last_seen_at;
    return seen ? `last seen ${timeSince(seen)}` : "";
  }

  /** Gives an element a dot while that user is online. */
  mark(element, userId) {
    element.dataset.presence = userId;
    this.#dress(element, userId);
    return element;
  }

  #dress(element, userId) {
    element.toggleAttribute("data-online", this.isOnline(userId));
  }
}
