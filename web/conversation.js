import * as api from "./api.js";
import { byId, notify } from "./element.js";
import { picture } from "./sidebar.js";
import { Timeline } from "./timeline.js";

const LOAD_EARLIER_WITHIN_PX = 300;
const SAVE_READ_AFTER_MS = 400;

/** The open discussion: its head, its messages, reading them, and writing to it. */
export class Conversation {
  #context;
  #timeline;
  #id = null;
  /** Set anew on every opening, so that late answers for an earlier one are known by it. */
  #visit = null;
  #drafts = new Map();

  /** `context`: { me, people, discussions, outbox } */
  constructor(context) {
    this.#context = context;
    const { outbox } = context;
    this.#timeline = new Timeline(byId("scroller"), byId("messages"), {
      ...context,
      retry: (clientId) => outbox.retry(clientId),
      discard: (clientId) => {
        outbox.drop(clientId);
        this.#timeline.dropPending(clientId);
        this.#showSeen();
      },
    });
    byId("scroller").addEventListener("scroll", () => this.#scrolled());
    byId("earlier").addEventListener("click", () => this.#loadEarlier());
    byId("to-newest").addEventListener("click", () => this.#timeline.toEnd());
    document.addEventListener("visibilitychange", () => this.#read());
    this.#listenToComposer();
  }

  get id() {
    return this.#id;
  }

  /** Open a discussion one is a member of, or none. Opening it again reloads it. */
  async show(id) {
    this.#keepDraft();
    const visit = { loading: false, failed: false, read: 0, saved: 0, timer: 0 };
    this.#visit = visit;
    this.#id = id;
    document.body.classList.toggle("reading", id !== null);
    byId("open").hidden = id === null;
    byId("nothing-open").hidden = id !== null;
    this.#timeline.clear();
    if (id === null) return;
    this.refresh();
    this.#restoreDraft();
    await this.#loadNewest(visit);
  }

  /** The discussion's name, members or marks have changed. */
  refresh() {
    const discussion = this.#discussion();
    if (!discussion) return;
    byId("title").textContent = discussion.title;
    byId("subtitle").textContent = discussion.kind === "direct" ? "" : subtitle(discussion);
    byId("scroller").classList.toggle("direct", discussion.kind === "direct");
    byId("head-avatar").replaceChildren(picture(discussion, this.#context.me));
    this.#showSeen();
  }

  /** A message of this discussion, from the stream or in answer to sending it. */
  place(message) {
    const isNew = this.#timeline.place(message);
    const mine = message.sender_id === this.#context.me;
    if (isNew && !mine && !this.#timeline.atEnd) byId("to-newest").hidden = false;
    if (isNew && !mine) this.#announce(message);
    this.#showEarlier();
    this.#showSeen();
    this.#read();
  }

  /** The connection is back: try what failed without it. */
  resume() {
    const visit = this.#visit;
    if (visit?.read > visit?.saved) this.#saveRead(visit, this.#id);
    if (!visit?.failed) return;
    if (this.#timeline.lastSeq) this.#loadEarlier();
    else this.#loadNewest(visit);
  }

  placePending(entry) {
    this.#timeline.placePending(entry);
    this.#showSeen();
  }

  #discussion() {
    return this.#context.discussions.get(this.#id);
  }

  async #loadNewest(visit) {
    this.#showEarlier();
    const readBefore = this.#readBefore();
    await this.#load(visit, undefined, (items) => {
      for (const message of items) this.#timeline.place(message);
      for (const entry of this.#context.outbox.waiting(this.#id)) this.#timeline.placePending(entry);
      const unread = readBefore === null ? null : this.#timeline.markUnread(readBefore);
      this.#timeline.toEnd();
      unread?.scrollIntoView({ block: "nearest" });
      this.#showSeen();
      requestAnimationFrame(() => this.#scrolled());
    });
  }

  #readBefore() {
    const discussion = this.#discussion();
    const mine = discussion?.members.find(({ user_id }) => user_id === this.#context.me);
    return mine && discussion.unread_count > 0 ? mine.last_read_seq : null;
  }

  /** `seq` runs from 1 without holes: so a page that begins above 1 is not all. */
  #loadEarlier() {
    const visit = this.#visit;
    const before = this.#timeline.firstSeq;
    if (visit && !visit.loading && before > 1) {
      this.#load(visit, before, (items) => this.#timeline.prepend(items));
    }
  }

  async #load(visit, before, take) {
    visit.loading = true;
    try {
      const { items } = await api.messages(this.#id, before);
      visit.failed = false;
      if (visit === this.#visit) take(items);
    } catch (problem) {
      visit.failed = true;
      if (visit === this.#visit) notify(problem.message);
    } finally {
      visit.loading = false;
      if (visit === this.#visit) this.#showEarlier();
    }
  }

  /** Made invisible, not taken away: nothing below it may move. */
  #showEarlier() {
    byId("earlier").classList.toggle("gone", !(this.#timeline.firstSeq > 1));
  }

  #scrolled() {
    if (byId("scroller").scrollTop < LOAD_EARLIER_WITHIN_PX) this.#loadEarlier();
    if (this.#timeline.atEnd) byId("to-newest").hidden = true;
    this.#read();
  }

  /** What stands at the end of a visible page has been read. */
  #read() {
    const visit = this.#visit;
    const discussion = this.#discussion();
    const seq = this.#timeline.lastSeq;
    if (!discussion || document.hidden || !this.#timeline.atEnd || discussion.unread_count === 0) return;
    if (!(seq > visit.read)) return;
    visit.read = seq;
    this.#context.discussions.read(discussion.id);
    this.#saveRead(visit, discussion.id);
  }

  /** In a lively group one request stands for many messages. What fails is tried again by `resume`. */
  #saveRead(visit, id) {
    visit.timer ||= setTimeout(async () => {
      visit.timer = 0;
      const seq = visit.read;
      await api.markRead(id, seq).then(
        () => {
          visit.saved = seq;
        },
        () => {},
      );
    }, SAVE_READ_AFTER_MS);
  }

  #showSeen() {
    const discussion = this.#discussion();
    const last = this.#timeline.last;
    const waiting = discussion && this.#context.outbox.waiting(discussion.id).length > 0;
    const mine = last?.sender_id === this.#context.me && !waiting;
    const others = discussion?.members.filter(({ user_id }) => user_id !== this.#context.me) ?? [];
    const seen = mine ? others.filter(({ last_read_seq }) => last_read_seq >= last.seq) : [];
    const names = seen.map(({ user_id }) => this.#context.people.name(user_id) ?? "…");
    const by =
      names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
    byId("seen").textContent =
      seen.length === 0 ? "" : discussion.kind === "direct" ? "Seen" : `Seen by ${by}`;
  }

  #announce(message) {
    const name = this.#context.people.name(message.sender_id) ?? "";
    byId("announcer").textContent = `${name}: ${message.content}`;
  }

  #listenToComposer() {
    const draft = byId("draft");
    byId("composer").addEventListener("submit", (event) => this.#submit(event));
    draft.addEventListener("input", () => fit(draft));
    draft.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId("composer").requestSubmit();
    });
  }

  #submit(event) {
    event.preventDefault();
    const draft = byId("draft");
    const content = draft.value.trim();
    if (content === "" || this.#id === null) return;
    const entry = this.#context.outbox.add(this.#id, content);
    if (!entry) return notify("Too many messages are waiting to be sent.");
    draft.value = "";
    fit(draft);
    this.placePending(entry);
    draft.focus();
  }

  #keepDraft() {
    if (this.#id !== null) this.#drafts.set(this.#id, byId("draft").value);
  }

  #restoreDraft() {
    const draft = byId("draft");
    draft.value = this.#drafts.get(this.#id) ?? "";
    fit(draft);
    if (matchMedia("(pointer: fine)").matches) draft.focus();
    else byId("title").focus({ preventScroll: true });
  }
}

function subtitle({ member_count, visibility }) {
  const members = member_count === 1 ? "1 member" : `${member_count} members`;
  return visibility === "public" ? `Public group, ${members}` : `Group, ${members}`;
}

function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
