import * as api from "./api.js";
import { byId, h } from "./element.js";
import { body, mentionedPeople } from "./message.js";
import { timeOf } from "./time.js";

/** The dialog with the earlier versions of an edited message; the latest is at the top. */
export async function showVersions(discussionId, message, context) {
  const list = byId("versions-list");
  list.replaceChildren(h("li", { class: "empty" }, "Loading…"));
  byId("versions").showModal();
  try {
    const { items } = await api.edits(discussionId, message.seq);
    const now = { ...message, created_at: message.edited_at };
    list.replaceChildren(...[now, ...items.reverse()].map((version) => versionItem(version, context)));
  } catch (problem) {
    list.replaceChildren(h("li", { class: "error" }, problem.message));
  }
}

function versionItem(version, context) {
  return h(
    "li",
    { class: "version" },
    h("span", { class: "subtle" }, timeOf(version.created_at)),
    body(version.content, mentionedPeople(version, context)),
  );
}
