import * as api from "./api.js";
import { byId } from "./element.js";
import { listOf } from "./text.js";

const SAVE_AFTER_MS = 400;

/** How far one has read the open discussion, and how far the others have. */
export class Reading {
  #context;
  #id = null;
  #read = 0;
  #saved = 0;
  #timer = 0;

  /** `context`: { me, people, discussions, outbox } */
  constructor(context) {
    this.#context = context;
  }

  /** Gives the last `seq` read so far, or null when there is nothing unread. */
  begin(id) {
    this.#id = id;
    this.#read = 0;
    this.#saved = 0;
    const discussion = this.#discussion();
    const mine = discussion?.members.find(({ user_id }) => user_id === this.#context.me);
    return mine && discussion.unread_count > 0 ? mine.last_read_seq : null;
  }

  /** All up to there has been seen. Shown at once; the log will say the same. */
  read(seq) {
    const discussion = this.#discussion();
    if (!discussion || discussion.unread_count === 0 || !(seq > this.#read)) return;
    this.#read = seq;
    this.#context.discussions.read(discussion.id);
    this.#save();
  }

  /** The connection is back: what could not be saved is tried again. */
  resume() {
    if (this.#read > this.#saved) this.#save();
  }

  /** Below one's own last message, who has read it. */
  showSeen(last) {
    const { me, people, outbox } = this.#context;
    const discussion = this.#discussion();
    const isWaiting = discussion && outbox.waiting(discussion.id).length > 0;
    const mine = last?.sender_id === me && !isWaiting;
    const others = discussion?.members.filter(({ user_id }) => user_id !== me) ?? [];
    const seen = mine ? others.filter(({ last_read_seq }) => last_read_seq >= last.seq) : [];
    const names = seen.map(({ user_id }) => people.name(user_id) ?? "…");
    const by = discussion?.kind === "direct" ? "" : ` by ${listOf(names)}`;
    byId("seen").textContent = seen.length === 0 ? "" : `Seen${by}`;
  }

  #discussion() {
    return this.#context.discussions.get(this.#id);
  }

  /** In a lively group one request stands for many messages. */
  #save() {
    const id = this.#id;
    this.#timer ||= setTimeout(async () => {
      this.#timer = 0;
      const seq = this.#read;
      if (id !== this.#id || seq === 0) return;
      const isSaved = await api.markRead(id, seq).then(
        () => true,
        () => false,
      );
      if (isSaved && id === this.#id) this.#saved = seq;
    }, SAVE_AFTER_MS);
  }
}
