import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { get } from "node:http";
import { test } from "uvu";
import { WebSocket } from "ws";
import { type Answer, assertProblem, Client, type Json, password, register } from "../support/client.ts";
import { eventually, testSecret, withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";

// Authentication as the contract has it: https://parley.example is the allowed origin wherever one is needed.
const origin = "https://parley.example";
const env = { RATE_LIMITS: "off", ALLOWED_ORIGINS: origin };
const uuid7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const userFields = ["avatar_url", "created_at", "display_name", "id", "status_text", "username"];
const unknownId = "0198c0de-0000-7000-8000-000000000000";

test("registering gives the user, a token of 15 minutes and a refresh token", () =>
  withServer(async (t) => {
    const account = { username: "ann", password, display_name: "Ann", email: "ann@example.org" };
    const { status, headers, body } = await new Client(t.url).call("POST", "/auth/register", account);
    assert.equal(status, 201);
    assert.match(headers.get("content-type") ?? "", /^application\/json/);
    assert.equal(headers.get("set-cookie"), null);
    const fields = ["access_token", "expires_in", "refresh_token", "token_type", "user"];
    assert.deepEqual(Object.keys(body).sort(), fields);
    assert.equal(body.token_type, "Bearer");
    assert.equal(body.expires_in, 900);
    const shown = Object.keys(body.user).filter((field) => field !== "email");
    assert.deepEqual(shown.sort(), userFields);
    assert.match(body.user.id, uuid7);
    assert.equal(body.user.username, "ann");
    assert.equal(body.user.display_name, "Ann");
    assert.match(body.user.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const [header, claims] = body.access_token.split(".").slice(0, 2).map(decodePart);
    assert.equal(header.alg, "HS256");
    assert.equal(claims.sub, body.user.id);
    assert.match(claims.sid, uuid7);
    assert.ok(Math.abs(claims.exp - Date.now() / 1000 - 900) < 30, `exp ${claims.exp}`);
  }, env));

test("a username has 3 to 32 characters, a password 8 to 256", () =>
  withServer(async (t) => {
    const client = new Client(t.url);
    const attempt = (username: unknown, secret: unknown) =>
      client.call("POST", "/auth/register", { username, password: secret });
    const good = [
      ["abc", password],
      ["a._-z09", password],
      ["u".repeat(32), password],
      ["spaces", "        "],
      ["eight", "aaaaaaaa"],
      ["long", "p".repeat(256)],
      ["emoji", "🔑".repeat(8)],
      ["manyemoji", "🔑".repeat(256)],
    ];
    for (const [username, secret] of good)
      assert.equal((await attempt(username, secret)).status, 201, username);
    const bad: [unknown, unknown, string][] = [
      ["ab", password, "username"],
      ["u".repeat(33), password, "username"],
      ["white space", password, "username"],
      ["ann@home", password, "username"],
      ["ann\u0000", password, "username"],
      ["ann\n", password, "username"],
      ["änne", password, "username"],
      ["", password, "username"],
      [123, password, "username"],
      [null, password, "username"],
      [["ann"], password, "username"],
      [undefined, password, "username"],
      ["ann", "seven77", "password"],
      ["ann", "p".repeat(257), "password"],
      ["ann", "🔑".repeat(7), "password"],
      ["ann", 12345678, "password"],
      ["ann", undefined, "password"],
    ];
    for (const [username, secret, path] of bad) {
      const answer = await attempt(username, secret);
      assertProblem(answer, 400, "invalid_request");
      assert.deepEqual([...new Set(answer.body.errors.map((error: Json) => error.path))], [path]);
      for (const error of answer.body.errors) assert.equal(typeof error.message, "string");
    }
    for (const more of [{ email: "nobody" }, { email: 1 }, { display_name: {} }, { cookie: "yes" }]) {
      const answer = await client.call("POST", "/auth/register", { username: "ann", password, ...more });
      assertProblem(answer, 400, "invalid_request");
    }
    const answer = await client.call("POST", "/auth/register", { username: "ann", password, admin: true });
    assertProblem(answer, 400, "invalid_request");
  }, env));

test("a username and an e-mail address belong to one user, also when many ask at once", () =>
  withServer(async (t) => {
    const client = new Client(t.url);
    const attempt = (username: string, email: string) =>
      client.call("POST", "/auth/register", { username, password, email });
    const answers = await Promise.all([..."0123456789"].map((n) => attempt("ann", `ann${n}@example.org`)));
    assert.equal(answers.filter(({ status }) => status === 201).length, 1);
    for (const answer of answers.filter(({ status }) => status !== 201))
      assertProblem(answer, 409, "username_taken");
    const shouted = await attempt("ANN", "shout@example.org");
    assert.ok([400, 409].includes(shouted.status), "unique without regard to case");

    const mails = await Promise.all([..."0123456789"].map((n) => attempt(`bob${n}`, "bob@example.org")));
    assert.equal(mails.filter(({ status }) => status === 201).length, 1);
    for (const answer of mails.filter(({ status }) => status !== 201))
      assertProblem(answer, 409, "email_taken");
    const spare = mails.findIndex(({ status }) => status === 409);
    assert.equal((await attempt(`bob${spare}`, "spare@example.org")).status, 201, "the name is still free");
  }, env));

test("one logs in by username or e-mail address, with the password as it was typed", () =>
  withServer(async (t) => {
    const secret = " Grüße, 世界 🔑 ";
    const ann = await register(t.url, "ann", { email: "ann@example.org", password: secret });
    for (const username of ["ann", "ann@example.org"]) {
      const answer = await ann.call("POST", "/auth/login", { username, password: secret });
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.body.user, ann.user);
      assert.equal(answer.body.token_type, "Bearer");
      assert.equal(answer.body.expires_in, 900);
      ann.token = answer.body.access_token;
      assert.equal((await ann.ok("GET", "/users/me")).id, ann.user.id);
    }
    for (const wrong of [secret.trim(), secret.toUpperCase(), `${secret} `]) {
      const answer = await ann.call("POST", "/auth/login", { username: "ann", password: wrong });
      assertProblem(answer, 401, "invalid_credentials");
    }
    const nul = await ann.call("POST", "/auth/login", { username: "ann", password: `${secret}\u0000` });
    assert.ok([400, 401].includes(nul.status), `${nul.status}`);
    for (const username of ["ann\u0000", "\u0000", "\ud800", "ann ", "a'; --", "x".repeat(5_000)]) {
      const { status } = await ann.call("POST", "/auth/login", { username, password: secret });
      assert.ok([400, 401].includes(status), `${JSON.stringify(username).slice(0, 20)} → ${status}`);
    }
    for (const body of [{ username: "ann" }, { password }, {}, { username: "ann", password: secret, otp: 1 }])
      assertProblem(await ann.call("POST", "/auth/login", body), 400, "invalid_request");
  }, env));

test("an unknown user and a wrong password cannot be told apart, by answer or by time", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann", { email: "ann@example.org" });
    const fastest: Record<string, number> = {};
    const bodies = new Set<string>();
    for (let round = 0; round < 8; round++) {
      for (const username of ["ann", "ann@example.org", "nobody", "nobody@example.org"]) {
        const started = performance.now();
        const answer = await ann.call("POST", "/auth/login", { username, password: "wrong password" });
        fastest[username] = Math.min(fastest[username] ?? Infinity, performance.now() - started);
        assertProblem(answer, 401, "invalid_credentials");
        const { request_id: _, ...rest } = answer.body;
        bodies.add(JSON.stringify(rest));
      }
    }
    assert.equal(bodies.size, 1, [...bodies].join("\n"));
    // Single times mean little on a busy machine; without the slow hash, the fastest is many times faster.
    const times = (...names: string[]) => names.map((name) => fastest[name] ?? 0);
    const known = Math.min(...times("ann", "ann@example.org"));
    for (const unknown of times("nobody", "nobody@example.org"))
      assert.ok(unknown > known / 3, JSON.stringify(fastest));
  }, env));

test("a refresh token works once; used again, it revokes its whole session and no other", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const other = await login(t.url, "ann");
    const refresh = (token: unknown) => ann.call("POST", "/auth/refresh", { refresh_token: token });
    const first = ann.refreshToken;
    const answer = await refresh(first);
    assert.equal(answer.status, 200);
    const fields = ["access_token", "expires_in", "refresh_token", "token_type"];
    assert.deepEqual(Object.keys(answer.body).sort(), fields);
    assert.notEqual(answer.body.refresh_token, first);
    assert.equal(sessionOf(answer.body.access_token), sessionOf(ann.token), "still the same session");
    ann.token = answer.body.access_token;
    assert.equal((await ann.call("GET", "/users/me")).status, 200);

    const stream = await openTestStream("ws", ann);
    assertProblem(await refresh(first), 401, "refresh_token_reused");
    await eventually(() => assert.equal(stream.ended(), 4502));
    assert.equal((await refresh(answer.body.refresh_token)).status, 401);
    refused(await ann.call("GET", "/users/me"), 401);
    assert.equal((await other.call("GET", "/users/me")).status, 200);
    assert.equal((await refresh(other.refreshToken)).status, 200);

    for (const wrong of ["", "nonsense", other.token, "A".repeat(43), "\u0000"]) {
      const { status } = await refresh(wrong);
      assert.ok([400, 401].includes(status), `${wrong} → ${status}`);
    }
    for (const wrong of [null, 1, undefined, {}]) assertProblem(await refresh(wrong), 400, "invalid_request");
  }, env));

test("of many who use one refresh token at once, at most one gets new tokens", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const second = await t.another();
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        new Client(n % 2 ? t.url : second.url).call("POST", "/auth/refresh", {
          refresh_token: ann.refreshToken,
        }),
      ),
    );
    const winners = answers.filter(({ status }) => status === 200);
    assert.ok(winners.length <= 1, `${winners.length} winners`);
    for (const answer of answers.filter(({ status }) => status !== 200)) refused(answer, 401);
    for (const { body } of winners) {
      const again = await ann.call("POST", "/auth/refresh", { refresh_token: body.refresh_token });
      assert.equal(again.status, 401, "a used token was used again, so the session is revoked");
    }
  }, env));

test("logging out ends the session's tokens and streams at once on every instance, and no other's", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const other = await login(t.url, "ann");
    const far = new Client((await t.another()).url);
    far.token = ann.token;
    const streams = await Promise.all([openTestStream("ws", far), openTestStream("sse", ann)]);
    const kept = await openTestStream("ws", other);
    const answer = await ann.call("POST", "/auth/logout");
    assert.equal(answer.status, 204);
    assert.equal(answer.body, null);
    for (const stream of streams) await eventually(() => assert.equal(stream.ended(), 4502));
    refused(await ann.call("GET", "/users/me"), 401);
    refused(await far.call("POST", "/auth/logout"), 401);
    refused(await ann.call("POST", "/auth/refresh", { refresh_token: ann.refreshToken }), 401);
    assert.equal((await other.call("GET", "/users/me")).status, 200);
    assert.equal(kept.ended(), undefined);
    kept.cut();
  }, env));

test("one sees and revokes one's own sessions, and nobody else's", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const phone = await login(t.url, "ann");
    const bob = await register(t.url, "bob");
    const ids = async (client: Client) =>
      (await client.ok("GET", "/auth/sessions")).items.map(({ id }: Json) => id).sort();
    assert.deepEqual(await ids(ann), [sessionOf(ann.token), sessionOf(phone.token)].sort());
    assert.deepEqual(await ids(bob), [sessionOf(bob.token)]);
    const listed = JSON.stringify(await ann.ok("GET", "/auth/sessions"));
    for (const secret of [ann.refreshToken, phone.refreshToken, "hash"])
      assert.ok(!listed.includes(secret), "a list of sessions shows no secret");

    refused(await bob.call("DELETE", `/auth/sessions/${sessionOf(ann.token)}`), 404);
    refused(await ann.call("DELETE", `/auth/sessions/${unknownId}`), 404);
    assert.equal((await ann.call("GET", "/users/me")).status, 200);

    const stream = await openTestStream("sse", phone);
    const answer = await ann.call("DELETE", `/auth/sessions/${sessionOf(phone.token)}`);
    assert.equal(answer.status, 204);
    await eventually(() => assert.equal(stream.ended(), 4502));
    refused(await phone.call("GET", "/users/me"), 401);
    refused(await phone.call("POST", "/auth/refresh", { refresh_token: phone.refreshToken }), 401);
    assert.deepEqual(await ids(ann), [sessionOf(ann.token)]);
  }, env));

test("the list of sessions is paged like every list", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    for (let n = 0; n < 4; n++) await login(t.url, "ann");
    const all = (await ann.ok("GET", "/auth/sessions")).items.map(({ id }: Json) => id);
    assert.equal(new Set(all).size, 5);
    const ids: string[] = [];
    let page = await ann.ok("GET", "/auth/sessions?limit=2");
    for (;;) {
      assert.ok(page.items.length <= 2, `${page.items.length} items`);
      ids.push(...page.items.map(({ id }: Json) => id));
      if (page.next_cursor === null) break;
      page = await ann.ok("GET", `/auth/sessions?limit=2&cursor=${encodeURIComponent(page.next_cursor)}`);
    }
    assert.deepEqual(ids, all);
    for (const query of ["limit=0", "limit=201", "limit=x", "cursor=nonsense"])
      assertProblem(await ann.call("GET", `/auth/sessions?${query}`), 400, "invalid_request");
  }, env));

test("a ticket opens one stream, of twenty that try at once", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const second = await t.another();
    const issued = await ann.call("POST", "/auth/tickets");
    assert.equal(issued.status, 201);
    assert.deepEqual(Object.keys(issued.body).sort(), ["expires_in", "ticket"]);
    assert.equal(issued.body.expires_in, 30);
    const path = `/events?ticket=${encodeURIComponent(issued.body.ticket)}`;
    const statuses = await Promise.all(
      Array.from({ length: 20 }, (_, n) => {
        const url = n % 2 ? t.url : second.url;
        return n % 4 < 2 ? openStatus(url, path) : upgradeStatus(url, path.replace("/events", "/ws"));
      }),
    );
    const opened: unknown[] = statuses.filter((status) => status === 200 || status === 101);
    assert.equal(opened.length, 1, `${statuses}`);
    assert.deepEqual(new Set(statuses.filter((status) => !opened.includes(status))), new Set([401]));
    assert.equal(await openStatus(t.url, path), 401);
  }, env));

test("a ticket is for streams alone and ends with its session; access tokens do not go into URLs", () =>
  withServer(async (t) => {
    const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
    const takeTicket = async (client: Client) =>
      encodeURIComponent((await client.ok("POST", "/auth/tickets")).ticket);
    refused(await new Client(t.url).call("POST", "/auth/tickets"), 401);
    const ticket = await takeTicket(ann);
    refused(await new Client(t.url).call("GET", `/users/me?ticket=${ticket}`), 401);
    for (const wrong of ["", "%00", "x".repeat(2_000), "%ff"])
      assert.ok([400, 401].includes((await openStatus(t.url, `/events?ticket=${wrong}`)) ?? 0), wrong);
    for (const name of ["ticket", "token", "access_token", "jwt", "authorization"])
      assert.equal(await openStatus(t.url, `/events?${name}=${ann.token}`), 401, name);

    const { id } = await ann.ok("POST", "/discussions", { kind: "group", name: "g", member_ids: [] });
    const events = `/discussions/${id}/events`;
    const bearer = (client: Client) => ({ authorization: `Bearer ${client.token}` });
    assert.equal(await openStatus(t.url, `${events}?ticket=${await takeTicket(bob)}`, bearer(ann)), 200);
    assert.equal(await openStatus(t.url, `${events}?ticket=${await takeTicket(ann)}`, bearer(bob)), 404);
    assert.equal(await openStatus(t.url, `${events}?ticket=${await takeTicket(ann)}`), 200);

    const late = await takeTicket(ann);
    await ann.ok("POST", "/auth/logout");
    assert.equal(await openStatus(t.url, `/events?ticket=${late}`), 401);
  }, env));

test("a session cookie is set when asked for, and changes nothing without an allowed origin", () =>
  withServer(async (t) => {
    const client = new Client(t.url);
    const account = { username: "ann", password };
    const registered = await client.call("POST", "/auth/register", { ...account, cookie: true });
    const answer = await client.call("POST", "/auth/login", { ...account, cookie: true });
    for (const { headers } of [registered, answer]) {
      const cookie = headers.get("set-cookie") ?? "";
      assert.match(cookie, /;\s*HttpOnly/i);
      assert.match(cookie, /;\s*SameSite=Lax/i);
      assert.doesNotMatch(cookie, /;\s*Secure/i, "this is plain HTTP");
    }
    const plain = await client.call("POST", "/auth/login", { ...account, cookie: false });
    assert.equal(plain.headers.get("set-cookie"), null);

    const cookie = (answer.headers.get("set-cookie") ?? "").split(";")[0] ?? "";
    const call = (method: string, path: string, from?: string, body?: unknown) =>
      client.call(method, path, body, { cookie, ...(from && { origin: from }) });
    assert.equal((await call("GET", "/users/me")).body.username, "ann");
    assert.equal((await call("HEAD", "/users/me")).status, 200);
    const near = ["http://parley.example", `${origin}:8443`, `${origin}.evil.test`, `${origin}/`];
    for (const from of [undefined, "null", "https://evil.test", `https://evil.test/${origin}`, ...near]) {
      const change = await call("PATCH", "/users/me", from, { display_name: "Eve" });
      assertProblem(change, 403, "origin_not_allowed");
      assertProblem(await call("POST", "/auth/logout", from), 403, "origin_not_allowed");
      const headers = { cookie, ...(from && { origin: from }) };
      assert.equal(await upgradeStatus(t.url, "/ws", headers), 403, `socket from ${from}`);
    }
    assert.notEqual((await call("GET", "/users/me")).body.display_name, "Eve");
    assert.equal((await call("PATCH", "/users/me", origin, { display_name: "Ann" })).status, 200);
    assert.equal((await call("POST", "/auth/tickets", origin)).status, 201);
    assert.equal(await upgradeStatus(t.url, "/ws", { cookie, origin }), 101);
    assert.equal(await openStatus(t.url, "/events", { cookie }), 200);

    client.token = plain.body.access_token;
    const elsewhere = await client.call("GET", "/users/me", undefined, { origin: "https://evil.test" });
    assert.equal(elsewhere.status, 200, "a bearer token needs no origin");
    const named = { display_name: "Ann" };
    const bearer = await client.call("PATCH", "/users/me", named, { origin: "https://evil.test" });
    assert.equal(bearer.status, 200, "a bearer token needs no origin");
    client.token = "";
    assert.equal((await call("POST", "/auth/logout", origin)).status, 204);
    refused(await call("GET", "/users/me"), 401);
  }, env));

test("a token that was forged, changed or has run out is worth nothing", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const [header = "", claims = "", signature = ""] = ann.token.split(".");
    const real = decodePart(claims);
    const now = Math.floor(Date.now() / 1000);
    const head = { alg: "HS256", typ: "JWT" };
    const wrong: Record<string, string> = {
      "another secret": signed(head, real, "another secret"),
      "no algorithm": `${encodePart({ alg: "none", typ: "JWT" })}.${claims}.`,
      "another algorithm": signed({ alg: "HS512", typ: "JWT" }, real, testSecret, "sha512"),
      "no signature": `${header}.${claims}.`,
      "somebody else": `${header}.${encodePart({ ...real, sub: bob.user.id })}.${signature}`,
      expired: signed(head, { ...real, iat: now - 1000, exp: now - 100 }, testSecret),
      "no expiry": signed(head, { sub: real.sub, sid: real.sid }, testSecret),
      "no session": signed(head, { sub: real.sub, exp: now + 900 }, testSecret),
      "an unknown session": signed(head, { ...real, sid: unknownId }, testSecret),
      "another's session": signed(head, { ...real, sub: bob.user.id }, testSecret),
      "a list as session": signed(head, { ...real, sid: [real.sid] }, testSecret),
      "no JSON": `${header}.${Buffer.from("{").toString("base64url")}.${signature}`,
      "a refresh token": ann.refreshToken,
      dots: "..",
      nothing: "",
    };
    ann.token = "";
    const me = (authorization: string) => ann.call("GET", "/users/me", undefined, { authorization });
    assert.equal((await me(`Bearer ${signed(head, real, testSecret)}`)).status, 200, "what is well signed");
    for (const [what, token] of Object.entries(wrong)) {
      const answer = await me(`Bearer ${token}`);
      assert.equal(answer.status, 401, `${what} → ${answer.status} ${JSON.stringify(answer.body)}`);
      refused(answer, 401);
    }
    for (const value of [bob.token, `Basic ${bob.token}`, `Bearer ${bob.token} ${bob.token}`, "Bearer"])
      refused(await me(value), 401);
    assert.equal(await openStatus(t.url, "/events", { authorization: `Bearer ${wrong.expired}` }), 401);
    assert.equal(await upgradeStatus(t.url, "/ws", { authorization: `Bearer ${wrong.expired}` }), 401);
  }, env));

async function login(url: string, username: string): Promise<Client> {
  const client = new Client(url);
  const body = await client.ok("POST", "/auth/login", { username, password });
  client.user = body.user;
  client.token = body.access_token;
  client.refreshToken = body.refresh_token;
  return client;
}

/** A problem whose code the contract does not name. */
function refused(answer: Answer, status: number): void {
  assert.match(answer.body?.code ?? "", /^[a-z_]+$/, JSON.stringify(answer.body));
  assertProblem(answer, status, answer.body.code);
}

/** The status an SSE stream is opened with; an open one is cut. */
function openStatus(url: string, path: string, headers = {}): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = get(`${url}/api/v1${path}`, { headers, agent: false });
    sent.once("error", reject);
    sent.once("response", ({ statusCode }) => {
      sent
        .off("error", reject)
        .on("error", () => {})
        .destroy();
      resolve(statusCode);
    });
  });
}

/** The status of an upgrade, 101 if the socket opened; it is closed again. */
function upgradeStatus(url: string, path: string, headers = {}): Promise<number | undefined> {
  const socket = new WebSocket(`${url.replace("http", "ws")}/api/v1${path}`, { headers });
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.once("unexpected-response", (_request, response) => {
      response.resume();
      resolve(response.statusCode);
    });
    socket.once("open", () => {
      socket.terminate();
      resolve(101);
    });
  });
}

function decodePart(part: string): Json {
  return JSON.parse(Buffer.from(part, "base64url").toString());
}

function encodePart(part: unknown): string {
  return Buffer.from(JSON.stringify(part)).toString("base64url");
}

function sessionOf(token: string): string {
  return decodePart(token.split(".")[1] ?? "").sid;
}

function signed(header: unknown, claims: unknown, secret: string, hash = "sha256"): string {
  const head = `${encodePart(header)}.${encodePart(claims)}`;
  return `${head}.${createHmac(hash, secret).update(head).digest("base64url")}`;
}

test.run();
