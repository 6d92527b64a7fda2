import { Account } from "./account.js";
import * as api from "./api.js";
import { Conversation } from "./conversation.js";
import { Details } from "./details.js";
import { Discussions } from "./discussions.js";
import { enterByDoor } from "./door.js";
import { byId, h, notify } from "./element.js";
import { Finder } from "./finder.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { Presence } from "./presence.js";
import { Search } from "./search.js";
import { Sidebar } from "./sidebar.js";
import { Stream } from "./stream.js";
import { Typing } from "./typing.js";

const PEOPLE_AT_START = 200;
const OF_MESSAGES = /^(message|reaction)\./;

/**
 * One page load is one session: the page is put together once, and logging out loads it anew.
 *
 * State comes in by `GET /discussions` and moves on by the stream opened at the cursor of that answer.
 * Whatever cannot be followed (a `reset`, a failed look-up) ends in `reload`, which takes both anew.
 */
class Chat {
  #me;
  #people = new People(() => this.#conversation.refreshMentions());
  #presence = new Presence((userId) => this.#presenceChanged(userId));
  #typing = new Typing((id) => this.#changed(id));
  #discussions;
  #outbox;
  #sidebar;
  #conversation;
  #details;
  #stream = null;
  #nextPage = null;
  /** Events are carried out one after the other; those of a stream that was given up are left out. */
  #events = Promise.resolve();
  #reloading = null;

  constructor(user) {
    this.#me = user.id;
    this.#discussions = new Discussions(this.#me, (id) => this.#changed(id));
    this.#outbox = new Outbox(this.#me, {
      changed: (entry) => this.#ifOpen(entry.discussion_id, () => this.#conversation.placePending(entry)),
      sent: (entry, message) => this.#applyToOpen({ ...entry, type: "message.new", message }),
    });
    const parts = {
      me: this.#me,
      people: this.#people,
      presence: this.#presence,
      typing: this.#typing,
      discussions: this.#discussions,
      outbox: this.#outbox,
      openId: () => this.#conversation.id,
      open: (discussion) => this.#open(discussion),
    };
    this.#conversation = new Conversation(parts);
    this.#sidebar = new Sidebar(parts);
    new Search(parts);
    new Account(user, this.#people);
    const finder = new Finder(parts);
    this.#details = new Details({ ...parts, finder });
    this.#listen(finder);
    byId("chat").hidden = false;
    // Most names in one request; those still unknown are asked for one by one.
    api.users("", PEOPLE_AT_START).then(
      ({ items }) => this.#people.add(items),
      () => {},
    );
  }

  /** Takes the state anew, trying as often as it needs; once at a time. */
  reload() {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = null;
    });
    return this.#reloading;
  }

  async #reload() {
    this.#stream?.close();
    this.#stream = null;
    for (let pauseMs = 500; ; pauseMs = Math.min(2 * pauseMs, 30_000)) {
      try {
        return await this.#load();
      } catch (problem) {
        if (problem.status === 401) return this.#showState("ended", problem.message);
        this.#showState("reconnecting");
        await new Promise((resolve) => setTimeout(resolve, pauseMs * (0.5 + Math.random() / 2)));
      }
    }
  }

  async #load() {
    const { items, cursor, next_cursor } = await api.discussions();
    this.#discussions.replace(items);
    this.#showMore(next_cursor);
    const stream = new Stream(cursor, {
      event: (event) => this.#enqueue(stream, event),
      reset: () => this.reload(),
      state: (state, reason) => this.#showState(state, reason),
    });
    this.#stream = stream;
    await this.#route({ isAnew: true });
  }

  #enqueue(stream, event) {
    this.#events = this.#events
      .then(() => (stream === this.#stream ? this.#apply(event) : undefined))
      .catch(() => this.reload());
  }

  async #apply(event) {
    const { type, discussion_id, message } = event;
    if (type === "presence") return this.#presence.hear(event);
    if (type === "typing") return this.#hearTyping(event);
    await this.#discussions.apply(event);
    if (type === "message.new") {
      this.#typing.end(discussion_id, message.sender_id);
      if (message.sender_id === this.#me && message.client_id) this.#outbox.drop(message.client_id);
    }
    if (OF_MESSAGES.test(type)) this.#applyToOpen(event);
  }

  #applyToOpen(event) {
    this.#ifOpen(event.discussion_id, () => this.#conversation.apply(event));
  }

  /** One may type on another device, too. */
  #hearTyping(signal) {
    if (signal.user_id !== this.#me) this.#typing.hear(signal);
  }

  #changed(id) {
    this.#sidebar.refresh();
    this.#ifOpen(id, () => {
      if (!this.#discussions.get(id)) return this.#gone(id);
      this.#conversation.refresh();
      if (byId("details").open) this.#details.refresh();
    });
  }

  #presenceChanged(userId) {
    const open = this.#discussions.get(this.#conversation.id);
    if (open?.members.some(({ user_id }) => user_id === userId)) this.#conversation.refresh();
  }

  #gone(id) {
    notify("This discussion is no longer open to you.");
    this.#outbox.dropDiscussion(id);
    byId("details").close();
    location.hash = "";
  }

  #ifOpen(id, act) {
    if (id && id === this.#conversation.id) act();
  }

  #open(discussion) {
    this.#discussions.put(discussion);
    location.hash = discussion.id;
  }

  /**
   * The address names the open discussion, so that "back", reload and bookmarks do what one expects; and, for
   * a moment, the message to show: `#<discussion>/<seq>`.
   */
  async #route({ isAnew = false } = {}) {
    const address = location.hash.slice(1);
    const [id, seq] = address.split("/");
    const known = id && (this.#discussions.get(id) ?? (await this.#discussions.load(id)));
    if (address !== location.hash.slice(1)) return;
    if (id && !known) {
      notify("There is no such discussion.");
      location.hash = "";
      return;
    }
    if (seq) history.replaceState(null, "", `#${id}`);
    this.#sidebar.refresh();
    const isThere = id === this.#conversation.id && !isAnew;
    if (isThere && seq) await this.#conversation.goTo(Number(seq));
    else if (!isThere) await this.#conversation.show(id || null, Number(seq) || null);
    this.#sidebar.refresh();
  }

  #listen(finder) {
    addEventListener("hashchange", () => this.#route().catch((problem) => notify(problem.message)));
    for (const button of document.querySelectorAll("[data-find]")) {
      button.addEventListener("click", () => finder.show(button.dataset.find));
    }
    for (const button of document.querySelectorAll("[data-close]")) {
      button.addEventListener("click", () => button.closest("dialog").close());
    }
    byId("show-details").addEventListener("click", () => this.#details.show(this.#conversation.id));
    byId("more-discussions").addEventListener("click", () => this.#loadMore());
  }

  async #loadMore() {
    try {
      const { items, next_cursor } = await api.discussions(this.#nextPage);
      this.#discussions.add(items);
      this.#showMore(next_cursor);
    } catch (problem) {
      notify(problem.message);
    }
  }

  #showMore(nextPage) {
    this.#nextPage = nextPage;
    byId("more-discussions").hidden = nextPage === null;
  }

  #showState(state, reason = "") {
    const words = {
      connecting: "Connecting…",
      live: "Live",
      reconnecting: "Reconnecting…",
      ended: "Ended",
    };
    const again = h("a", { href: "/" }, "Log in again");
    const connection = byId("connection");
    connection.dataset.state = state;
    const why = reasons[reason] ?? reason.replaceAll("_", " ");
    connection.replaceChildren(words[state], ...(state === "ended" ? [`: ${why} `, again] : []));
    if (state !== "live") return;
    this.#outbox.hurry();
    this.#conversation.resume();
    // Signals are not kept for whoever was away.
    this.#presence.askAll(this.#discussions.list());
  }
}

const reasons = {
  session_revoked: "you were logged out.",
  session_expired: "your session has expired.",
};

async function whoAmI() {
  for (;;) {
    try {
      return await api.me();
    } catch (problem) {
      if (problem.status === 401) return enterByDoor();
      notify(`${problem.message} Trying again…`);
      await new Promise((resolve) => setTimeout(resolve, 2000 + Math.random() * 2000));
    }
  }
}

await new Chat(await whoAmI()).reload();
