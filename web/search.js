import * as api from "./api.js";
import { byId, h } from "./element.js";
import { picture } from "./sidebar.js";
import { snippet } from "./text.js";
import { shortTimeOf } from "./time.js";

const PAUSE_MS = 250;

/** The search over all of one's messages. While there is something to look for, it takes the list's place. */
export class Search {
  #context;
  #field = byId("search");
  #timer = 0;
  /** Of several searches under way only the last one counts. */
  #search = 0;
  #nextPage = null;

  /** `context`: { me, people, presence, discussions } */
  constructor(context) {
    this.#context = context;
    this.#field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#begin(), PAUSE_MS);
    });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#clear();
      if (event.key === "ArrowDown") byId("found").querySelector("a")?.focus();
    });
    byId("more-found").addEventListener("click", () => this.#find(this.#nextPage));
  }

  #clear() {
    this.#field.value = "";
    this.#begin();
  }

  #begin() {
    const isOn = this.#query !== "";
    byId("browse").hidden = isOn;
    byId("search-results").hidden = !isOn;
    byId("found").replaceChildren();
    byId("more-found").hidden = true;
    this.#find(null);
  }

  get #query() {
    return this.#field.value.trim();
  }

  async #find(page) {
    const search = ++this.#search;
    if (this.#query === "") return;
    this.#say("Searching…");
    try {
      const { items, next_cursor } = await api.search(this.#query, page ?? undefined);
      if (search !== this.#search) return;
      byId("found").append(...items.map((item) => h("li", {}, this.#result(item))));
      this.#nextPage = next_cursor;
      byId("more-found").hidden = next_cursor === null;
      this.#say(byId("found").childElementCount === 0 ? "Nothing found." : "");
    } catch (problem) {
      if (search === this.#search) this.#say(problem.message);
    }
  }

  #say(text) {
    byId("search-state").textContent = text;
    byId("search-state").hidden = text === "";
  }

  #result({ discussion_id, seq, sender_id, created_at, snippet: html }) {
    const { people, discussions } = this.#context;
    const discussion = discussions.get(discussion_id);
    return h(
      "a",
      { href: `#${discussion_id}/${seq}` },
      discussion ? picture(discussion, this.#context) : people.picture(sender_id),
      h("span", { class: "name" }, discussion?.title ?? "Discussion"),
      shortTimeOf(created_at),
      h(
        "span",
        { class: "found-text", dir: "auto" },
        people.show(h("span", { class: "found-sender" }), sender_id),
        ": ",
        ...snippet(html),
      ),
    );
  }
}
