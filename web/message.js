import { attachmentList } from "./attachments.js";
import { h } from "./element.js";
import { listOf, reactionText, richText } from "./text.js";
import { timeOf } from "./time.js";

const QUOTE_CHARACTERS = 160;

/**
 * A stored message as an element. What needs the pointer or the keyboard calls `context`: { me, people,
 * quoted(seq), goTo(seq), react(seq, emoji, present), openMenu(message, button), showVersions(message) }
 */
export function messageItem(message, context) {
  const { sender_id, seq, mentions, deleted_at } = message;
  const mine = sender_id === context.me;
  const item = h(
    "li",
    { class: "message", "data-seq": seq },
    h("p", { class: "day" }),
    context.people.picture(sender_id),
    context.people.show(h("span", { class: "sender" }), sender_id),
    h("div", { class: "line" }, bubble(message, context), deleted_at ? null : menuButton(message, context)),
    reactions(message, context),
  );
  item.classList.toggle("mine", mine);
  item.classList.toggle("to-me", !deleted_at && mentions.includes(context.me));
  item.message = message;
  return item;
}

function bubble(message, context) {
  const { content, reply_to_seq, attachments, created_at, edited_at, deleted_at } = message;
  if (deleted_at) {
    const gone = h("p", { class: "content deleted" }, "This message was deleted");
    return h("div", { class: "bubble gone" }, gone, h("span", { class: "when" }, timeOf(created_at)));
  }
  const versions = edited_at ? versionsButton(message, context) : null;
  return h(
    "div",
    { class: attachments.length > 0 ? "bubble with-files" : "bubble" },
    reply_to_seq ? quote(reply_to_seq, context) : null,
    attachments.length > 0 ? attachmentList(attachments) : null,
    content === "" ? null : body(content, mentionedPeople(message, context)),
    h("span", { class: "when" }, versions, timeOf(created_at)),
  );
}

export function body(content, mentioned) {
  return h("p", { class: "content", dir: "auto" }, ...richText(content, mentioned));
}

/** By username. Whoever is not known yet is marked when the message is drawn anew. */
export function mentionedPeople({ mentions }, { me, people }) {
  const users = mentions.map((id) => people.get(id)).filter(Boolean);
  return new Map(users.map((user) => [user.username, { ...user, isMe: user.id === me }]));
}

function versionsButton(message, { showVersions }) {
  const look = {
    type: "button",
    class: "edited",
    title: "Show earlier versions",
    "data-act": "versions",
    onclick: () => showVersions(message),
  };
  return h("button", look, "edited");
}

function menuButton(message, { openMenu }) {
  const look = {
    type: "button",
    class: "more",
    "data-act": "menu",
    "aria-label": "React, reply and more",
    "aria-haspopup": "true",
    onclick: ({ currentTarget }) => openMenu(message, currentTarget),
  };
  return h("button", look, "⋯");
}

/** The line above a reply, which leads to what it answers. */
function quote(seq, context) {
  const look = { type: "button", class: "quote", "data-act": "quote", onclick: () => context.goTo(seq) };
  const original = context.quoted(seq);
  if (!original) return h("button", look, h("span", { class: "quoted" }, "…"));
  const name = context.people.show(h("span", { class: "quoted-sender" }), original.sender_id);
  return h("button", look, name, h("span", { class: "quoted", dir: "auto" }, summaryOf(original)));
}

/** A message in one line. */
export function summaryOf({ content, attachments, deleted_at }) {
  if (deleted_at) return "This message was deleted";
  const names = attachments.map(({ name }) => name).join(", ");
  return content.slice(0, QUOTE_CHARACTERS).trim() || names;
}

function reactions({ seq, reactions: kinds, deleted_at }, context) {
  if (deleted_at || kinds.length === 0) return null;
  return h("ul", { class: "reactions" }, ...kinds.map((kind) => h("li", {}, reaction(seq, kind, context))));
}

function reaction(seq, { emoji, user_ids }, { me, people, react }) {
  const isMine = user_ids.includes(me);
  const nameThem = ({ currentTarget }) => {
    const names = user_ids.map((id) => (id === me ? "you" : (people.name(id) ?? "…")));
    currentTarget.title = listOf(names, 20);
    currentTarget.setAttribute("aria-label", `${reactionText(emoji)}, ${listOf(names, 20)}`);
  };
  const look = {
    type: "button",
    class: "reaction",
    "aria-pressed": String(isMine),
    "aria-label": `${reactionText(emoji)}, ${user_ids.length}`,
    "data-act": `react ${emoji}`,
    onclick: () => react(seq, emoji, !isMine),
    onpointerenter: nameThem,
    onfocus: nameThem,
  };
  return h("button", look, h("span", { class: "emoji" }, reactionText(emoji)), ` ${user_ids.length}`);
}

/** A message that is not stored yet. `context`: { quoted(seq), retry(clientId), discard(clientId), … } */
export function pendingItem(entry, context) {
  const { client_id, content, reply_to_seq, attachments, state, reason } = entry;
  const words = {
    sending: "Sending…",
    waiting: "Not sent yet, trying again…",
    refused: `Not sent: ${reason}`,
  };
  const buttons = [
    h("button", { type: "button", onclick: () => context.retry(client_id) }, "Try again"),
    h("button", { type: "button", onclick: () => context.discard(client_id) }, "Discard"),
  ];
  const parts = [
    reply_to_seq ? quote(reply_to_seq, context) : null,
    attachments.length > 0 ? attachmentList(attachments) : null,
    content === "" ? null : body(content),
    h("p", { class: "status" }, words[state], ...(state === "refused" ? buttons : [])),
  ];
  return h(
    "li",
    { class: `message mine pending ${state}`, "data-client-id": client_id },
    h("div", { class: "line" }, h("div", { class: "bubble" }, ...parts)),
  );
}
