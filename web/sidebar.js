import { isMuted } from "./discussions.js";
import { byId, disc, h } from "./element.js";
import { summaryOf } from "./message.js";
import { initials } from "./people.js";
import { shortTimeOf } from "./time.js";

const PAUSE_MS = 50;

/**
 * The list of one's discussions. Entries keep their element, so that neither focus nor pointer loses its
 * target; and what looks as before is not drawn again.
 */
export class Sidebar {
  #context;
  #list = byId("discussions");
  #items = new Map();
  #timer = 0;

  /** `context`: { me, people, presence, typing, discussions, openId() } */
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
    const muted = isMuted(discussion);
    link.toggleAttribute("data-unread", discussion.unread_count > 0 && !muted);
    link.toggleAttribute("data-muted", muted);
    if (discussion.id === this.#context.openId()) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    this.#fill(link, discussion);
    return item;
  }

  #fill(link, discussion) {
    const { last_message: last, unread_count: unread, created_at } = discussion;
    if (link.title !== discussion.title || !link.picture) link.picture = picture(discussion, this.#context);
    link.title = discussion.title;
    const many = unread >= 1000 ? "999+" : String(unread);
    const content = [
      link.picture,
      h("span", { class: "name" }, discussion.title),
      shortTimeOf(last?.created_at ?? created_at),
      this.#preview(discussion),
      unread > 0
        ? h("span", { class: "badge" }, many, h("span", { class: "unseen" }, " unread"))
        : h("span", { class: "badge none" }),
    ];
    const isSame = content.every((node, index) => node.isEqualNode(link.children[index]));
    if (!isSame) link.replaceChildren(...content);
  }

  #preview({ id, kind, last_message: last }) {
    const { me, people, typing } = this.#context;
    const words = typing.words(id, (userId) => people.name(userId) ?? "Somebody");
    if (words) return h("span", { class: "preview typing" }, kind === "direct" ? "typing…" : words);
    if (!last) return h("span", { class: "preview" }, "No messages yet");
    const text = summaryOf(last);
    const preview = h("span", { class: last.deleted_at ? "preview deleted" : "preview" });
    if (last.sender_id === me) preview.append("You: ", text);
    else if (kind === "direct") preview.append(text);
    else preview.append(people.show(h("span"), last.sender_id), ": ", text);
    return preview;
  }
}

/** The other's picture for a direct discussion, a rounded square for a group. */
export function picture({ id, kind, title, members }, { me, people, presence }) {
  if (kind === "group") return disc(id, initials(title), "group");
  const other = members.find(({ user_id }) => user_id !== me)?.user_id;
  return other ? presence.mark(people.picture(other), other) : people.picture(me);
}
