// Text that becomes more than text: links, mentions, and what a search has found. All of it is made of text
// nodes and elements of our own; nothing is ever parsed as markup.
import { h } from "./element.js";

const ADDRESS = /(?<address>https?:\/\/[^\s<>"]+[^\s<>".,;:!?'")\]}])/u;
const NAME = /(?<![\p{L}\p{N}_.@-])@(?<name>[a-zA-Z0-9_.-]{3,64})/u;
const SPECIAL = new RegExp(`${ADDRESS.source}|${NAME.source}`, "gu");

/**
 * Nodes for a text: web addresses become links, names of people in `mentioned` (by username) are marked.
 */
export function richText(text, mentioned = new Map()) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(SPECIAL)) {
    const { address, name } = match.groups;
    const found = address ?? mentionIn(name, mentioned);
    if (!found) continue;
    parts.push(text.slice(end, match.index));
    parts.push(address ? link(address) : mention(`@${found}`, mentioned.get(found.toLowerCase())));
    end = match.index + (address ? found.length : found.length + 1);
  }
  return [...parts, text.slice(end)];
}

/** A full stop, hyphen or underscore at the end belongs to the sentence, unless somebody's name ends so. */
function mentionIn(name, mentioned) {
  return [name, name.replace(/[._-]+$/, "")].find((form) => mentioned.has(form.toLowerCase()));
}

function link(address) {
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, address);
}

function mention(text, { display_name, isMe }) {
  return h("span", { class: isMe ? "mention me" : "mention", title: display_name }, text);
}

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": '"', "&#39;": "'", "&#x27;": "'" };

/**
 * Nodes for a snippet of the search: HTML in which `<mark>` is the only tag. It is read here and not by the
 * browser, so whatever else it may hold is shown as text.
 */
export function snippet(html) {
  return html
    .split(/<mark>(.*?)<\/mark>/s)
    .map((part, index) => (index % 2 ? h("mark", {}, plain(part)) : plain(part)));
}

function plain(html) {
  return html.replace(/&(?:lt|gt|amp|quot|#39|#x27);/g, (entity) => ENTITIES[entity]);
}

/** A reaction as it is shown: an emoji as it is, the name of a custom one between colons. */
export function reactionText(emoji) {
  return /^[a-z0-9_+-]{2,32}$/.test(emoji) ? `:${emoji}:` : emoji;
}

/**
 * "Ann", "Ann and Bob", "Ann, Bob and 3 others". Within one text nothing can hold a name that turns the
 * direction of writing, so it loses the characters that do.
 */
export function listOf(given, most = 3) {
  const names = given.map((name) => name.replace(/[\u202a-\u202e\u2066-\u2069]/g, ""));
  const rest = names.length - most;
  if (rest > 1) return `${names.slice(0, most).join(", ")} and ${rest} others`;
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

export function sizeOf(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${Number((bytes / 1000 ** step).toPrecision(3))} ${units[step]}`;
}
