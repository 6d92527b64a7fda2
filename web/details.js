import * as api from "./api.js";
import { isMuted } from "./discussions.js";
import { byId, h, notify } from "./element.js";
import { memberItem } from "./members.js";

const HOUR_MS = 3_600_000;
const FOR_EVER = "9999-12-31T00:00:00.000Z";
const KINDS = {
  public: "A public group: anyone may find and join it.",
  private: "A private group: only its members know of it.",
  1: "Notes to yourself.",
  2: "Between the two of you only.",
};

/** The dialog about one discussion: who is in it, what one wants to hear of it, and the ways out of it. */
export class Details {
  #context;
  #dialog = byId("details");
  #id = null;
  /** Whom one has blocked; asked for when it matters. */
  #blocked = new Set();

  /** `context`: { me, people, presence, discussions, finder } */
  constructor(context) {
    this.#context = context;
    byId("add-people").addEventListener("click", () => {
      this.#dialog.close();
      context.finder.show("add", this.#discussion());
    });
    byId("leave").addEventListener("click", () => this.#leave());
    byId("delete").addEventListener("click", () => this.#delete());
    byId("block").addEventListener("click", () => this.#block());
    byId("mute").addEventListener("change", () => this.#mute());
    byId("name-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#rename();
    });
  }

  show(id) {
    this.#id = id;
    byId("group-name").value = this.#discussion()?.name ?? "";
    this.refresh();
    this.#dialog.showModal();
    if (this.#other()) this.#loadBlocked();
  }

  refresh() {
    const discussion = this.#discussion();
    if (!discussion) return this.#dialog.close();
    const { title, kind, visibility, members, member_count, my_role } = discussion;
    const isGroup = kind === "group";
    const acts = {
      ...this.#context,
      setRole: (userId, role) => this.#try(() => api.setRole(this.#id, userId, role)),
      remove: (userId) => this.#try(() => api.removeMember(this.#id, userId)),
    };
    const more = member_count - members.length;
    byId("details-error").textContent = "";
    byId("details-title").textContent = title;
    byId("details-kind").textContent = KINDS[isGroup ? visibility : member_count];
    byId("name-form").hidden = !isGroup || my_role === "member";
    byId("members").replaceChildren(
      ...members.map((member) => memberItem(member, discussion, acts)),
      ...(more > 0 ? [h("li", { class: "empty" }, `and ${more} more`)] : []),
    );
    this.#showMute(discussion);
    byId("add-people").hidden = !isGroup;
    byId("leave").hidden = !isGroup;
    byId("delete").hidden = !isGroup || my_role !== "owner";
    byId("block").hidden = !this.#other();
    byId("block").textContent = this.#blocked.has(this.#other()) ? "Unblock" : "Block";
  }

  #discussion() {
    return this.#context.discussions.get(this.#id);
  }

  /** The other member of a one-to-one discussion. */
  #other() {
    const { kind, members } = this.#discussion() ?? {};
    if (kind !== "direct") return null;
    return members.find(({ user_id }) => user_id !== this.#context.me)?.user_id ?? null;
  }

  #showMute(discussion) {
    const until = isMuted(discussion) ? discussion.muted_until : null;
    const date = until && until < "9000" ? new Date(until).toLocaleString([], TILL) : null;
    byId("muted-until").textContent = date ? `Muted until ${date}` : "Muted";
    byId("muted-until").hidden = until === null;
    byId("mute").value = until === null ? "off" : "on";
  }

  #mute() {
    const hours = byId("mute").value;
    const ends = { off: null, ever: FOR_EVER };
    const until = hours in ends ? ends[hours] : new Date(Date.now() + Number(hours) * HOUR_MS).toISOString();
    const id = this.#id;
    this.#try(async () => {
      await api.mute(id, until);
      this.#context.discussions.mute(id, until);
    });
  }

  #rename() {
    const name = byId("group-name").value.trim();
    if (name !== "") this.#try(() => api.updateDiscussion(this.#id, { name }));
  }

  async #loadBlocked() {
    try {
      const { items } = await api.blocks();
      this.#blocked = new Set(items.map(({ id }) => id));
      this.refresh();
    } catch (problem) {
      byId("details-error").textContent = problem.message;
    }
  }

  #block() {
    const other = this.#other();
    const present = !this.#blocked.has(other);
    const name = this.#context.people.name(other) ?? "This person";
    if (present && !confirm(`Block ${name}? They will no longer be able to write to you here.`)) return;
    this.#try(async () => {
      await api.block(other, present);
      if (present) this.#blocked.add(other);
      else this.#blocked.delete(other);
      notify(present ? `${name} is blocked.` : `${name} is no longer blocked.`);
    });
  }

  #leave() {
    const { title } = this.#discussion();
    if (!confirm(`Leave “${title}”?`)) return;
    this.#try(() => api.removeMember(this.#id, this.#context.me), { closes: true });
  }

  #delete() {
    const { title } = this.#discussion();
    if (!confirm(`Delete “${title}” with all its messages, for everyone?`)) return;
    this.#try(() => api.deleteDiscussion(this.#id), { closes: true });
  }

  /** The stream tells the rest: being out of it closes the discussion on the page. */
  async #try(act, { closes = false } = {}) {
    try {
      await act();
      if (closes) this.#dialog.close();
      else this.refresh();
    } catch (problem) {
      this.refresh();
      byId("details-error").textContent = problem.message;
    }
  }
}

const TILL = { weekday: "short", hour: "2-digit", minute: "2-digit" };
