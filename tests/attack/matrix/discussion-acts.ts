import type { Client } from "../../support/client.ts";
import { upload } from "../../support/files.ts";
import type { Act, Asked } from "./acts.ts";
import { tells } from "./answers.ts";
import { text, type World } from "./world.ts";

const nobody = "0198c0de-0000-7000-8000-000000000000";
const later = "2100-01-01T00:00:00Z";
const isOpen = () => true;
const at = (w: World, rest = "") => `/discussions/${w.id}${rest}`;

const isMember = (w: World, { user }: Client, what = "true") =>
  w.has(`SELECT FROM members WHERE discussion_id = $1 AND user_id = $2 AND ${what}`, w.id, user.id);
const isDiscussion = (w: World, what: string) =>
  w.has(`SELECT FROM discussions WHERE id = $1 AND ${what}`, w.id);

/** Of public groups, who is no member is not told what was said. */
const whole: Record<string, Act> = {
  "GET /discussions/{id}": (w, who) => ({
    path: at(w),
    did: async ({ body }) =>
      body.id === w.id &&
      ((await isMember(w, who)) ? body.last_message !== null : body.last_message === null),
  }),
  "PATCH /discussions/{id}": (w) => ({
    path: at(w),
    body: { name: "renamed" },
    did: () => isDiscussion(w, "name = 'renamed'"),
  }),
  "PATCH /discussions/{id} : to public": (w) => ({
    path: at(w),
    body: { visibility: "public" },
    did: () => isDiscussion(w, "visibility = 'public'"),
  }),
  "PATCH /discussions/{id} : to private": (w) => ({
    path: at(w),
    body: { visibility: "private" },
    did: () => isDiscussion(w, "visibility = 'private'"),
  }),
  "DELETE /discussions/{id}": (w) => ({
    path: at(w),
    did: async () => !(await isDiscussion(w, "true")),
  }),
  "POST /discussions/{id}/join": (w, who) => ({ path: at(w, "/join"), did: () => isMember(w, who) }),
};

const memberIds = (w: World) => Object.values(w.people).map(({ user }) => user.id);

const members: Record<string, Act> = {
  "GET /discussions/{id}/members": (w) => ({
    path: at(w, "/members"),
    did: ({ body }) =>
      body.items.length === (w.place.endsWith("group") ? 5 : 2) &&
      body.items.every(({ user_id }: { user_id: string }) => memberIds(w).includes(user_id)),
  }),
  "POST /discussions/{id}/members": (w) => ({
    path: at(w, "/members"),
    body: { user_ids: [w.people.stranger.user.id] },
    did: () => isMember(w, w.people.stranger),
  }),
  "POST /discussions/{id}/members : nobody": (w) => ({
    path: at(w, "/members"),
    body: { user_ids: [w.people.stranger.user.id, nobody] },
    did: isOpen,
  }),
};

function changeRole(w: World, target: Client, role: string): Asked {
  return {
    path: at(w, `/members/${target.user.id}`),
    body: { role },
    did: () => isMember(w, target, `role = '${role}'`),
  };
}

function remove(w: World, target: Client): Asked {
  return {
    path: at(w, `/members/${target.user.id}`),
    did: async () => !(await isMember(w, target)),
  };
}

/** In a group, somebody who is none of the actors but the member. */
const one = "/discussions/{id}/members/{user_id}";
const member: Record<string, Act> = {
  [`PATCH ${one} : to admin`]: (w) => changeRole(w, w.people.member, "admin"),
  [`PATCH ${one} : to owner`]: (w) => changeRole(w, w.people.deputy, "owner"),
  [`PATCH ${one} : self to owner`]: (w, who) => changeRole(w, who, "owner"),
  [`PATCH ${one} : owner down`]: (w) => changeRole(w, w.people.owner, "member"),
  [`PATCH ${one} : no member`]: (w) => changeRole(w, w.people.stranger, "owner"),
  [`DELETE ${one} : a member`]: (w, who) =>
    remove(w, who === w.people.member ? w.people.blocked : w.people.member),
  [`DELETE ${one} : an admin`]: (w) => remove(w, w.people.deputy),
  [`DELETE ${one} : the owner`]: (w) => remove(w, w.people.owner),
  [`DELETE ${one} : oneself`]: (w, who) => remove(w, who),
  [`DELETE ${one} : no member`]: (w) => remove(w, w.people.former),
};

const oneself: Record<string, Act> = {
  "PUT /discussions/{id}/read": (w) => ({
    path: at(w, "/read"),
    body: { seq: 1 },
    did: ({ body }) => body.last_read_seq >= 1,
  }),
  "PUT /discussions/{id}/mute": (w, who) => ({
    path: at(w, "/mute"),
    body: { until: later },
    did: () => isMember(w, who, `muted_until = '${later}'`),
  }),
  // Whether it is heard stands in tests/delivery/typing.test.ts.
  "POST /discussions/{id}/typing": (w) => ({ path: at(w, "/typing"), did: isOpen }),
  "GET /discussions/{id}/presence": (w) => ({
    path: at(w, "/presence"),
    did: tells(w.people.owner.user.id),
  }),
};

const hasMessage = (w: World, seq: number, what: string) =>
  w.has(`SELECT FROM messages WHERE discussion_id = $1 AND seq = $2 AND ${what}`, w.id, seq);
const messageAt = (w: World, seq: number, rest = "") => at(w, `/messages/${seq}${rest}`);

function edit(w: World, seq: number): Asked {
  return {
    path: messageAt(w, seq),
    body: { content: "changed" },
    did: () => hasMessage(w, seq, "content = 'changed'"),
  };
}

function erase(w: World, seq: number): Asked {
  return { path: messageAt(w, seq), did: () => hasMessage(w, seq, "deleted_at IS NOT NULL") };
}

const hasReaction = (w: World, { user }: Client, emoji: string) =>
  w.has(
    "SELECT FROM reactions WHERE discussion_id = $1 AND seq = 1 AND user_id = $2 AND emoji = $3",
    w.id,
    user.id,
    emoji,
  );

const message = "/discussions/{id}/messages/{seq}";
const messages: Record<string, Act> = {
  "POST /discussions/{id}/messages": (w, who) => ({
    path: at(w, "/messages"),
    body: { content: "said" },
    did: ({ body }) => hasMessage(w, body.seq, `sender_id = '${who.user.id}' AND content = 'said'`),
  }),
  "GET /discussions/{id}/messages": (w) => ({ path: at(w, "/messages"), did: tells(text) }),
  "GET /messages : of it": (w) => ({ path: `/messages?discussion_id=${w.id}`, did: tells(text) }),
  "GET /search : in it": (w) => ({ path: `/search?q=${text}&discussion_id=${w.id}`, did: tells(text) }),
  [`PATCH ${message} : the owner's`]: (w) => edit(w, 1),
  [`PATCH ${message} : one's own`]: (w, who) => edit(w, w.seqOf(who)),
  [`PATCH ${message} : none`]: (w) => edit(w, 99),
  [`DELETE ${message} : the owner's`]: (w) => erase(w, 1),
  [`DELETE ${message} : one's own`]: (w, who) => erase(w, w.seqOf(who)),
  [`DELETE ${message} : none`]: (w) => erase(w, 99),
  [`GET ${message}/edits`]: (w) => ({ path: messageAt(w, 1, "/edits"), did: tells(`of old: ${text}`) }),
  [`GET ${message}/edits : none`]: (w) => ({ path: messageAt(w, 99, "/edits"), did: isOpen }),
  [`PUT ${message}/reactions/{emoji}`]: (w, who) => ({
    path: messageAt(w, 1, `/reactions/${encodeURIComponent("🎉")}`),
    did: () => hasReaction(w, who, "🎉"),
  }),
  [`DELETE ${message}/reactions/{emoji}`]: (w, who) => ({
    path: messageAt(w, 1, `/reactions/${encodeURIComponent("👍")}`),
    did: async () =>
      !(await hasReaction(w, who, "👍")) &&
      (who === w.people.owner || (await hasReaction(w, w.people.owner, "👍"))),
  }),
  "GET /attachments/{id} : sent there": async (w) => {
    const { id } = await upload(w.people.owner, "for those who are there");
    await w.people.owner.send(w.id, "a file", { attachment_ids: [id] });
    return { path: `/attachments/${id}`, did: tells("for those who are there") };
  },
};

export const discussionActs = { ...whole, ...members, ...member, ...oneself, ...messages };
