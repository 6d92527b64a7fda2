import { dayOf, disc, h, textWithLinks, timeOf } from "./element.js";

const MOST_SHOWN = 500;
/** While somebody reads further up, what they read should not be taken away; but this much is enough. */
const MOST_SHOWN_ABOVE = 2000;
const TRIMMED_AT_ONCE = 100;
const ONE_BREATH_MS = 5 * 60_000;

/** The messages on the page: each once, by `seq`; what is not stored yet stands below them. */
export class Timeline {
  #scroller;
  #list;
  #context;
  #atEnd = true;

  /** `context`: { me, people, retry(clientId), discard(clientId) } */
  constructor(scroller, list, context) {
    this.#scroller = scroller;
    this.#list = list;
    this.#context = context;
    scroller.addEventListener("scroll", () => {
      this.#atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
    });
    new ResizeObserver(() => this.#atEnd && this.toEnd()).observe(scroller);
  }

  get atEnd() {
    return this.#atEnd;
  }

  get firstSeq() {
    return seqOf(this.#stored()[0]);
  }

  get lastSeq() {
    return seqOf(this.#stored().at(-1));
  }

  get last() {
    return this.#stored().at(-1)?.message;
  }

  clear() {
    this.#list.replaceChildren();
    this.#atEnd = true;
  }

  toEnd() {
    this.#atEnd = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  prepend(messages) {
    this.#keepPlace(() => {
      for (const message of messages) this.#put(message);
    });
  }

  /** True when it was not there before. */
  place(message) {
    const isNew = this.#put(message);
    this.#trim();
    if (this.#atEnd) this.toEnd();
    return isNew;
  }

  placePending(entry) {
    const item = pendingItem(entry, this.#context);
    const old = this.#pending(entry.client_id);
    if (old) old.replaceWith(item);
    else this.#list.append(item);
    if (!old || this.#atEnd) this.toEnd();
  }

  dropPending(clientId) {
    this.#pending(clientId)?.remove();
  }

  /** A line above the first message that was unread on opening. */
  markUnread(afterSeq) {
    const item = this.#stored().find(
      (element) => seqOf(element) > afterSeq && !isMine(element, this.#context),
    );
    item?.classList.add("first-unread");
    return item ?? null;
  }

  #put(message) {
    if (message.sender_id === this.#context.me && message.client_id) this.dropPending(message.client_id);
    const next = this.#placeFor(message.seq);
    if (next.before && seqOf(next.before) === message.seq) return false;
    const item = storedItem(message, this.#context);
    this.#list.insertBefore(item, next.after);
    join(item);
    join(item.nextElementSibling);
    return true;
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
    if (this.#list.childElementCount <= (this.#atEnd ? MOST_SHOWN : MOST_SHOWN_ABOVE)) return;
    this.#keepPlace(() => {
      for (const item of this.#stored().slice(0, TRIMMED_AT_ONCE)) item.remove();
      join(this.#list.firstElementChild);
    });
  }

  /** Changes what is above without moving what is being read. */
  #keepPlace(change) {
    const below = this.#scroller.scrollHeight - this.#scroller.scrollTop;
    change();
    this.#scroller.scrollTop = this.#scroller.scrollHeight - below;
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

function isMine(item, { me }) {
  return item.message.sender_id === me;
}

function storedItem(message, { me, people }) {
  const mine = message.sender_id === me;
  const name = people.show(h("span", { class: "sender" }), message.sender_id);
  const avatar = disc(message.sender_id, people.show(h("span"), message.sender_id, "initials"));
  const item = h(
    "li",
    { class: mine ? "message mine" : "message" },
    h("p", { class: "day" }),
    avatar,
    h(
      "div",
      { class: "bubble" },
      name,
      body(message),
      h("span", { class: "when" }, timeOf(message.created_at)),
    ),
  );
  item.message = message;
  return item;
}

function body({ content, deleted_at }) {
  if (deleted_at) return h("p", { class: "content deleted" }, "This message was deleted.");
  return h("p", { class: "content", dir: "auto" }, ...textWithLinks(content));
}

function pendingItem(entry, { retry, discard }) {
  const { client_id, content, state, reason } = entry;
  const words = {
    sending: "Sending…",
    waiting: "Not sent yet, trying again…",
    refused: `Not sent: ${reason}`,
  };
  const buttons = [
    h("button", { type: "button", onclick: () => retry(client_id) }, "Try again"),
    h("button", { type: "button", onclick: () => discard(client_id) }, "Discard"),
  ];
  return h(
    "li",
    { class: `message mine pending ${state}`, "data-client-id": client_id },
    h(
      "div",
      { class: "bubble" },
      h("p", { class: "content", dir: "auto" }, ...textWithLinks(content)),
      h("p", { class: "status" }, words[state], ...(state === "refused" ? buttons : [])),
    ),
  );
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
