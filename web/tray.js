import { upload } from "./api.js";
import { extensionOf } from "./attachments.js";
import { h, notify } from "./element.js";
import { withoutCameraData } from "./photo.js";
import { sizeOf } from "./text.js";

const MOST_FILES = 10;

/** The files of one draft, which are uploaded as soon as they are chosen. `element` shows them. */
export class Tray {
  element = h("ul", { class: "tray", "aria-label": "Files to send" });
  #files = [];
  #changed;

  /** `changed()`: what attachments() and isBusy say may have changed. */
  constructor(changed) {
    this.#changed = changed;
  }

  get isEmpty() {
    return this.#files.length === 0;
  }

  /** Whether a file is still on its way, or did not arrive. */
  get isBusy() {
    return this.#files.some(({ attachment }) => attachment === null);
  }

  /** As they stand in a message. */
  attachments() {
    return this.#files.map(({ attachment }) => attachment).filter(Boolean);
  }

  add(files) {
    const room = MOST_FILES - this.#files.length;
    if (files.length > room) notify(`A message can carry ${MOST_FILES} files.`);
    for (const file of [...files].slice(0, room)) {
      const entry = { file, share: 0, attachment: null, problem: null, ended: new AbortController() };
      entry.item = h("li", { class: "tray-file" });
      this.#files.push(entry);
      this.element.append(entry.item);
      this.#upload(entry);
    }
  }

  /** They were sent, or given up with their draft. */
  clear() {
    for (const entry of this.#files) entry.ended.abort();
    this.#files = [];
    this.element.replaceChildren();
    this.#changed();
  }

  async #upload(entry) {
    entry.problem = null;
    entry.share = 0;
    this.#draw(entry);
    const progress = (share) => {
      entry.share = share;
      const bar = entry.item.querySelector("progress");
      if (bar) bar.value = share;
    };
    try {
      entry.file = await withoutCameraData(entry.file);
      entry.attachment = await upload(entry.file, { progress, signal: entry.ended.signal });
    } catch (problem) {
      entry.problem = problem;
    }
    this.#draw(entry);
  }

  #remove(entry) {
    entry.ended.abort();
    this.#files = this.#files.filter((other) => other !== entry);
    entry.item.remove();
    this.#changed();
  }

  #draw(entry) {
    const { file, share, attachment, problem, item } = entry;
    const retry = { type: "button", class: "retry", onclick: () => this.#upload(entry) };
    const remove = {
      type: "button",
      class: "quiet",
      "aria-label": `Remove ${file.name}`,
      onclick: () => this.#remove(entry),
    };
    item.classList.toggle("failed", problem !== null);
    item.replaceChildren(
      attachment?.width ? preview(attachment) : icon(file),
      h("span", { class: "file-name", dir: "auto" }, file.name),
      h("span", { class: "file-size" }, problem ? reasonOf(problem) : sizeOf(file.size)),
      attachment || problem ? "" : h("progress", { value: share, max: 1, "aria-label": "Uploaded" }),
      problem && !isTooLarge(problem) ? h("button", retry, "Try again") : "",
      h("button", remove, "✕"),
    );
    this.#changed();
  }
}

/** The one refusal that no repetition changes. */
function isTooLarge({ status }) {
  return status === 413;
}

function reasonOf(problem) {
  return isTooLarge(problem) ? "This file is too large." : problem.message;
}

function preview({ url }) {
  return h("img", { src: `${url}?thumbnail=1`, alt: "", class: "file-icon" });
}

function icon({ name }) {
  return h("span", { class: "file-icon", "aria-hidden": "true" }, extensionOf(name));
}
