import * as api from "./api.js";

const MOST_KEPT = 2000;

/**
 * Users by id, asked for once each. Where a name is not known yet, the element is filled in when it
 * arrives.
 */
export class People {
  #known = new Map();
  #asked = new Set();

  add(users) {
    if (this.#known.size + users.length > MOST_KEPT) this.#known.clear();
    for (const user of users) {
      this.#known.set(user.id, user);
      this.#fill(user.id);
    }
  }

  /** The display name, or null while it is being asked for. */
  name(id) {
    const user = this.#known.get(id);
    if (!user) this.#ask(id);
    return user?.display_name ?? null;
  }

  /** Write the name of a user into an element, now or as soon as it is known. */
  show(element, id, form = "name") {
    element.dataset.user = id;
    element.dataset.form = form;
    write(element, this.name(id));
    return element;
  }

  async #ask(id) {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    try {
      this.add([await api.user(id)]);
    } catch (problem) {
      if (problem.status === 404) this.add([{ id, display_name: "Deleted user", username: "" }]);
      else setTimeout(() => this.#asked.delete(id), 5000);
    }
  }

  #fill(id) {
    for (const element of document.querySelectorAll(`[data-user="${CSS.escape(id)}"]`)) {
      write(element, this.name(id));
    }
  }
}

function write(element, name) {
  element.textContent = element.dataset.form === "initials" ? initials(name ?? "") : (name ?? "…");
}

/** "Ann Lee" → "AL", "bob" → "B" */
export function initials(name) {
  const words = name
    .replace(/[^\p{L}\p{N}\s]/gu, " ")
    .trim()
    .split(/\s+/u);
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words;
  return ends.map((word) => [...word][0]?.toUpperCase() ?? "").join("");
}
