import { login } from "../../delivery/help.ts";
import { type Answer, type Client, type Json, password } from "../../support/client.ts";
import { picture, upload } from "../../support/files.ts";
import { claimsOf } from "../forging.ts";
import type { Act } from "./acts.ts";
import { tells } from "./answers.ts";
import { text, type World } from "./world.ts";

const nobody = "0198c0de-0000-7000-8000-000000000000";
const wrong = "wrong password";
const isOpen = () => true;

let number = 0;

/** Asks for something whose answer has this text. */
function read(path: (w: World, who: Client) => string, shown: (w: World, who: Client) => string): Act {
  return (w, who) => ({ path: path(w, who), did: tells(shown(w, who)) });
}

const operations: Record<string, Act> = {
  "GET /healthz": read(
    () => "/healthz",
    () => "ok",
  ),
  "GET /readyz": read(
    () => "/readyz",
    () => "ready",
  ),
  "GET /metrics": read(
    () => "/metrics",
    () => "process_",
  ),
  "GET /openapi.json": read(
    () => "/openapi.json",
    () => "3.1.1",
  ),
  "GET /asyncapi.json": read(
    () => "/asyncapi.json",
    () => "3.0.0",
  ),
  "GET /docs": read(
    () => "/docs",
    () => "swagger",
  ),
};

const wayIn: Record<string, Act> = {
  "POST /auth/register": (w) => {
    const username = `newcomer-${++number}`;
    return {
      path: "/auth/register",
      body: { username, password },
      did: () => w.has("SELECT FROM users WHERE username = $1", username),
    };
  },
  "POST /auth/login": (_w, { user }) => ({
    path: "/auth/login",
    body: { username: user.username, password },
    did: ({ body }) => claimsOf(body.access_token).sub === user.id,
  }),
  "POST /auth/login : with a wrong password": (_w, { user }) => ({
    path: "/auth/login",
    body: { username: user.username, password: wrong },
    did: isOpen,
  }),
  "POST /auth/refresh": async (w, { user }) => {
    const { refreshToken, token } = await login(w.url, user.username);
    return {
      path: "/auth/refresh",
      body: { refresh_token: refreshToken },
      did: ({ body }) => claimsOf(body.access_token).sid === claimsOf(token).sid,
    };
  },
  "POST /auth/refresh : with an access token": (_w, { token }) => ({
    path: "/auth/refresh",
    body: { refresh_token: token.slice(0, 128) },
    did: isOpen,
  }),
};

const isOver = (w: World, id: string) =>
  w.has("SELECT FROM sessions WHERE id = $1 AND revoked_at IS NOT NULL", id);

const sessions: Record<string, Act> = {
  "POST /auth/logout": (w, { token }) => ({
    path: "/auth/logout",
    did: () => isOver(w, claimsOf(token).sid),
  }),
  "GET /auth/sessions": (_w, { token }) => ({
    path: "/auth/sessions",
    did: ({ body }) => body.items.length === 1 && body.items[0].id === claimsOf(token).sid,
  }),
  "DELETE /auth/sessions/{id} : one's own": (w, { token }) => {
    const { sid } = claimsOf(token);
    return { path: `/auth/sessions/${sid}`, did: () => isOver(w, sid) };
  },
  "DELETE /auth/sessions/{id} : the owner's": (w) => {
    const { sid } = claimsOf(w.people.owner.token);
    return { path: `/auth/sessions/${sid}`, did: () => isOver(w, sid) };
  },
  "POST /auth/tickets": (w, { token }) => ({
    path: "/auth/tickets",
    did: () => w.has("SELECT FROM tickets WHERE session_id = $1", claimsOf(token).sid),
  }),
};

const changed = (w: World, { user }: Client, what: string) =>
  w.has(`SELECT FROM users WHERE id = $1 AND ${what}`, user.id);

const me: Record<string, Act> = {
  "GET /users/me": (_w, { user }) => ({ path: "/users/me", did: ({ body }) => body.id === user.id }),
  "PATCH /users/me": (w, who) => ({
    path: "/users/me",
    body: { status_text: "here" },
    did: () => changed(w, who, "status_text = 'here'"),
  }),
  "PATCH /users/me : the password": (w, who) => ({
    path: "/users/me",
    body: { password: "another password", current_password: password },
    did: () => changed(w, who, "password_hash <> (SELECT password_hash FROM users WHERE username = 'first')"),
  }),
  "PATCH /users/me : the password, with a wrong one": () => ({
    path: "/users/me",
    body: { password: "another password", current_password: wrong },
    did: isOpen,
  }),
  "PATCH /users/me : with the owner's id": (w) => ({
    path: "/users/me",
    body: { status_text: "here", id: w.people.owner.user.id },
    did: isOpen,
  }),
  "DELETE /users/me": (w, who) => ({
    path: "/users/me",
    body: { password },
    did: () => changed(w, who, "erased_at IS NOT NULL"),
  }),
  "DELETE /users/me : with a wrong password": () => ({
    path: "/users/me",
    body: { password: wrong },
    did: isOpen,
  }),
  "GET /users/me/blocks": (w, who) => ({
    path: "/users/me/blocks",
    did: ({ body }) => body.items.length === (who === w.people.owner ? 1 : 0),
  }),
  "PUT /users/me/avatar": async (w, who) => ({
    path: "/users/me/avatar",
    body: await picture("png", { width: 8, height: 8 }),
    did: () => w.has("SELECT FROM avatars WHERE user_id = $1", who.user.id),
  }),
  "DELETE /users/me/avatar": async (w, who) => {
    const { owner } = w.people;
    const withPicture = [who.user.id, owner.user.id];
    await w.run(
      "INSERT INTO avatars SELECT id, 'x'::bytea FROM unnest($1::uuid[]) AS id ON CONFLICT DO NOTHING",
      withPicture,
    );
    return {
      path: "/users/me/avatar",
      did: async () =>
        !(await w.has("SELECT FROM avatars WHERE user_id = $1", who.user.id)) &&
        (who === owner || (await w.has("SELECT FROM avatars WHERE user_id = $1", owner.user.id))),
    };
  },
};

const isNew =
  (w: World, { user }: Client, kind: string) =>
  (answer: Answer) =>
    w.has(
      "SELECT FROM discussions WHERE id = $1 AND created_by = $2 AND kind = $3",
      answer.body.id,
      user.id,
      kind,
    );
const hasNone = ({ body }: Answer) => body.items.length === 0;

/** Nobody of a world without a place has a discussion. */
const beginnings: Record<string, Act> = {
  "GET /discussions": () => ({ path: "/discussions", did: hasNone }),
  "GET /discussions : public ones": () => ({ path: "/discussions?visibility=public", did: hasNone }),
  "GET /messages": () => ({ path: "/messages", did: hasNone }),
  "GET /search": () => ({ path: `/search?q=${text}`, did: hasNone }),
  "POST /discussions : a group": (w, who) => ({
    path: "/discussions",
    body: { kind: "group", name: `new ${++number}`, member_ids: [] },
    did: isNew(w, who, "group"),
  }),
  "POST /discussions : a group with the owner": (w, who) => ({
    path: "/discussions",
    body: { kind: "group", name: `new ${++number}`, member_ids: [w.people.owner.user.id] },
    did: isNew(w, who, "group"),
  }),
  "POST /discussions : with the owner": (w, who) => ({
    path: "/discussions",
    body: { kind: "direct", user_id: w.people.owner.user.id },
    did: isNew(w, who, "direct"),
  }),
  "POST /discussions : with nobody": () => ({
    path: "/discussions",
    body: { kind: "direct", user_id: nobody },
    did: isOpen,
  }),
  "POST /attachments": (w, who) => {
    const body = new FormData();
    body.set("file", new Blob(["some bytes"]), "some.bin");
    return {
      path: "/attachments",
      body,
      did: () => w.has("SELECT FROM attachments WHERE user_id = $1", who.user.id),
    };
  },
  "GET /attachments/{id} : the owner's, not sent": async (w) => ({
    path: `/attachments/${(await upload(w.people.owner, "for nobody yet")).id}`,
    did: tells("for nobody yet"),
  }),
};

/** The deputy of a world is a person like others, who never acts. */
const other = ({ people }: World): string => people.deputy.user.id;
const hasBlocked = (w: World, blocker: Client, id: string) =>
  w.has("SELECT FROM blocks WHERE blocker_id = $1 AND blocked_id = $2", blocker.user.id, id);

const people: Record<string, Act> = {
  "GET /users": (w) => ({
    path: `/users?query=${w.people.deputy.user.username}`,
    did: ({ body }) => body.items.some(({ id }: Json) => id === other(w)),
  }),
  "GET /users/{id}": (w) => ({
    path: `/users/${other(w)}`,
    did: ({ body }) => body.id === other(w) && !("email" in body),
  }),
  "GET /users/{id}/avatar": read(
    (w) => `/users/${other(w)}/avatar`,
    () => "<svg",
  ),
  "GET /users/{id}/presence": read(
    (w) => `/users/${other(w)}/presence`,
    () => "offline",
  ),
  "PUT /users/{id}/block": (w, who) => ({
    path: `/users/${other(w)}/block`,
    did: () => hasBlocked(w, who, other(w)),
  }),
  "PUT /users/{id}/block : oneself": (_w, { user }) => ({ path: `/users/${user.id}/block`, did: isOpen }),
  "PUT /users/{id}/block : nobody": () => ({ path: `/users/${nobody}/block`, did: isOpen }),
  "DELETE /users/{id}/block": async (w, who) => {
    await w.run("INSERT INTO blocks VALUES ($1, $2) ON CONFLICT DO NOTHING", who.user.id, other(w));
    return {
      path: `/users/${other(w)}/block`,
      did: async () => !(await hasBlocked(w, who, other(w))),
    };
  },
  // Who tries it takes back their own, of which there is none; the owner's stays.
  "DELETE /users/{id}/block : the owner's of the blocked": (w, who) => ({
    path: `/users/${w.people.blocked.user.id}/block`,
    did: async () =>
      (await hasBlocked(w, w.people.owner, w.people.blocked.user.id)) === (who !== w.people.owner),
  }),
};

export const accountActs = {
  ...operations,
  ...wayIn,
  ...sessions,
  ...me,
  ...beginnings,
  ...people,
};
