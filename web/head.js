import { isMuted } from "./discussions.js";
import { byId, h } from "./element.js";
import { picture } from "./sidebar.js";

/** The line above the open discussion, and the one below its messages that tells who is typing. */
export class Head {
  #context;

  /** `context`: { me, people, presence, typing } */
  constructor(context) {
    this.#context = context;
  }

  begin(discussion) {
    this.show(discussion);
    this.#context.presence.ask(discussion);
  }

  show(discussion) {
    const { people, typing } = this.#context;
    byId("title").textContent = discussion.title;
    byId("subtitle").textContent = this.#subtitle(discussion);
    byId("muted").hidden = !isMuted(discussion);
    byId("scroller").classList.toggle("direct", discussion.kind === "direct");
    this.#showPicture(discussion);
    const words = typing.words(discussion.id, (id) => people.name(id) ?? "Somebody");
    byId("typing").replaceChildren(...(words ? [dots(), words] : []));
  }

  /** Drawn anew only if it is another one: it would flicker. */
  #showPicture(discussion) {
    const place = byId("head-picture");
    const drawn = `${discussion.id} ${discussion.title}`;
    if (place.dataset.drawn === drawn) return;
    place.dataset.drawn = drawn;
    place.replaceChildren(picture(discussion, this.#context));
  }

  #subtitle({ kind, members, member_count, visibility }) {
    const { me, people, presence } = this.#context;
    const others = members.map(({ user_id }) => user_id).filter((id) => id !== me);
    if (kind === "direct") {
      const [other] = others;
      const about = other ? [presence.words(other), people.get(other)?.status_text] : [];
      return about.filter(Boolean).join(" · ");
    }
    const count = member_count === 1 ? "1 member" : `${member_count} members`;
    const online = others.filter((id) => presence.isOnline(id)).length;
    const kindWords = visibility === "public" ? "Public group" : "Group";
    return `${kindWords}, ${count}${online > 0 ? `, ${online + 1} online` : ""}`;
  }
}

function dots() {
  return h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
}
