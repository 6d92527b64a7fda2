import * as api from "./api.js";
import { byId } from "./element.js";

/** Shows the way in; resolves with the user once logged in or registered. */
export function enterByDoor() {
  const form = byId("door-form");
  const { promise, resolve } = Promise.withResolvers();
  byId("door").hidden = false;
  // Only the choice between the two ways: a change of layout under the pointer would swallow its click.
  for (const choice of form.way) choice.addEventListener("change", () => dress(form));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const user = await knock(form);
    if (!user) return;
    byId("door").hidden = true;
    form.reset();
    resolve(user);
  });
  dress(form);
  form.username.focus();
  return promise;
}

function dress(form) {
  const registering = form.way.value === "register";
  byId("username-label").textContent = registering ? "Username" : "Username or e-mail";
  byId("display-name-field").hidden = !registering;
  byId("password-hint").hidden = !registering;
  form.password.minLength = registering ? 8 : 0;
  form.password.autocomplete = registering ? "new-password" : "current-password";
  form.querySelector("button[type=submit]").textContent = registering ? "Create account" : "Log in";
  byId("door-error").textContent = "";
}

async function knock(form) {
  const button = form.querySelector("button[type=submit]");
  const username = form.username.value.trim();
  const password = form.password.value;
  const displayName = form.display_name.value.trim();
  button.disabled = true;
  try {
    const named = displayName === "" ? {} : { display_name: displayName };
    const answer =
      form.way.value === "register"
        ? await api.register({ username, password, ...named })
        : await api.logIn(username, password);
    return answer.user;
  } catch (problem) {
    byId("door-error").textContent = problem.message;
    return null;
  } finally {
    button.disabled = false;
  }
}
