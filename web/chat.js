import * as api from "./api.js";
import { Conversation } from "./conversation.js";
import { Details } from "./details.js";
import { Discussions } from "./discussions.js";
import { enterByDoor } from "./door.js";
import { byId, disc, h, notify } from "./element.js";
import { Finder } from "./finder.js";
import { Outbox } from "./outbox.js";
import { initials, People } from "./people.js";
import { Sidebar } from "./sidebar.js";
import { Stream } from "./stream.js";

const PEOPLE_AT_START = 200;

/**
 * One page load is one session: the page is put together once, and logging out loads it anew.
 *
 * State comes in by `GET /discussions` and moves on by the stream opened at the cursor of that answer.
 * Whatever cannot be followed (a `reset`, a failed look-up) ends in `reload`, which takes both anew.
 */
class Chat {
  #me;
  #people = new People();
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
      sent: (entry, message) => this.#ifOpen(entry.discussion_id, () => this.#conversation.place(message)),
    });
    const parts = {
      me: this.#me,
      people: this.#people,
      discussions: this.#discussions,
      outbox: this.#outbox,
      openId: () => this.#conversation.id,
      open: (discussion) => this.#open(discussion),
    };
    this.#conversation = new Conversation(parts);
    this.#sidebar = new Sidebar(parts);
    const finder = new Finder(parts);
    this.#details = new Details({ ...parts, finder });
    this.#listen(finder);
    this.#showMe(user);
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
    await this.#route();
  }

  #enqueue(stream, event) {
    this.#events = this.#events
      .then(() => (stream === this.#stream ? this.#apply(event) : undefined))
      .catch(() => this.reload());
  }

  async #apply(event) {
    await this.#discussions.apply(event);
    if (event.type !== "message.new") return;
    const { message } = event;
    if (message.sender_id === this.#me && message.client_id) this.#outbox.drop(message.client_id);
    this.#ifOpen(event.discussion_id, () => this.#conversation.place(message));
  }

  #changed(id) {
    this.#sidebar.refresh();
    this.#ifOpen(id, () => {
      if (!this.#discussions.get(id)) return this.#gone(id);
      this.#conversation.refresh();
      if (byId("details").open) this.#details.refresh();
    });
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

  /** The address names the open discussion, so that "back", reload and bookmarks do what one expects. */
  async #route() {
    const id = location.hash.slice(1) || null;
    const known = id && (this.#discussions.get(id) ?? (await this.#discussions.load(id)));
    if (id !== (location.hash.slice(1) || null)) return;
    if (id && !known) {
      notify("There is no such discussion.");
      location.hash = "";
      return;
    }
    this.#sidebar.refresh();
    await this.#conversation.show(id);
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
    byId("log-out").addEventListener("click", () => this.#logOut());
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

  async #logOut() {
    try {
      await api.logOut();
    } catch (problem) {
      if (problem.status !== 401) return notify(problem.message);
    }
    location.replace("/");
  }

  #showMe({ id, display_name }) {
    byId("me").replaceChildren(disc(id, initials(display_name)), h("span", {}, display_name));
    byId("chat").hidden = false;
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
