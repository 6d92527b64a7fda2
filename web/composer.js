import * as api from "./api.js";
import { byId, notify } from "./element.js";
import { Mentions } from "./mentions.js";
import { summaryOf } from "./message.js";
import { Tray } from "./tray.js";
import { forgetTyping, tellTyping } from "./typing.js";

/** Where one writes: a draft per discussion, with its files and what it answers; or an edit of a message. */
export class Composer {
  #context;
  #area = byId("draft");
  #mentions;
  #drafts = new Map();
  #id = null;

  /**
   * `context`: { me, people, discussions, write({ content, reply_to_seq, attachments }), remove(message),
   * goTo(seq), lastOwn() }
   */
  constructor(context) {
    this.#context = context;
    this.#mentions = new Mentions(this.#area, byId("suggestions"), () => this.#mentionable());
    byId("composer").addEventListener("submit", (event) => this.#submit(event));
    byId("not-regarding").addEventListener("click", () => this.#regard(null));
    byId("regarded").addEventListener("click", () => context.goTo(this.#draft.regarding.message.seq));
    this.#area.addEventListener("input", () => this.#typed());
    this.#area.addEventListener("keydown", (event) => this.#press(event));
    this.#listenForFiles();
  }

  /** Puts the draft aside that was there, and takes up that of another discussion; null for none. */
  open(id) {
    if (this.#id !== null) this.#draft.text = this.#area.value;
    this.#id = id;
    this.#mentions.close();
    if (id === null) return;
    this.#area.value = this.#draft.text;
    byId("tray-place").replaceChildren(this.#draft.tray.element);
    this.#show();
    if (matchMedia("(pointer: fine)").matches) this.#area.focus();
    else byId("title").focus({ preventScroll: true });
  }

  reply(message) {
    this.#regard({ kind: "reply", message });
  }

  /** The draft comes back afterwards. */
  edit(message) {
    const before = this.#draft.regarding?.kind === "edit" ? this.#draft.regarding.before : this.#area.value;
    this.#regard({ kind: "edit", message, before });
    this.#area.value = message.content;
    this.#show();
  }

  /** The draft of the open discussion. `regarding`: { kind: "reply" | "edit", message, before? } or null. */
  get #draft() {
    const known = this.#drafts.get(this.#id);
    if (known) return known;
    const draft = { text: "", regarding: null, tray: new Tray(() => this.#show()) };
    this.#drafts.set(this.#id, draft);
    return draft;
  }

  get #isEditing() {
    return this.#draft.regarding?.kind === "edit";
  }

  #regard(regarding) {
    if (this.#isEditing) this.#area.value = this.#draft.regarding.before;
    this.#draft.regarding = regarding;
    this.#show();
    this.#area.focus();
  }

  #show() {
    if (this.#id === null) return;
    const { regarding, tray } = this.#draft;
    byId("regarding").hidden = regarding === null;
    byId("tray-place").hidden = this.#isEditing || tray.isEmpty;
    byId("attach").disabled = this.#isEditing;
    byId("send").disabled = !this.#isEditing && tray.isBusy;
    byId("send").setAttribute("aria-label", this.#isEditing ? "Save" : "Send");
    if (regarding) this.#showRegarding(regarding);
    fit(this.#area);
  }

  #showRegarding({ kind, message }) {
    const name = this.#context.people.name(message.sender_id) ?? "…";
    byId("regarding-what").textContent = kind === "edit" ? "Editing" : `Reply to ${name}`;
    byId("regarded-text").textContent = summaryOf(message);
    byId("not-regarding").setAttribute("aria-label", kind === "edit" ? "Do not edit" : "Do not reply");
  }

  #mentionable() {
    const members = this.#context.discussions.get(this.#id)?.members ?? [];
    const others = members.filter(({ user_id }) => user_id !== this.#context.me);
    return others.map(({ user_id }) => this.#context.people.get(user_id)).filter((user) => user?.username);
  }

  #typed() {
    fit(this.#area);
    const { member_count } = this.#context.discussions.get(this.#id) ?? {};
    if (member_count > 1 && this.#area.value.trim() !== "" && !this.#isEditing) tellTyping(this.#id);
  }

  #press(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      byId("composer").requestSubmit();
    } else if (event.key === "Escape" && this.#draft.regarding) {
      this.#regard(null);
    } else if (event.key === "ArrowUp" && this.#area.value === "" && !this.#draft.regarding) {
      const message = this.#context.lastOwn();
      if (!message) return;
      event.preventDefault();
      this.edit(message);
    }
  }

  #submit(event) {
    event.preventDefault();
    if (this.#id === null) return;
    const content = this.#area.value.trim();
    if (this.#isEditing) this.#save(content);
    else this.#send(content);
  }

  #send(content) {
    const { regarding, tray } = this.#draft;
    if (tray.isBusy) return notify("The files are still on their way.");
    if (content === "" && tray.isEmpty) return;
    const reply_to_seq = regarding?.message.seq ?? null;
    const isTaken = this.#context.write({ content, reply_to_seq, attachments: tray.attachments() });
    if (!isTaken) return notify("Too many messages are waiting to be sent.");
    forgetTyping();
    tray.clear();
    this.#area.value = "";
    this.#regard(null);
  }

  /** What could not be saved stays to be tried again. */
  async #save(content) {
    const { regarding } = this.#draft;
    const { message } = regarding;
    if (content === "" && message.attachments.length === 0) return this.#context.remove(message);
    try {
      if (content !== message.content) await api.editMessage(message.discussion_id, message.seq, content);
    } catch (problem) {
      return notify(problem.message);
    }
    if (message.discussion_id === this.#id && this.#draft.regarding === regarding) this.#regard(null);
    else this.#forgetEdit(message.discussion_id, regarding);
  }

  /** Another discussion was opened meanwhile. */
  #forgetEdit(id, regarding) {
    const draft = this.#drafts.get(id);
    if (draft?.regarding !== regarding) return;
    draft.text = regarding.before;
    draft.regarding = null;
  }

  #listenForFiles() {
    const take = (files) => {
      if (files.length > 0 && !this.#isEditing) this.#draft.tray.add(files);
    };
    const [field, place] = [byId("files"), byId("open")];
    byId("attach").addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      take(field.files);
      field.value = "";
    });
    this.#area.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length === 0) return;
      event.preventDefault();
      take(event.clipboardData.files);
    });
    const carriesFiles = ({ dataTransfer }) => dataTransfer.types.includes("Files");
    place.addEventListener("dragover", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      place.classList.add("dropping");
    });
    place.addEventListener("dragleave", (event) => {
      if (!place.contains(event.relatedTarget)) place.classList.remove("dropping");
    });
    place.addEventListener("drop", (event) => {
      place.classList.remove("dropping");
      if (!carriesFiles(event)) return;
      event.preventDefault();
      take(event.dataTransfer.files);
    });
  }
}

function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
