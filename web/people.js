import * as api from "./api.js";
import { disc, h } from "./element.js";

const MOST_KEPT = 2000;

/**
 * Users by id, asked for once each. Where something of a user is not known yet, the element is filled in when
 * it arrives.
 */
export class People {
  #known = new Map();
  #asked = new Set();
  #learned;

  /** `learned`: called some time after users became known that were asked for before. */
  constructor(learned) {
    this.#learned = learned;
  }

  add(users) {
    if (this.#known.size + users.length > MOST_KEPT) this.#known.clear();
    for (const user of users) {
      this.#known.set(user.id, user);
      this.#fill(user.id);
    }
  }

  /** The user, or null while it is being asked for. */
  get(id) {
    const user = this.#known.get(id);
    if (!user) this.#ask(id);
    return user ?? null;
  }

  /** The display name, or null while it is being asked for. */
  name(id) {
    return this.get(id)?.display_name ?? null;
  }

  /** An element with the name of a user, now or as soon as it is known. */
  show(element, id) {
    return this.#dress(element, id, "name");
  }

  /** The picture of a user, with the initials below it. */
  picture(id) {
    return this.#dress(disc(id, ""), id, "picture");
  }

  #dress(element, id, form) {
    element.dataset.user = id;
    element.dataset.form = form;
    dress[form](element, this.get(id));
    return element;
  }

  async #ask(id) {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    try {
      this.add([await api.user(id)]);
    } catch (problem) {
      if (problem.status !== 404) return void setTimeout(() => this.#asked.delete(id), 5000);
      this.add([{ id, display_name: "Deleted user", username: "" }]);
    }
    this.#learned();
  }

  #fill(id) {
    for (const element of document.querySelectorAll(`[data-user="${CSS.escape(id)}"]`)) {
      dress[element.dataset.form](element, this.#known.get(id));
    }
  }
}

const dress = {
  name(element, user) {
    element.textContent = user?.display_name ?? "…";
  },

  picture(element, user) {
    const letters = h("span", { class: "letters" }, initials(user?.display_name ?? ""));
    element.replaceChildren(letters, ...(user?.avatar_url ? [image(user.avatar_url)] : []));
  },
};

/** Without it, the initials are seen. */
function image(src) {
  const remove = ({ currentTarget }) => currentTarget.remove();
  return h("img", { src, alt: "", loading: "lazy", decoding: "async", draggable: "false", onerror: remove });
}

/** "Ann Lee" → "AL", "bob" → "B" */
export function initials(name) {
  const words = name
    .replace(/[^\p{L}\p{N}\s]/gu, "")
    .trim()
    .split(/\s+/u);
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words;
  return ends.map((word) => [...word][0]?.toUpperCase() ?? "").join("");
}
