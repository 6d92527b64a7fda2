import * as api from "./api.js";
import { byId, h, notify } from "./element.js";

/** One's own account: name and picture, the password, logging out and leaving for good. */
export class Account {
  #me;
  #people;
  #dialog = byId("account");

  constructor(me, people) {
    this.#me = me;
    this.#people = people;
    this.#showMe();
    byId("me").addEventListener("click", () => this.#open());
    byId("log-out").addEventListener("click", () => this.#logOut());
  }

  /** Made anew each time, so that nothing is left of what was typed before. */
  #open() {
    this.#dialog.replaceChildren(byId("account-content").content.cloneNode(true));
    this.#dialog.querySelector("[data-close]").addEventListener("click", () => this.#dialog.close());
    byId("pick-picture").addEventListener("click", () => byId("picture-file").click());
    byId("picture-file").addEventListener("change", () => this.#putPicture());
    byId("remove-picture").addEventListener("click", () => this.#try(() => this.#removePicture()));
    onSubmit("profile-form", (form) => this.#try(() => this.#saveProfile(form)));
    onSubmit("password-form", (form) => this.#try(() => this.#changePassword(form)));
    onSubmit("erase-form", (form) => this.#erase(form));
    byId("profile-form").display_name.value = this.#me.display_name;
    byId("profile-form").status_text.value = this.#me.status_text ?? "";
    byId("account-name").textContent = `@${this.#me.username}`;
    byId("account-picture").replaceChildren(this.#people.picture(this.#me.id));
    this.#dialog.showModal();
  }

  #showMe() {
    this.#people.add([this.#me]);
    const { id } = this.#me;
    byId("me").replaceChildren(this.#people.picture(id), this.#people.show(h("span"), id));
  }

  async #saveProfile({ display_name, status_text }) {
    const fields = { display_name: display_name.value.trim(), status_text: status_text.value.trim() };
    this.#me = { ...(await api.updateMe(fields)), avatar_url: this.#me.avatar_url };
    this.#showMe();
    notify("Saved.");
  }

  async #changePassword(form) {
    await api.updateMe({ password: form.password.value, current_password: form.current_password.value });
    form.reset();
    notify("Your password is changed. Everywhere else you were logged out.");
  }

  #putPicture() {
    const field = byId("picture-file");
    const [file] = field.files;
    field.value = "";
    if (!file) return;
    this.#try(async () => {
      await api.putAvatar(file);
      this.#changePicture();
    });
  }

  async #removePicture() {
    await api.removeAvatar();
    this.#changePicture();
  }

  /** At the same address stands another picture now. */
  #changePicture() {
    const address = this.#me.avatar_url.split("?")[0];
    this.#me = { ...this.#me, avatar_url: `${address}?at=${Date.now()}` };
    this.#showMe();
  }

  #erase(form) {
    if (!confirm("Delete your account for ever? Your messages stay, by “Deleted user”.")) return;
    this.#try(async () => {
      await api.eraseMe(form.password.value);
      location.replace("/");
    });
  }

  async #logOut() {
    try {
      await api.logOut();
    } catch (problem) {
      if (problem.status !== 401) return notify(problem.message);
    }
    location.replace("/");
  }

  async #try(act) {
    byId("account-error").textContent = "";
    try {
      await act();
    } catch (problem) {
      byId("account-error").textContent = problem.message;
    }
  }
}

function onSubmit(id, act) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.currentTarget);
  });
}
