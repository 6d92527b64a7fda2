import * as api from "./api.js";
import { byId, disc, h } from "./element.js";
import { initials } from "./people.js";

const PAUSE_MS = 200;

const MODES = {
  person: { title: "New message", label: "Find a person" },
  group: { title: "New group", label: "Add people", submit: "Create group" },
  public: { title: "Find groups", label: "Find a public group" },
  add: { title: "Add people", label: "Find a person", submit: "Add" },
};

/**
 * The dialog that looks for people or public groups, and starts, joins or enlarges a discussion with them.
 */
export class Finder {
  #context;
  #dialog = byId("finder");
  #form = byId("finder-form");
  #mode = "person";
  #target = null;
  #chosen = new Map();
  #search = 0;
  #timer = 0;

  /** `context`: { me, people, discussions, open(discussion) } */
  constructor(context) {
    this.#context = context;
    this.#form.query.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#find(), PAUSE_MS);
    });
    this.#form.query.addEventListener("keydown", (event) => this.#enter(event));
    this.#form.addEventListener("submit", (event) => this.#submit(event));
  }

  /** `mode`: "person", "group", "public", or "add" with the discussion to add to. */
  show(mode, target = null) {
    this.#mode = mode;
    this.#target = target;
    this.#chosen.clear();
    this.#form.reset();
    const { title, label, submit } = MODES[mode];
    byId("finder-title").textContent = title;
    byId("finder-label").textContent = label;
    byId("finder-submit").textContent = submit ?? "";
    byId("finder-submit").hidden = !submit;
    byId("group-fields").hidden = mode !== "group";
    this.#fail("");
    this.#drawChosen();
    byId("results").replaceChildren();
    this.#dialog.showModal();
    (mode === "group" ? this.#form.elements.name : this.#form.query).focus();
    this.#find();
  }

  /** True when its results are shown: of several searches under way only the last one counts. */
  async #find() {
    const search = ++this.#search;
    const query = this.#form.query.value.trim();
    try {
      const { items } = this.#mode === "public" ? await api.publicGroups(query) : await api.users(query);
      if (search !== this.#search) return false;
      if (this.#mode !== "public") this.#context.people.add(items);
      this.#drawResults(items);
      return true;
    } catch (problem) {
      if (search === this.#search) this.#fail(problem.message);
      return false;
    }
  }

  #drawResults(items) {
    const draw =
      this.#mode === "public" ? (item) => this.#groupResult(item) : (item) => this.#personResult(item);
    const results = items.filter((item) => this.#mode === "person" || item.id !== this.#context.me).map(draw);
    const none = h("li", { class: "empty" }, this.#mode === "public" ? "No such group." : "Nobody found.");
    byId("results").replaceChildren(...(results.length > 0 ? results : [none]));
  }

  #personResult(user) {
    const one = this.#mode === "person";
    const present = this.#target?.members.some(({ user_id }) => user_id === user.id);
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: "result",
          disabled: present,
          "aria-pressed": one ? null : String(this.#chosen.has(user.id)),
          onclick: (event) => (one ? this.#startDirect(user) : this.#toggle(user, event.currentTarget)),
        },
        this.#context.people.picture(user.id),
        h("span", { class: "name" }, user.display_name),
        h("span", { class: "subtle" }, `@${user.username}${present ? ", a member already" : ""}`),
      ),
    );
  }

  #groupResult(group) {
    const members = group.member_count === 1 ? "1 member" : `${group.member_count} members`;
    const enter = () => (group.my_role ? this.#done(group) : this.#try(() => api.join(group.id)));
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "result", onclick: enter },
        disc(group.id, initials(group.title), "group"),
        h("span", { class: "name" }, group.title),
        h("span", { class: "subtle" }, members),
        h("span", { class: "act" }, group.my_role ? "Open" : "Join"),
      ),
    );
  }

  #toggle(user, button) {
    if (!this.#chosen.delete(user.id)) this.#chosen.set(user.id, user);
    button?.setAttribute("aria-pressed", String(this.#chosen.has(user.id)));
    this.#drawChosen();
  }

  #drawChosen() {
    const chips = [...this.#chosen.values()].map((user) => {
      const remove = () => {
        this.#toggle(user);
        this.#find();
      };
      const label = `Remove ${user.display_name}`;
      return h(
        "li",
        {},
        user.display_name,
        h("button", { type: "button", "aria-label": label, onclick: remove }, "✕"),
      );
    });
    byId("chosen").replaceChildren(...chips);
    byId("chosen").hidden = chips.length === 0;
  }

  #startDirect(user) {
    return this.#try(() => api.createDiscussion({ kind: "direct", user_id: user.id }));
  }

  /** Enter in the search field means the first one found: for what stands there now, so it looks again. */
  async #enter(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    if (this.#form.query.value.trim() === "") return;
    clearTimeout(this.#timer);
    const drawn = await this.#find();
    if (drawn) byId("results").querySelector("button:enabled")?.click();
  }

  #submit(event) {
    event.preventDefault();
    const ids = [...this.#chosen.keys()];
    if (this.#mode === "group") this.#createGroup(ids);
    else if (ids.length > 0) this.#try(() => api.addMembers(this.#target.id, ids));
  }

  #createGroup(memberIds) {
    const name = this.#form.elements.name.value.trim();
    if (name === "" && memberIds.length === 0) return this.#fail("A group needs a name, or people in it.");
    const visibility = this.#form.elements.public.checked ? "public" : "private";
    const named = name === "" ? {} : { name };
    return this.#try(() =>
      api.createDiscussion({
        kind: "group",
        ...named,
        member_ids: memberIds,
        visibility,
      }),
    );
  }

  async #try(act) {
    this.#fail("");
    try {
      this.#done(await act());
    } catch (problem) {
      this.#fail(problem.message);
    }
  }

  #done(discussion) {
    clearTimeout(this.#timer);
    this.#dialog.close();
    this.#context.open(discussion);
  }

  #fail(text) {
    byId("finder-error").textContent = text;
  }
}
