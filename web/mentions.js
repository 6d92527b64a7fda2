import { h } from "./element.js";

const MOST_SUGGESTED = 6;

/** Completes @names in a text area from the members of the discussion. */
export class Mentions {
  #area;
  #list;
  #people;
  #suggested = [];
  #index = 0;

  /** `people()`: the users who may be mentioned. */
  constructor(area, list, people) {
    this.#area = area;
    this.#list = list;
    this.#people = people;
    area.addEventListener("input", () => this.#suggest());
    area.addEventListener("click", () => this.#suggest());
    area.addEventListener("blur", () => this.close());
    // Before the keys mean anything else there.
    area.addEventListener("keydown", (event) => this.#press(event), { capture: true });
  }

  close() {
    this.#suggested = [];
    this.#draw();
  }

  /** The name that is being written before the caret, without its @; null if there is none. */
  #begun() {
    const { value, selectionStart, selectionEnd } = this.#area;
    if (selectionStart !== selectionEnd) return null;
    const match = /(?<![\p{L}\p{N}_.@-])@([\p{L}\p{N}_.-]{0,32})$/u.exec(value.slice(0, selectionStart));
    return match?.[1].toLowerCase() ?? null;
  }

  #suggest() {
    const begun = this.#begun();
    const fits = ({ username, display_name }) =>
      username.startsWith(begun) ||
      display_name
        .toLowerCase()
        .split(/\s+/)
        .some((word) => word.startsWith(begun));
    this.#suggested = begun === null ? [] : this.#people().filter(fits).slice(0, MOST_SUGGESTED);
    this.#index = 0;
    this.#draw();
  }

  #draw() {
    this.#list.replaceChildren(...this.#suggested.map((user, index) => this.#option(user, index)));
    this.#list.hidden = this.#suggested.length === 0;
    if (this.#list.hidden) this.#area.removeAttribute("aria-activedescendant");
    else this.#area.setAttribute("aria-activedescendant", `suggestion-${this.#index}`);
  }

  #option(user, index) {
    const look = {
      id: `suggestion-${index}`,
      role: "option",
      "aria-selected": String(index === this.#index),
      // Not click: the text area would lose the focus first.
      onpointerdown: (event) => {
        event.preventDefault();
        this.#take(user);
      },
    };
    return h(
      "div",
      look,
      h("strong", {}, user.display_name),
      h("span", { class: "subtle" }, `@${user.username}`),
    );
  }

  #press(event) {
    if (this.#suggested.length === 0 || event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      const count = this.#suggested.length;
      this.#index = (this.#index + step + count) % count;
      this.#draw();
    } else if (event.key === "Enter" || event.key === "Tab") {
      this.#take(this.#suggested[this.#index]);
    } else if (event.key === "Escape") {
      this.close();
    } else {
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  #take({ username }) {
    const end = this.#area.selectionStart;
    this.#area.setRangeText(`@${username} `, end - this.#begun().length - 1, end, "end");
    this.close();
    this.#area.dispatchEvent(new Event("input"));
  }
}
