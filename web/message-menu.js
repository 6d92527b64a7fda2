import { byId, h } from "./element.js";

const HANDFUL = ["👍", "❤️", "😂", "🎉", "😮", "😢"];
const GAP_PX = 6;

/** What can be done with a message. One element for all of them, opened beside the message's button. */
export class MessageMenu {
  #element = byId("menu");
  #acts;
  #message = null;

  /** `acts`: { react(seq, emoji, present), reply(message), edit(message), remove(message) } */
  constructor(acts) {
    this.#acts = acts;
    this.#element.addEventListener("keydown", (event) => this.#press(event));
    byId("emoji-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const emoji = byId("emoji")
        .value.trim()
        .replace(/^:(.*):$/, "$1");
      if (emoji !== "") this.#do(() => acts.react(this.#message.seq, emoji, true));
    });
    byId("handful").replaceChildren(
      ...HANDFUL.map((emoji) => {
        const react = () => this.#do(() => acts.react(this.#message.seq, emoji, true));
        return h("button", { type: "button", class: "emoji", onclick: react }, emoji);
      }),
    );
    for (const name of ["reply", "copy", "edit", "remove"]) {
      byId(`menu-${name}`).addEventListener("click", () => this.#do(() => this.#act(name)));
    }
  }

  open(message, button, { mine, mayDelete }) {
    this.#message = message;
    byId("emoji").value = "";
    byId("menu-copy").hidden = message.content === "";
    byId("menu-edit").hidden = !mine;
    byId("menu-remove").hidden = !mayDelete;
    this.#element.showPopover();
    this.#placeBeside(button.getBoundingClientRect());
    byId("handful").firstElementChild.focus();
  }

  #act(name) {
    if (name === "copy") return navigator.clipboard?.writeText(this.#message.content);
    return this.#acts[name](this.#message);
  }

  /** Closed first, which gives the focus back, so that the act may take it elsewhere. */
  #do(act) {
    this.#element.hidePopover();
    act();
  }

  /** Below the button if there is room, and within the window. */
  #placeBeside({ left, right, top, bottom }) {
    const { offsetWidth: width, offsetHeight: height } = this.#element;
    const below = bottom + GAP_PX;
    const y = below + height < innerHeight ? below : Math.max(GAP_PX, top - height - GAP_PX);
    const x = (left + right - width) / 2;
    this.#element.style.top = `${y}px`;
    this.#element.style.left = `${Math.max(GAP_PX, Math.min(x, innerWidth - width - GAP_PX))}px`;
  }

  #press(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step || event.target === byId("emoji")) return;
    event.preventDefault();
    const all = [...this.#element.querySelectorAll("button, input")].filter(
      ({ offsetParent }) => offsetParent,
    );
    all.at((all.indexOf(document.activeElement) + step) % all.length).focus();
  }
}
