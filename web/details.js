import * as api from "./api.js";
import { byId, disc, h } from "./element.js";

/** The dialog about one discussion: who is in it, and the ways out of it. */
export class Details {
  #context;
  #dialog = byId("details");
  #id = null;

  /** `context`: { me, people, discussions, finder } */
  constructor(context) {
    this.#context = context;
    byId("add-people").addEventListener("click", () => {
      this.#dialog.close();
      context.finder.show("add", this.#discussion());
    });
    byId("leave").addEventListener("click", () => this.#try(() => api.removeMember(this.#id, context.me)));
    byId("delete").addEventListener("click", () => this.#delete());
  }

  show(id) {
    this.#id = id;
    byId("details-error").textContent = "";
    this.refresh();
    this.#dialog.showModal();
  }

  refresh() {
    const discussion = this.#discussion();
    if (!discussion) return this.#dialog.close();
    const { title, kind, visibility, members, member_count, my_role } = discussion;
    const group = kind === "group";
    const more = member_count - members.length;
    byId("details-title").textContent = title;
    byId("details-kind").textContent = group ? KINDS[visibility] : "Between the two of you only.";
    byId("members").replaceChildren(
      ...members.map((member) => this.#member(member)),
      ...(more > 0 ? [h("li", { class: "empty" }, `and ${more} more`)] : []),
    );
    byId("add-people").hidden = !group;
    byId("leave").hidden = !group;
    byId("delete").hidden = !group || my_role !== "owner";
  }

  #discussion() {
    return this.#context.discussions.get(this.#id);
  }

  #member({ user_id, role }) {
    const { people, me } = this.#context;
    return h(
      "li",
      { class: "result" },
      disc(user_id, people.show(h("span"), user_id, "initials")),
      people.show(h("span", { class: "name" }), user_id),
      h("span", { class: "subtle" }, [user_id === me ? "you" : "", role].filter(Boolean).join(", ")),
    );
  }

  #delete() {
    const { title } = this.#discussion();
    if (confirm(`Delete “${title}” with all its messages, for everyone?`)) {
      this.#try(() => api.deleteDiscussion(this.#id));
    }
  }

  /** The stream tells the rest: being out of it closes the discussion on the page. */
  async #try(act) {
    try {
      await act();
      this.#dialog.close();
    } catch (problem) {
      byId("details-error").textContent = problem.message;
    }
  }
}

const KINDS = {
  public: "A public group: anyone may find and join it.",
  private: "A private group: only its members know of it.",
};
