import { byId, disc, h, shortTimeOf } from "./element.js";
import { initials } from "./people.js";

const PAUSE_MS = 50;

/**
 * The list of one's discussions. Entries keep their element, so that neither focus nor pointer loses its
 * target.
 */
export class Sidebar {
  #context;
  #list = byId("discussions");
  #items = new Map();
  #timer = 0;

  /** `context`: { me, people, discussions, openId() } */
  constructor(context) {
    this.#context = context;
  }

  /** Drawn soon; many changes at once are drawn once. */
  refresh() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#draw();
    }, PAUSE_MS);
  }

  #draw() {
    const { discussions } = this.#context;
    const all = discussions.list();
    const focused = document.activeElement;
    for (const id of this.#items.keys()) if (!discussions.get(id)) this.#remove(id);
    for (const [index, discussion] of all.entries()) {
      const item = this.#item(discussion);
      if (this.#list.children[index] !== item)
        this.#list.insertBefore(item, this.#list.children[index] ?? null);
    }
    if (this.#list.contains(focused)) focused.focus({ preventScroll: true });
    byId("no-discussions").hidden = all.length > 0;
    const unread = discussions.unread();
    document.title = unread > 0 ? `(${unread}) Parley` : "Parley";
  }

  #remove(id) {
    this.#items.get(id).remove();
    this.#items.delete(id);
  }

  #item(discussion) {
    const item = this.#items.get(discussion.id) ?? h("li");
    this.#items.set(discussion.id, item);
    const link = item.firstElementChild ?? item.appendChild(h("a", { href: `#${discussion.id}` }));
    const open = discussion.id === this.#context.openId();
    link.toggleAttribute("data-unread", discussion.unread_count > 0);
    if (open) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    link.replaceChildren(...this.#content(discussion));
    return item;
  }

  #content(discussion) {
    const { last_message: last, unread_count: unread, created_at } = discussion;
    const many = unread >= 1000 ? "999+" : String(unread);
    return [
      picture(discussion, this.#context.me),
      h("span", { class: "name" }, discussion.title),
      shortTimeOf(last?.created_at ?? created_at),
      h("span", { class: "preview" }, ...this.#preview(discussion)),
      unread > 0
        ? h("span", { class: "badge" }, many, h("span", { class: "unseen" }, " unread"))
        : h("span", { class: "badge none" }),
    ];
  }

  #preview({ kind, last_message: last }) {
    if (!last) return ["No messages yet"];
    const text = last.deleted_at ? "Message deleted" : last.content.slice(0, 120);
    if (last.sender_id === this.#context.me) return ["You: ", text];
    if (kind === "direct") return [text];
    return [this.#context.people.show(h("span"), last.sender_id), ": ", text];
  }
}

/** The other's disc for a direct discussion, a rounded square for a group. */
export function picture({ id, kind, title, members }, me) {
  if (kind === "group") return disc(id, initials(title), "group");
  const other = members.find(({ user_id }) => user_id !== me);
  return disc(other?.user_id ?? me, initials(title));
}
