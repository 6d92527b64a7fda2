import assert from "node:assert/strict";
import { assertProblem, type Client, password, register } from "../support/client.ts";
import type { StreamKind } from "../support/streams.ts";
import {
  type Behaviour,
  contentsOf,
  createDirect,
  endedWith,
  heardMessage,
  login,
  openReady,
  viaInstance,
  withSql,
} from "./help.ts";
import { openRaw, streamPath } from "./raw.ts";

const opened = { sse: 200, ws: 101 };

/** Ends `ended`'s session, in one way; `other` is another session of the same user. */
type Ending = (ended: Client, other: Client) => Promise<void>;

/** A behaviour: the streams of the ended session end on every instance, those of other sessions live on. */
function sessionEnds(name: string, end: Ending): Behaviour {
  return {
    name: `${name} ends that session's streams at once with 4502, on every instance, and no others`,
    async act(kind, t) {
      const second = await t.another();
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const bobElsewhere = await login(t.url, "bob");
      const discussion = await createDirect(ann, bob);
      const streamsOf = async (client: Client) => [
        await openReady(kind, client),
        await openReady(kind, client, { discussionId: discussion.id }),
        await openReady(kind, viaInstance(client, second.url)),
      ];
      const over = await streamsOf(bob);
      const living = [...(await streamsOf(bobElsewhere)), ...(await streamsOf(ann))];
      await end(bob, bobElsewhere);
      await Promise.all(over.map((stream) => endedWith(stream, 4502)));
      await ann.send(discussion.id, "after");
      for (const stream of living) {
        await heardMessage(stream, "after");
        assert.equal(stream.ended(), undefined);
        stream.cut();
      }
      for (const stream of over) assert.deepEqual(contentsOf(stream), []);
      const headers = { authorization: `Bearer ${bob.token}` };
      for (const url of [t.url, second.url])
        assertProblem(await openRaw(kind, url, streamPath(kind), { headers }), 401, "session_revoked");
    },
  };
}

async function createTicket(client: Client): Promise<string> {
  const { ticket } = await client.ok("POST", "/auth/tickets");
  return ticket;
}

/** The headers with which a browser opens a stream by its cookie. */
async function cookieHeaders(url: string, kind: StreamKind, username: string) {
  const body = { username, password, cookie: true };
  const answer = await register(url, username).then((client) => client.call("POST", "/auth/login", body));
  const cookie = (answer.headers.get("set-cookie") ?? "").split(";")[0] ?? "";
  assert.notEqual(cookie, "");
  return { cookie, ...(kind === "ws" && { origin: url }) };
}

/** Who may open a stream, and what ends it. */
export const access: Behaviour[] = [
  sessionEnds("logging out", (ended) => ended.ok("POST", "/auth/logout")),
  sessionEnds("revoking a session", async (ended, other) => {
    const { items } = await ended.ok("GET", "/auth/sessions");
    const { id } = items.find(({ current }: { current: boolean }) => current);
    await other.ok("DELETE", `/auth/sessions/${id}`);
  }),
  sessionEnds("changing the password elsewhere", (_ended, other) =>
    other.ok("PATCH", "/users/me", { password: "another long password", current_password: password }),
  ),
  sessionEnds("using a refresh token twice", async (ended) => {
    const body = { refresh_token: ended.refreshToken };
    await ended.ok("POST", "/auth/refresh", body);
    assertProblem(await ended.call("POST", "/auth/refresh", body), 401, "refresh_token_reused");
  }),
  {
    name: "a ticket opens exactly one stream, also when it is used twice at once",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      const path = async () => `${streamPath(kind, discussion.id)}?ticket=${await createTicket(ann)}`;
      const once = await path();
      const stream = await openRaw(kind, t.url, once);
      assert.equal(stream.status, opened[kind]);
      await ann.send(discussion.id, "by ticket");
      await stream.until((text) => text.includes('"content":"by ticket"'));
      assertProblem(await openRaw(kind, t.url, once), 401, "unauthenticated");
      stream.cut();
      const raced = await path();
      const answers = await Promise.all(Array.from({ length: 8 }, () => openRaw(kind, t.url, raced)));
      const statuses = answers.map(({ status }) => status).sort();
      assert.deepEqual(statuses, [opened[kind], ...Array(7).fill(401)].sort());
      for (const answer of answers) answer.cut();
    },
  },
  {
    name: "a ticket opens nothing after its 30 seconds",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const { ticket, expires_in } = await ann.ok("POST", "/auth/tickets");
      assert.equal(expires_in, 30);
      await withSql(t.databaseUrl, (db) =>
        db.query("update tickets set expires_at = expires_at - interval '30 seconds'"),
      );
      const answer = await openRaw(kind, t.url, `${streamPath(kind)}?ticket=${ticket}`);
      assertProblem(answer, 401, "unauthenticated");
    },
  },
  {
    name: "a stream opened by ticket ends with the session that asked for the ticket",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const stream = await openRaw(kind, t.url, `${streamPath(kind)}?ticket=${await createTicket(ann)}`);
      await stream.until((text) => text.includes('"type":"ready"'));
      const unused = await createTicket(ann);
      await ann.ok("POST", "/auth/logout");
      await stream.until((text) => stream.hasEnded() && text.includes("session_revoked"));
      assertProblem(
        await openRaw(kind, t.url, `${streamPath(kind)}?ticket=${unused}`),
        401,
        "unauthenticated",
      );
    },
  },
  {
    name: "without a credential, or with a bad one, there is no stream",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const path = streamPath(kind);
      const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
      const [head, claims, signature] = ann.token.split(".");
      const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url");
      const refused = [
        openRaw(kind, t.url, path),
        openRaw(kind, t.url, `${path}?ticket=nonsense`),
        openRaw(kind, t.url, `${path}?ticket=`),
        openRaw(kind, t.url, path, bearer("nonsense")),
        openRaw(kind, t.url, path, bearer("")),
        openRaw(kind, t.url, path, bearer(ann.refreshToken)),
        openRaw(kind, t.url, path, bearer(`${head}.${claims}.${signature?.slice(0, -4)}AAAA`)),
        openRaw(kind, t.url, path, bearer(`${none}.${claims}.`)),
        openRaw(kind, t.url, path, { headers: { cookie: "parley_session=nonsense", origin: t.url } }),
      ];
      for (const answer of await Promise.all(refused)) assertProblem(answer, 401, "unauthenticated");
    },
  },
  {
    name: "an access token in the address is refused",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      for (const name of ["access_token", "token", "ticket", "authorization", "bearer", "jwt"]) {
        const path = `${streamPath(kind)}?${name}=${ann.token}`;
        assertProblem(await openRaw(kind, t.url, path), 401, "unauthenticated");
      }
    },
  },
  {
    name: "a session cookie opens a stream, which ends with the session",
    async act(kind, t) {
      const headers = await cookieHeaders(t.url, kind, "ann");
      const stream = await openRaw(kind, t.url, streamPath(kind), { headers });
      assert.equal(stream.status, opened[kind]);
      await stream.until((text) => text.includes('"type":"ready"'));
      const ann = await login(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      await ann.send(discussion.id, "by cookie");
      await stream.until((text) => text.includes('"content":"by cookie"'));
      await ann.ok("PATCH", "/users/me", { password: "another long password", current_password: password });
      await stream.until((text) => stream.hasEnded() && text.includes("session_revoked"));
      assertProblem(await openRaw(kind, t.url, streamPath(kind), { headers }), 401, "unauthenticated");
    },
  },
  {
    name: "a Bearer token goes before a ticket, and a ticket before a cookie",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const path = `${streamPath(kind)}?ticket=${await createTicket(ann)}`;
      const cookies = await cookieHeaders(t.url, kind, "bob");
      const headers = { ...cookies, authorization: "Bearer nonsense" };
      assertProblem(await openRaw(kind, t.url, path, { headers }), 401, "unauthenticated");
      const stream = await openRaw(kind, t.url, path, { headers: cookies });
      const discussion = await createDirect(ann, ann);
      await ann.send(discussion.id, "for ann");
      await stream.until((text) => text.includes('"content":"for ann"'));
      stream.cut();
      const badTicket = `${streamPath(kind)}?ticket=nonsense`;
      assertProblem(await openRaw(kind, t.url, badTicket, { headers: cookies }), 401, "unauthenticated");
    },
  },
];
