import { messageItem, pendingItem } from "./message.js";
import { dayOf } from "./time.js";

const MOST_SHOWN = 500;
/** While somebody reads further up, what they read should not be taken away; but this much is enough. */
const MOST_SHOWN_ABOVE = 2000;
const TRIMMED_AT_ONCE = 100;
const ONE_BREATH_MS = 5 * 60_000;
const NEAR_END_PX = 40;
const FLASH_MS = 2000;

/** The messages on the page: each once, by `seq`; what is not stored yet stands below them. */
export class Timeline {
  #scroller;
  #list;
  #context;
  #isAtEnd = true;

  /** `context`: what messageItem() and pendingItem() need, and trimmed(seqs) */
  constructor(scroller, list, context) {
    this.#scroller = scroller;
    this.#list = list;
    this.#context = context;
    scroller.addEventListener("scroll", () => {
      this.#isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
    });
    new ResizeObserver(() => this.#isAtEnd && this.toEnd()).observe(scroller);
  }

  /** Whether the end is in sight. */
  get isAtEnd() {
    return this.#isAtEnd;
  }

  get last() {
    return this.#stored().at(-1)?.message;
  }

  clear() {
    this.#list.replaceChildren();
    this.#isAtEnd = true;
  }

  toEnd() {
    this.#isAtEnd = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /**
   * Puts messages in their places, anew where they are there already. Where the end is in sight it stays so,
   * unless `hold`; else what is being read stays in its place.
   */
  place(messages, { hold = false } = {}) {
    this.#keepPlace(this.#isAtEnd && !hold, () => {
      for (const message of messages) this.#put(message);
    });
    this.#trim();
  }

  /** Draws those anew that show something which has changed elsewhere. */
  redraw(concerns) {
    const items = this.#stored().filter(({ message }) => concerns(message));
    if (items.length > 0) this.place(items.map(({ message }) => message));
  }

  placePending(entry) {
    const item = pendingItem(entry, this.#context);
    const old = this.#pending(entry.client_id);
    if (old) old.replaceWith(item);
    else this.#list.append(item);
    if (!old || this.#isAtEnd) this.toEnd();
  }

  dropPending(clientId) {
    this.#pending(clientId)?.remove();
  }

  /** A line above the first message of others after `seq`, whose element it gives; null takes it away. */
  markUnread(seq) {
    this.#list.querySelector(".first-unread")?.classList.remove("first-unread");
    if (seq === null) return null;
    const isUnread = ({ message }) => message.seq > seq && message.sender_id !== this.#context.me;
    const item = this.#stored().find(isUnread) ?? null;
    item?.classList.add("first-unread");
    return item;
  }

  get hasUnreadMark() {
    return this.#list.querySelector(".first-unread") !== null;
  }

  /** Brings a message into sight; false if it is not on the page. */
  reveal(seq) {
    const item = this.#item(seq);
    if (!item) return false;
    item.scrollIntoView({ block: "center" });
    item.classList.remove("flash");
    requestAnimationFrame(() => item.classList.add("flash"));
    setTimeout(() => item.classList.remove("flash"), FLASH_MS);
    return true;
  }

  focusMenu(seq) {
    this.#item(seq)?.querySelector(".more")?.focus();
  }

  #item(seq) {
    return this.#list.querySelector(`[data-seq="${seq}"]`);
  }

  #put(message) {
    if (message.sender_id === this.#context.me && message.client_id) this.dropPending(message.client_id);
    const item = messageItem(message, this.#context);
    const { before, after } = this.#placeFor(message.seq);
    if (before && seqOf(before) === message.seq) exchange(before, item);
    else this.#list.insertBefore(item, after);
    join(item);
    join(item.nextElementSibling);
  }

  /** From the end, where nearly all of them go. */
  #placeFor(seq) {
    let after = null;
    let before = this.#list.lastElementChild;
    while (before && !(seqOf(before) <= seq)) {
      after = before;
      before = before.previousElementSibling;
    }
    return { before, after };
  }

  /** An open page must not grow for ever. */
  #trim() {
    if (this.#list.childElementCount <= (this.#isAtEnd ? MOST_SHOWN : MOST_SHOWN_ABOVE)) return;
    this.#keepPlace(this.#isAtEnd, () => {
      const oldest = this.#stored().slice(0, TRIMMED_AT_ONCE);
      for (const item of oldest) item.remove();
      join(this.#list.firstElementChild);
      this.#context.trimmed(oldest.map(seqOf));
    });
  }

  /** Changes the list without moving what is being read: the end, or the topmost message in sight. */
  #keepPlace(sticksToEnd, change) {
    const top = this.#scroller.getBoundingClientRect().top;
    const seen = sticksToEnd ? null : this.#stored().find((item) => bottomOf(item) > top);
    const before = seen ? bottomOf(seen) : 0;
    change();
    const now = seen && this.#item(seqOf(seen));
    if (sticksToEnd) this.toEnd();
    else if (now) this.#scroller.scrollTop += bottomOf(now) - before;
  }

  #stored() {
    return [...this.#list.children].filter((item) => item.message);
  }

  #pending(clientId) {
    return [...this.#list.children].find((item) => item.dataset.clientId === clientId);
  }
}

/** NaN for what is not stored yet, so that no comparison holds. */
function seqOf(item) {
  return item?.message?.seq ?? Number.NaN;
}

function bottomOf(item) {
  return item.getBoundingClientRect().bottom;
}

/** Puts the new element of a message in place of the old one; a focused button stays focused. */
function exchange(old, item) {
  for (const name of ["first-unread", "flash"]) item.classList.toggle(name, old.classList.contains(name));
  const act = old.contains(document.activeElement) ? document.activeElement.dataset.act : null;
  old.replaceWith(item);
  if (act) item.querySelector(`[data-act="${CSS.escape(act)}"]`)?.focus({ preventScroll: true });
}

/** A message soon after another of the same sender goes without name and picture; a new day gets a line. */
function join(item) {
  if (!item?.message) return;
  const message = item.message;
  const earlier = item.previousElementSibling?.message;
  const sameDay = earlier && dayOf(earlier.created_at) === dayOf(message.created_at);
  const pauseMs = earlier ? Date.parse(message.created_at) - Date.parse(earlier.created_at) : 0;
  const continued = sameDay && earlier.sender_id === message.sender_id && pauseMs < ONE_BREATH_MS;
  item.classList.toggle("continued", Boolean(continued));
  item.querySelector(".day").textContent = sameDay ? "" : dayOf(message.created_at);
}
