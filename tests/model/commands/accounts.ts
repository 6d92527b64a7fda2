import { password } from "../../support/client.ts";
import { type Discussion, type Model, memberOf } from "../model.ts";
import { type Command, command, done, type Way } from "./command.ts";
import { end, setRole, take } from "./discussions.ts";

export function block(actorId: string, way: Way, userId: string): Command {
  const request = { method: "PUT", path: `/users/${userId}/block` };
  const words = (model: Model) => `blocks ${model.person(userId).name}`;
  return command(actorId, way, request, words, (model) => {
    if (userId === actorId) return { code: "invalid_request" };
    if (model.person(userId).isErased) return { code: "user_not_found" };
    model.blocks.add(`${actorId} ${userId}`);
    return done;
  });
}

export function unblock(actorId: string, way: Way, userId: string): Command {
  const request = { method: "DELETE", path: `/users/${userId}/block` };
  const words = (model: Model) => `unblocks ${model.person(userId).name}`;
  return command(actorId, way, request, words, (model) => {
    model.blocks.delete(`${actorId} ${userId}`);
    return done;
  });
}

export function rename(actorId: string, way: Way, display_name: string): Command {
  const request = { method: "PATCH", path: "/users/me", body: { display_name } };
  const words = () => `takes the name ${display_name}`;
  return command(actorId, way, request, words, (model) => {
    const person = model.person(actorId);
    person.display_name = display_name;
    const { id, username, created_at } = person;
    const avatar_url = `/api/v1/users/${id}/avatar`;
    const me = { id, username, display_name, avatar_url, status_text: "", created_at, email: null };
    return { status: 200, body: me };
  });
}

/** The account goes: it leaves what others are left in, and takes along what nobody else can read. */
export function erase(actorId: string, way: Way): Command {
  const request = { method: "DELETE", path: "/users/me", body: { password } };
  return command(
    actorId,
    way,
    request,
    () => "erases the account",
    (model, { ended = [] }) => {
      const goes = (one: Discussion) => one.kind === "group" || isDeserted(model, one, actorId);
      const left = model
        .discussionsOf(actorId)
        .filter(goes)
        .sort((a, b) => (a.id < b.id ? -1 : 1));
      const deserted = left
        .filter((one) => isDeserted(model, one, actorId))
        .sort((a, b) => ended.indexOf(a.id) - ended.indexOf(b.id));
      const kept = left.filter((one) => !deserted.includes(one));
      for (const group of kept) handOver(model, group, actorId);
      for (const discussion of deserted) end(model, discussion);
      for (const group of kept) take(model, group, actorId);
      model.append({ type: "session.revoked", discussion_id: "", user_id: actorId, audience: [] });
      model.person(actorId).isErased = true;
      for (const pair of model.blocks) if (pair.includes(actorId)) model.blocks.delete(pair);
      return done;
    },
  );
}

function isDeserted(model: Model, { members }: Discussion, leaverId: string): boolean {
  return members.every(({ user_id }) => user_id === leaverId || model.person(user_id).isErased);
}

/** The admin, else the member, who is there longest becomes owner where there is no other. */
function handOver(model: Model, group: Discussion, leaverId: string): void {
  if (memberOf(group, leaverId)?.role !== "owner") return;
  const others = group.members.filter(({ user_id }) => user_id !== leaverId);
  if (others.some(({ role }) => role === "owner")) return;
  const heir = others.find(({ role }) => role === "admin") ?? others[0];
  if (heir) setRole(model, group, heir.user_id, "owner");
}
