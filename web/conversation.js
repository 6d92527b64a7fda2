import * as api from "./api.js";
import { Composer } from "./composer.js";
import { byId, notify } from "./element.js";
import { Head } from "./head.js";
import { summaryOf } from "./message.js";
import { MessageMenu } from "./message-menu.js";
import { Messages } from "./messages.js";
import { Reading } from "./reading.js";
import { Timeline } from "./timeline.js";
import { showVersions } from "./versions.js";

const LOAD_MORE_WITHIN_PX = 300;

/** The open discussion: its head, its messages, reading them, and writing to it. */
export class Conversation {
  #context;
  #timeline;
  #composer;
  #head;
  #reading;
  #menu;
  #id = null;
  /**
   * Set anew on every opening and every leap to another stretch of the messages, so that late answers for an
   * earlier one are known by it.
   */
  #visit = null;

  /** `context`: { me, people, presence, typing, discussions, outbox } */
  constructor(context) {
    this.#context = context;
    this.#head = new Head(context);
    this.#reading = new Reading(context);
    this.#menu = new MessageMenu({
      react: (...reaction) => this.#react(...reaction),
      reply: (message) => this.#composer.reply(message),
      edit: (message) => this.#composer.edit(message),
      remove: (message) => this.#remove(message),
    });
    this.#timeline = new Timeline(byId("scroller"), byId("messages"), this.#timelineContext());
    this.#composer = new Composer({
      ...context,
      write: (written) => this.#write(written),
      remove: (message) => this.#remove(message),
      goTo: (seq) => this.goTo(seq),
      lastOwn: () => this.#lastOwn(),
    });
    byId("scroller").addEventListener("scroll", () => this.#scrolled());
    byId("earlier").addEventListener("click", () => this.#loadEarlier());
    byId("to-newest").addEventListener("click", () => this.#toNewest());
    document.addEventListener("visibilitychange", () => this.#read());
  }

  get id() {
    return this.#id;
  }

  /** Opens a discussion one is a member of, at a message if `seq` is given; or none. Again: reloads it. */
  async show(id, seq = null) {
    this.#id = id;
    document.body.classList.toggle("reading", id !== null);
    byId("open").hidden = id === null;
    byId("nothing-open").hidden = id !== null;
    this.#composer.open(id);
    if (id === null) {
      this.#visit = null;
      this.#timeline.clear();
      return;
    }
    this.#head.begin(this.#discussion());
    const unreadAfter = this.#reading.begin(id);
    await this.#begin(seq === null ? { unreadAfter } : { seq });
  }

  /** Shows a message of the open discussion, wherever it stands. */
  async goTo(seq) {
    if (!this.#timeline.reveal(seq)) await this.#begin({ seq });
  }

  /** The discussion's name, members or marks have changed, or what is known of its people. */
  refresh() {
    const discussion = this.#discussion();
    if (!discussion) return;
    this.#head.show(discussion);
    this.#showEnds();
  }

  /** Names have become known that messages may mention. */
  refreshMentions() {
    this.#timeline.redraw(({ mentions }) => mentions.length > 0);
    this.refresh();
  }

  /** An event of this discussion; or a message in answer to sending it, as if it were one. */
  apply(event) {
    const { messages } = this.#visit;
    const isNew = event.type === "message.new" && !messages.has(event.message.seq);
    const changed = messages.apply(event);
    const isMissed = isNew && this.#isMissed(event.message);
    this.#timeline.place(changed.filter(({ seq }) => messages.has(seq)));
    if (isMissed) this.#timeline.markUnread(event.message.seq - 1);
    if (!isNew) for (const { seq } of changed) this.#timeline.redraw((other) => other.reply_to_seq === seq);
    this.#showEnds();
    this.#read();
  }

  /** What is not stored yet has its place below the newest. */
  placePending(entry) {
    if (!this.#visit.messages.isAtNewest) return;
    this.#timeline.placePending(entry);
    this.#showEnds();
  }

  #placeWaiting() {
    for (const entry of this.#context.outbox.waiting(this.#id)) this.placePending(entry);
  }

  /** The connection is back: try what failed without it. */
  resume() {
    this.#reading.resume();
    const visit = this.#visit;
    if (!visit?.failed) return;
    if (visit.messages.last) this.#scrolled();
    else this.#begin(visit.start);
  }

  #timelineContext() {
    const { me, people, outbox } = this.#context;
    return {
      me,
      people,
      quoted: (seq) => this.#quoted(seq),
      goTo: (seq) => this.goTo(seq),
      react: (...reaction) => this.#react(...reaction),
      openMenu: (message, button) => this.#openMenu(message, button),
      showVersions: (message) => showVersions(this.#id, message, this.#context),
      trimmed: (seqs) => this.#visit.messages.forget(seqs),
      retry: (clientId) => outbox.retry(clientId),
      discard: (clientId) => {
        outbox.drop(clientId);
        this.#timeline.dropPending(clientId);
        this.#showEnds();
      },
    };
  }

  #discussion() {
    return this.#context.discussions.get(this.#id);
  }

  /** Begins a stretch of messages. `start`: { seq } or { unreadAfter } to begin there; {}: the newest. */
  async #begin(start) {
    const { seq = null, unreadAfter = null } = start;
    const visit = { start, messages: new Messages(), asked: new Set(), loading: false, failed: false };
    this.#visit = visit;
    this.#timeline.clear();
    this.#showEnds();
    const around = seq ?? (unreadAfter === null ? undefined : unreadAfter + 1);
    await this.#load(visit, { around }, (messages) => {
      this.#timeline.place(messages);
      this.#placeWaiting();
      this.#timeline.toEnd();
      if (unreadAfter !== null) this.#timeline.markUnread(unreadAfter)?.scrollIntoView({ block: "nearest" });
      if (seq !== null && !this.#timeline.reveal(seq)) notify("This message is not there.");
      requestAnimationFrame(() => this.#scrolled());
    });
  }

  /** `seq` runs from 1 without holes: so a stretch that begins above 1 is not all. */
  #loadEarlier() {
    const { first } = this.#visit?.messages ?? {};
    if (first > 1) this.#loadMore({ before: first });
  }

  #loadLater() {
    const { isAtNewest, last } = this.#visit?.messages ?? {};
    if (isAtNewest === false && last) this.#loadMore({ after: last });
  }

  #loadMore(where) {
    if (this.#visit.loading) return;
    this.#load(this.#visit, where, (messages) => {
      this.#timeline.place(messages, { hold: true });
      if ("after" in where) this.#placeWaiting();
      requestAnimationFrame(() => this.#scrolled());
    });
  }

  async #load(visit, where, take) {
    visit.loading = true;
    try {
      const messages = await visit.messages.load(() => api.messages(this.#id, where));
      visit.failed = false;
      if (visit === this.#visit) take(messages.filter(({ seq }) => visit.messages.has(seq)));
    } catch (problem) {
      visit.failed = true;
      if (visit === this.#visit) notify(problem.message);
    } finally {
      visit.loading = false;
      if (visit === this.#visit) this.#showEnds();
    }
  }

  /** What a reply answers; asked for where it stands further up than the page reaches. */
  #quoted(seq) {
    const visit = this.#visit;
    const known = visit.messages.get(seq);
    if (!known && !visit.asked.has(seq)) {
      visit.asked.add(seq);
      this.#loadQuoted(visit, seq);
    }
    return known;
  }

  async #loadQuoted(visit, seq) {
    try {
      await visit.messages.loadQuoted(() => api.message(this.#id, seq));
    } catch {
      return void visit.asked.delete(seq);
    }
    if (visit === this.#visit) this.#timeline.redraw(({ reply_to_seq }) => reply_to_seq === seq);
  }

  /** What comes from others while one looks elsewhere gets the line "New" above it. */
  #isMissed(message) {
    const { me, people } = this.#context;
    if (message.sender_id === me) return false;
    byId("announcer").textContent = `${people.name(message.sender_id) ?? ""}: ${summaryOf(message)}`;
    return (document.hidden || !this.#isAtEnd()) && !this.#timeline.hasUnreadMark;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = byId("scroller");
    if (scrollTop < LOAD_MORE_WITHIN_PX) this.#loadEarlier();
    if (scrollHeight - scrollTop - clientHeight < LOAD_MORE_WITHIN_PX) this.#loadLater();
    this.#showEnds();
    this.#read();
  }

  /** What stands at the end of a visible page has been read. */
  #read() {
    if (document.hidden || !this.#isAtEnd()) return;
    this.#reading.read(this.#visit.messages.last);
  }

  #isAtEnd() {
    return Boolean(this.#visit?.messages.isAtNewest) && this.#timeline.isAtEnd;
  }

  /** The button at the top is made invisible, not taken away: nothing below it may move. */
  #showEnds() {
    const unread = this.#discussion()?.unread_count ?? 0;
    byId("earlier").classList.toggle("gone", !(this.#visit?.messages.first > 1));
    byId("to-newest").hidden = this.#isAtEnd() || !this.#visit?.messages.last;
    byId("to-newest").textContent = unread > 0 ? `${unread} new ↓` : "Newest ↓";
    this.#reading.showSeen(this.#visit?.messages.isAtNewest ? this.#timeline.last : null);
  }

  #toNewest() {
    if (this.#visit.messages.isAtNewest) this.#timeline.toEnd();
    else this.#begin({});
  }

  /** False when it cannot be taken. */
  #write(written) {
    const entry = this.#context.outbox.add(this.#id, written);
    if (!entry) return false;
    this.#timeline.markUnread(null);
    if (this.#visit.messages.isAtNewest) this.placePending(entry);
    else this.#begin({});
    return true;
  }

  #lastOwn() {
    const isOwn = ({ sender_id, deleted_at }) => sender_id === this.#context.me && !deleted_at;
    return this.#visit.messages.findLast(isOwn);
  }

  #openMenu(message, button) {
    const mine = message.sender_id === this.#context.me;
    const mayDelete = mine || this.#discussion()?.my_role !== "member";
    this.#menu.open(message, button, { mine, mayDelete });
  }

  /** The stream brings the change, for this page as for all others. */
  #react(seq, emoji, present) {
    return this.#try(() => api.react(this.#id, seq, emoji, present));
  }

  #remove({ seq }) {
    if (!confirm("Delete this message for everyone?")) return;
    this.#try(() => api.deleteMessage(this.#id, seq));
  }

  async #try(act) {
    await act().catch((problem) => notify(problem.message));
  }
}
