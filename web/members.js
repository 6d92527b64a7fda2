import { h } from "./element.js";

const ROLES = ["owner", "admin", "member"];

/**
 * A line about one member. `context`: { me, people, presence, setRole(userId, role), remove(userId) }; what
 * one may not do is not offered.
 */
export function memberItem({ user_id, role }, { kind, my_role }, context) {
  const { me, people, presence } = context;
  const isMe = user_id === me;
  const about = [isMe ? "you" : "", presence.words(user_id)].filter(Boolean).join(", ");
  return h(
    "li",
    { class: "result" },
    presence.mark(people.picture(user_id), user_id),
    people.show(h("span", { class: "name" }), user_id),
    h("span", { class: "subtle" }, about || `@${people.get(user_id)?.username ?? "…"}`),
    kind === "group"
      ? h(
          "span",
          { class: "act" },
          my_role === "owner" ? roleField(user_id, role, context) : h("span", { class: "subtle" }, role),
          !isMe && mayRemove(my_role, role) ? removeButton(user_id, context) : null,
        )
      : null,
  );
}

function mayRemove(myRole, role) {
  return myRole === "owner" || (myRole === "admin" && role === "member");
}

function roleField(userId, role, { people, setRole }) {
  const options = ROLES.map((name) => h("option", { value: name, selected: name === role }, name));
  const change = ({ currentTarget }) => setRole(userId, currentTarget.value);
  return h("select", { "aria-label": `Role of ${people.name(userId) ?? "…"}`, onchange: change }, ...options);
}

function removeButton(userId, { people, remove }) {
  const label = `Remove ${people.name(userId) ?? "…"}`;
  return h(
    "button",
    { type: "button", class: "quiet", "aria-label": label, title: label, onclick: () => remove(userId) },
    "✕",
  );
}
