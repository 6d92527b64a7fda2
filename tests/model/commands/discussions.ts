import { type Discussion, type Model, memberOf, type Role } from "../model.ts";
import { memberJson, sharedJson } from "../shapes.ts";
import {
  type Command,
  command,
  done,
  type Expected,
  labelOf,
  type Outcome,
  type Refusal,
  refuseOutsiders,
  viewOf,
  type Way,
} from "./command.ts";

type Visibility = "private" | "public";

export function createDirect(actorId: string, way: Way, userId: string): Command {
  const request = { method: "POST", path: "/discussions", body: { kind: "direct", user_id: userId } };
  const words = (model: Model) => `opens a discussion with ${model.person(userId).name}`;
  return command(actorId, way, request, words, (model, outcome) => {
    const identity = identityOf("direct", null, [actorId, userId]);
    const existing = findSame(model, identity);
    if (existing) return { status: 200, view: viewOf(existing.id, actorId) };
    if (model.blocks.has(`${userId} ${actorId}`)) return { code: "blocked" };
    if (model.person(userId).isErased) return { code: "user_not_found" };
    const ids = [...new Set([actorId, userId])];
    const about = { kind: "direct", name: null, visibility: "private", identity } as const;
    return begin(model, outcome, actorId, ids, about);
  });
}

export function createGroup(
  actorId: string,
  way: Way,
  name: string | null,
  memberIds: readonly string[],
  visibility: Visibility,
): Command {
  const body = { kind: "group", name, member_ids: memberIds, visibility };
  const words = (model: Model) => {
    const members = memberIds.map((id) => model.person(id).name).join(", ");
    return `creates the ${visibility} group ${name ?? "without a name"} with ${members || "nobody"}`;
  };
  return command(actorId, way, { method: "POST", path: "/discussions", body }, words, (model, outcome) => {
    const ids = [...new Set([actorId, ...memberIds])];
    const identity = identityOf("group", name, ids);
    const existing = findSame(model, identity);
    if (existing) return { status: 200, view: viewOf(existing.id, actorId) };
    if (ids.some((id) => model.person(id).isErased)) return { code: "user_not_found" };
    return begin(model, outcome, actorId, ids, { kind: "group", name, visibility, identity });
  });
}

type About = Pick<Discussion, "kind" | "name" | "visibility" | "identity">;

function begin(model: Model, { body }: Outcome, creatorId: string, ids: string[], about: About): Expected {
  const label = `d${model.discussions.size + 1}`;
  const id: string = body?.id ?? label;
  // The creator comes first, then the others by their ids.
  const inOrder = [creatorId, ...ids.filter((one) => one !== creatorId).sort()];
  const discussion: Discussion = {
    id,
    label,
    ...about,
    created_by: creatorId,
    created_at: model.time(),
    members: inOrder.map((user_id) => {
      const role = user_id === creatorId && about.kind === "group" ? "owner" : "member";
      return { user_id, role, joined_at: model.time(), mark: 0, muted_until: null };
    }),
    messages: [],
    deletedAt: null,
  };
  for (const user_id of inOrder)
    model.append({ type: "member.enrolled", discussion_id: id, user_id, audience: [] });
  model.discussions.set(id, discussion);
  model.append({
    type: "discussion.created",
    discussion_id: id,
    data: { discussion: sharedJson(discussion) },
  });
  return { status: 201, view: viewOf(id, creatorId) };
}

export function change(
  actorId: string,
  way: Way,
  id: string,
  changes: { name?: string | null; visibility?: Visibility },
): Command {
  const request = { method: "PATCH", path: `/discussions/${id}`, body: changes };
  const words = (model: Model) => `changes ${labelOf(model, id)} to ${JSON.stringify(changes)}`;
  return command(actorId, way, request, words, (model) => {
    const found = findGroup(model, actorId, id);
    if ("code" in found) return found;
    const { group, role } = found;
    if (role === "member") return { code: "forbidden" };
    const { name = group.name, visibility = group.visibility } = changes;
    if (name !== group.name) setIdentity(model, group, name, memberIds(group));
    if (name !== group.name || visibility !== group.visibility) {
      Object.assign(group, { name, visibility });
      model.append({
        type: "discussion.updated",
        discussion_id: id,
        data: { discussion: sharedJson(group) },
      });
    }
    return { status: 200, view: viewOf(id, actorId) };
  });
}

export function destroy(actorId: string, way: Way, id: string): Command {
  const request = { method: "DELETE", path: `/discussions/${id}` };
  const words = (model: Model) => `deletes ${labelOf(model, id)}`;
  return command(actorId, way, request, words, (model) => {
    const found = findGroup(model, actorId, id);
    if ("code" in found) return found;
    if (found.role !== "owner") return { code: "forbidden" };
    end(model, found.group);
    return done;
  });
}

/** The end of a discussion: each of its members is told, nobody else. */
export function end(model: Model, discussion: Discussion): void {
  discussion.deletedAt = model.end + 1;
  discussion.identity = null;
  for (const user_id of memberIds(discussion).sort())
    model.append({ type: "discussion.deleted", discussion_id: discussion.id, user_id, audience: [user_id] });
}

export function join(actorId: string, way: Way, id: string): Command {
  const request = { method: "POST", path: `/discussions/${id}/join` };
  const words = (model: Model) => `joins ${labelOf(model, id)}`;
  return command(actorId, way, request, words, (model) => {
    const group = model.find(id);
    const standing = model.standing(id, actorId);
    if (!group || standing === null) return { code: "discussion_not_found" };
    if (standing === "visitor") addAll(model, group, [actorId]);
    return { status: 200, view: viewOf(id, actorId) };
  });
}

export function add(actorId: string, way: Way, id: string, userIds: readonly string[]): Command {
  const request = { method: "POST", path: `/discussions/${id}/members`, body: { user_ids: userIds } };
  const words = (model: Model) =>
    `adds ${userIds.map((userId) => model.person(userId).name).join(", ")} to ${labelOf(model, id)}`;
  return command(actorId, way, request, words, (model) => {
    const found = findGroup(model, actorId, id);
    if ("code" in found) return found;
    if (userIds.some((userId) => model.person(userId).isErased)) return { code: "user_not_found" };
    addAll(model, found.group, userIds);
    return { status: 200, view: viewOf(id, actorId) };
  });
}

/** What was said before counts as read. */
function addAll(model: Model, group: Discussion, userIds: readonly string[]): void {
  setIdentity(model, group, group.name, [...memberIds(group), ...userIds]);
  const fresh = [...new Set(userIds)].filter((id) => !memberOf(group, id)).sort();
  for (const user_id of fresh) {
    const mark = group.messages.length;
    const member = { user_id, role: "member", joined_at: model.time(), mark, muted_until: null } as const;
    group.members.push({ ...member });
    const data = { member: memberJson(group, member) };
    model.append({ type: "member.added", discussion_id: group.id, user_id, data });
  }
}

export function changeRole(actorId: string, way: Way, id: string, userId: string, role: Role): Command {
  const request = { method: "PATCH", path: `/discussions/${id}/members/${userId}`, body: { role } };
  const words = (model: Model) => `makes ${model.person(userId).name} ${role} of ${labelOf(model, id)}`;
  return command(actorId, way, request, words, (model) => {
    const found = findGroup(model, actorId, id);
    if ("code" in found) return found;
    const { group } = found;
    const member = memberOf(group, userId);
    if (!member) return { code: "member_not_found" };
    if (found.role !== "owner") return { code: "forbidden" };
    if (role !== "owner" && isLastOwner(group, userId)) return { code: "last_owner" };
    setRole(model, group, userId, role);
    return { status: 200, view: viewOf(id, actorId) };
  });
}

export function setRole(model: Model, group: Discussion, userId: string, role: Role): void {
  const member = memberOf(group, userId);
  if (!member || member.role === role) return;
  member.role = role;
  const data = { member: memberJson(group, member) };
  model.append({ type: "member.updated", discussion_id: group.id, user_id: userId, data });
}

export function expel(actorId: string, way: Way, id: string, userId: string): Command {
  const request = { method: "DELETE", path: `/discussions/${id}/members/${userId}` };
  const words = (model: Model) =>
    actorId === userId
      ? `leaves ${labelOf(model, id)}`
      : `removes ${model.person(userId).name} from ${labelOf(model, id)}`;
  return command(actorId, way, request, words, (model) => {
    const found = findGroup(model, actorId, id);
    if ("code" in found) return found;
    const { group } = found;
    const role = memberOf(group, userId)?.role;
    if (!role) return { code: "member_not_found" };
    const mayRemove =
      actorId === userId || found.role === "owner" || (found.role === "admin" && role === "member");
    if (!mayRemove) return { code: "forbidden" };
    if (group.members.length === 1) {
      end(model, group);
      return done;
    }
    if (isLastOwner(group, userId)) return { code: "last_owner" };
    take(model, group, userId);
    return done;
  });
}

/** Somebody is no member any more, and is the last to be told of it. */
export function take(model: Model, group: Discussion, userId: string): void {
  const rest = memberIds(group).filter((one) => one !== userId);
  setIdentity(model, group, group.name, rest);
  const data = { user_id: userId };
  model.append({ type: "member.removed", discussion_id: group.id, user_id: userId, data });
  group.members = group.members.filter(({ user_id }) => user_id !== userId);
}

export function mute(actorId: string, way: Way, id: string, until: string | null): Command {
  const request = { method: "PUT", path: `/discussions/${id}/mute`, body: { until } };
  const words = (model: Model) => `mutes ${labelOf(model, id)} until ${until}`;
  return command(actorId, way, request, words, (model) => {
    const discussion = model.find(id);
    const member = discussion && memberOf(discussion, actorId);
    if (!member) return refuseOutsiders(model.standing(id, actorId)) ?? { code: "discussion_not_found" };
    member.muted_until = until;
    return done;
  });
}

function findGroup(model: Model, actorId: string, id: string): Refusal | { group: Discussion; role: Role } {
  const group = model.find(id);
  const refusal = refuseOutsiders(model.standing(id, actorId));
  const role = group && memberOf(group, actorId)?.role;
  if (refusal || !role) return refusal ?? { code: "discussion_not_found" };
  return group.kind === "direct" ? { code: "direct_discussion" } : { group, role };
}

function isLastOwner(group: Discussion, userId: string): boolean {
  const owners = group.members.filter(({ role }) => role === "owner");
  return owners.length === 1 && owners[0]?.user_id === userId;
}

function memberIds(discussion: Discussion): string[] {
  return discussion.members.map(({ user_id }) => user_id);
}

function identityOf(kind: string, name: string | null, ids: readonly string[]): string {
  return JSON.stringify([kind, name ?? "", [...new Set(ids)].sort()]);
}

function findSame(model: Model, identity: string): Discussion | undefined {
  return [...model.discussions.values()].find((one) => one.identity === identity);
}

/** Two groups may grow alike; only one of them is then found by its name and members. */
function setIdentity(model: Model, group: Discussion, name: string | null, ids: readonly string[]): void {
  const identity = identityOf("group", name, ids);
  const other = findSame(model, identity);
  group.identity = other && other !== group ? null : identity;
}
