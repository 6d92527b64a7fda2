/**
 * What an event makes of a message; the message itself where it changes nothing. Each may be applied twice,
 * and to a state that is newer than the event: the events that follow lead to the same in the end.
 */
export function reduceMessage(message, event) {
  return reducers[event.type]?.(message, event) ?? message;
}

const reducers = {
  "message.updated": (_, event) => event.message,

  "message.deleted": (message, { deleted_at }) => ({ ...message, content: "", attachments: [], deleted_at }),

  "reaction.added"(message, { user_id, emoji }) {
    const kind = message.reactions.find((reaction) => reaction.emoji === emoji);
    if (kind?.user_ids.includes(user_id)) return message;
    if (!kind) return { ...message, reactions: [...message.reactions, { emoji, user_ids: [user_id] }] };
    const more = { emoji, user_ids: [...kind.user_ids, user_id] };
    return { ...message, reactions: message.reactions.map((other) => (other === kind ? more : other)) };
  },

  "reaction.removed"(message, { user_id, emoji }) {
    const without = (ids) => ids.filter((id) => id !== user_id);
    const reactions = message.reactions
      .map((kind) => (kind.emoji === emoji ? { emoji, user_ids: without(kind.user_ids) } : kind))
      .filter(({ user_ids }) => user_ids.length > 0);
    return { ...message, reactions };
  },
};

/**
 * A stretch of one discussion's messages, without holes but for what the stream is about to bring; and,
 * beside it, the messages that its replies quote.
 *
 * Pages and events come by different ways, so a page may be older than an event that arrived before it. What
 * is heard while a page is on its way is therefore applied once more on top of it.
 */
export class Messages {
  #bySeq = new Map();
  #quoted = new Map();
  #loads = new Set();
  #isAtNewest = false;

  /** Whether the stretch ends with the newest message, so that new ones belong to it. */
  get isAtNewest() {
    return this.#isAtNewest;
  }

  get first() {
    return this.#bySeq.size > 0 ? Math.min(...this.#bySeq.keys()) : Number.NaN;
  }

  get last() {
    return this.#bySeq.size > 0 ? Math.max(...this.#bySeq.keys()) : Number.NaN;
  }

  has(seq) {
    return this.#bySeq.has(seq);
  }

  /** A message of the stretch or a quoted one. */
  get(seq) {
    return this.#bySeq.get(seq) ?? this.#quoted.get(seq);
  }

  /** The latest of the stretch of which that holds, or null. */
  findLast(holds) {
    for (let seq = this.last; this.has(seq); seq--) if (holds(this.get(seq))) return this.get(seq);
    return null;
  }

  /** Takes a page that joins the stretch; gives its messages as they are now, and those added meanwhile. */
  load(fetch) {
    return this.#load(fetch, ({ items, has_after }) => {
      const isNewer = !(items.at(-1)?.seq < this.last);
      for (const message of items) this.#bySeq.set(message.seq, message);
      if (isNewer && !has_after) this.#isAtNewest = true;
      return items.map(({ seq }) => seq);
    });
  }

  /** Takes a message that is quoted. */
  loadQuoted(fetch) {
    return this.#load(fetch, (message) => {
      if (message) this.#quoted.set(message.seq, message);
      return message ? [message.seq] : [];
    });
  }

  async #load(fetch, take) {
    const heard = [];
    this.#loads.add(heard);
    try {
      const seqs = new Set(take(await fetch()));
      for (const event of heard) for (const seq of this.#reduce(event)) seqs.add(seq);
      return [...seqs].sort((a, b) => a - b).map((seq) => this.get(seq));
    } finally {
      this.#loads.delete(heard);
    }
  }

  /** The messages that an event has changed or added. */
  apply(event) {
    for (const heard of this.#loads) heard.push(event);
    return this.#reduce(event).map((seq) => this.get(seq));
  }

  /** Lets go of the oldest. */
  forget(seqs) {
    for (const seq of seqs) this.#bySeq.delete(seq);
  }

  #reduce(event) {
    if (event.type === "message.new") return this.#add(event.message);
    const seq = event.seq ?? event.message?.seq;
    const changed = [this.#bySeq, this.#quoted].filter((messages) => {
      const before = messages.get(seq);
      const after = before && reduceMessage(before, event);
      if (after === before) return false;
      messages.set(seq, after);
      return true;
    });
    return changed.length > 0 ? [seq] : [];
  }

  #add(message) {
    if (!this.#isAtNewest || this.#bySeq.has(message.seq) || message.seq < this.first) return [];
    this.#bySeq.set(message.seq, message);
    return [message.seq];
  }
}
