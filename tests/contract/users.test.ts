import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, assertRefused, Client, type Json, password, register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";

const env = { RATE_LIMITS: "off" };
const userFields = ["avatar_url", "created_at", "display_name", "id", "status_text", "username"];
const unknownId = "0198c0de-0000-7000-8000-000000000000";

test("one's own user shows the e-mail address; to others it never shows", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann", { display_name: "Ann", email: "ann@example.org" });
    const bob = await register(t.url, "bob");
    const me = await ann.ok("GET", "/users/me");
    assert.deepEqual(Object.keys(me).sort(), [...userFields, "email"].sort());
    assert.equal(me.email, "ann@example.org");
    const { email: _, ...shown } = me;
    assert.deepEqual(await bob.ok("GET", `/users/${ann.user.id}`), shown);
    for (const query of ["query=ann", "email=ann@example.org", ""]) {
      const { items } = await bob.ok("GET", `/users?${query}`);
      assert.deepEqual(
        items.find(({ id }: Json) => id === ann.user.id),
        shown,
        query,
      );
    }
    const { id } = await bob.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    await ann.send(id, "hello");
    for (const path of [`/discussions/${id}`, "/discussions", `/discussions/${id}/members`])
      assert.ok(!JSON.stringify(await bob.ok("GET", path)).includes("ann@example"), path);
  }, env));

test("users are found by the start of the username or of a word of the display name", () =>
  withServer(async (t) => {
    const finder = await register(t.url, "finder", { display_name: "Zzz" });
    await register(t.url, "maria", { display_name: "Anna Lopez" });
    await register(t.url, "anna_b", { display_name: "Gabriela Maria Ruiz" });
    await register(t.url, "annaxb", { display_name: "100% Percent" });
    await register(t.url, "b.c-d", { display_name: "Jürgen Müller", email: "b.c@example.org" });
    const found = async (filter: Record<string, string>) => {
      const { items } = await finder.ok("GET", `/users?${new URLSearchParams(filter)}`);
      return items
        .map(({ username }: Json) => username)
        .filter((username: string) => username !== "finder")
        .sort();
    };
    assert.deepEqual(await found({}), ["anna_b", "annaxb", "b.c-d", "maria"]);
    assert.deepEqual(await found({ query: "mari" }), ["maria"].concat(["anna_b"]).sort());
    assert.deepEqual(await found({ query: "Maria" }), ["anna_b", "maria"]);
    assert.deepEqual(await found({ query: "Lop" }), ["maria"]);
    assert.deepEqual(await found({ query: "opez" }), []);
    assert.deepEqual(await found({ query: "Mül" }), ["b.c-d"]);
    assert.deepEqual(await found({ query: "anna_" }), ["anna_b"]);
    assert.deepEqual(await found({ query: "anna" }), ["anna_b", "annaxb", "maria"]);
    for (const query of ["%", "_nna", "%a", "*", ".*", "\\", "'; DROP TABLE users; --"])
      assert.deepEqual(await found({ query }), [], query);
    assert.deepEqual(await found({ query: "100%" }), ["annaxb"]);
    assert.deepEqual(await found({ query: "b.c" }), ["b.c-d"]);
    assert.deepEqual(await found({ email: "b.c@example.org" }), ["b.c-d"]);
    for (const email of ["b.c@example.com", "c@example.org", "b_c@example.org"])
      assert.deepEqual(await found({ email }), [], email);
    assert.deepEqual(await found({ query: "maria", email: "b.c@example.org" }), []);
  }, env));

test("the pages of users have everybody once, whatever the limit", () =>
  withServer(async (t) => {
    const names = Array.from({ length: 23 }, (_, n) => `user${String(n).padStart(2, "0")}`);
    const [reader] = await Promise.all(names.map((name) => register(t.url, name, { display_name: "Same" })));
    assert.ok(reader);
    const all = await pages(reader, "/users?", 200);
    for (const limit of [1, 7, 22, 23, 24]) {
      const listed = await pages(reader, "/users?", limit);
      assert.deepEqual(listed, all, `limit ${limit}`);
    }
    assert.deepEqual(
      await pages(reader, "/users?query=Sam&", 5),
      await pages(reader, "/users?query=Sam&", 200),
    );
    assert.ok(all.length >= 22, "everybody, with or without oneself");
    assert.equal(new Set(all).size, all.length);

    for (const limit of ["0", "-1", "201", "1.5", "many", "99999999999999999999"])
      assertProblem(await reader.call("GET", `/users?limit=${limit}`), 400, "invalid_request");
    const { next_cursor: next } = await reader.ok("GET", "/users?limit=3");
    assert.equal(typeof next, "string");
    const bad = [
      "nonsense",
      "%00",
      "null",
      next.slice(0, -3),
      `${next}xyzw`,
      btoa("{}"),
      btoa("[1,2]"),
      btoa('["a","b"]'),
      "🙂",
    ];
    for (const cursor of bad) {
      const answer = await reader.call("GET", `/users?cursor=${encodeURIComponent(cursor)}`);
      assert.equal(answer.status, 400, `cursor ${cursor}`);
      assertProblem(answer, 400, "invalid_request");
    }
  }, env));

test("one changes one's own name, status and e-mail address, and nothing else", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann", { display_name: "Ann", email: "ann@example.org" });
    const bob = await register(t.url, "bob", { email: "bob@example.org" });
    const before = await ann.ok("GET", "/users/me");
    const status_text = "À la plage 🏖️\nback on Monday";
    const answer = await ann.call("PATCH", "/users/me", { status_text });
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, { ...before, status_text });
    await ann.ok("PATCH", "/users/me", { display_name: "Änn 🙂" });
    const changed = await ann.ok("PATCH", "/users/me", { email: "new@example.org" });
    const expected = { ...before, status_text, display_name: "Änn 🙂", email: "new@example.org" };
    assert.deepEqual(changed, expected);
    assert.deepEqual(await ann.ok("GET", "/users/me"), expected);
    assert.equal((await bob.ok("GET", `/users/${ann.user.id}`)).display_name, "Änn 🙂");

    assertProblem(await ann.call("PATCH", "/users/me", { email: "bob@example.org" }), 409, "email_taken");
    const wrong = [
      { username: "eve" },
      { id: unknownId },
      { created_at: "2020-01-01T00:00:00.000Z" },
      { avatar_url: "https://evil.test" },
      { display_name: "Eve", nonsense: 1 },
      { display_name: 1 },
      { display_name: "x".repeat(100_000) },
      { display_name: "\u0000" },
      { display_name: "\ud800" },
      { status_text: ["a"] },
      { status_text: "x".repeat(100_000) },
      { status_text: "a\u0000b" },
      { status_text: "\udc00\ud800" },
      { email: "nobody" },
      { email: "two@example.org two@example.org" },
      { email: {} },
    ];
    for (const body of wrong)
      assertProblem(await ann.call("PATCH", "/users/me", body), 400, "invalid_request");
    assert.deepEqual(await ann.ok("GET", "/users/me"), expected);
    const other = await bob.call("PATCH", `/users/${ann.user.id}`, { display_name: "Eve" });
    assert.ok([403, 404, 405].includes(other.status));
    assert.equal((await ann.ok("GET", "/users/me")).display_name, "Änn 🙂");
    const freed = await bob.call("PATCH", "/users/me", { email: "ann@example.org" });
    assert.equal(freed.status, 200, "an address given up is free");
  }, env));

test("changing the password takes the current one and ends the other sessions", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const phone = new Client(t.url);
    phone.token = (await phone.ok("POST", "/auth/login", { username: "ann", password })).access_token;
    const fresh = "a new and better one";
    const login = (secret: string) =>
      new Client(t.url).call("POST", "/auth/login", { username: "ann", password: secret });
    const refusals = [
      { password: fresh },
      { password: fresh, current_password: "wrong password" },
      { password: fresh, current_password: "" },
      { password: fresh, current_password: null },
      { password: "short", current_password: password },
      { password: "p".repeat(257), current_password: password },
      { password: fresh, current_password: fresh, display_name: "Changed" },
    ];
    for (const body of refusals) {
      const answer = await ann.call("PATCH", "/users/me", body);
      assert.ok([400, 401, 403].includes(answer.status), `${JSON.stringify(body)} → ${answer.status}`);
      assertProblem(answer, answer.status, answer.body.code);
    }
    assert.notEqual((await ann.ok("GET", "/users/me")).display_name, "Changed");
    for (const secret of [fresh, "short"]) assert.equal((await login(secret)).status, 401, secret);
    assert.equal((await login(password)).status, 200);

    const streams = await Promise.all([openTestStream("ws", phone), openTestStream("sse", phone)]);
    const change = { password: fresh, current_password: password };
    const answer = await ann.call("PATCH", "/users/me", change);
    assert.equal(answer.status, 200);
    assert.equal(answer.body.username, "ann");
    for (const secret of [password, fresh]) assert.ok(!JSON.stringify(answer.body).includes(secret));
    for (const stream of streams) await eventually(() => assert.equal(stream.ended(), 4502));
    assertProblem(await login(password), 401, "invalid_credentials");
    assert.equal((await login(fresh)).status, 200);
  }, env));

test("of two who change one password at once, one wins and only that password works", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const fresh = ["the first new one", "the second new one", "the third new one"];
    const answers = await Promise.all(
      fresh.map((secret) => ann.call("PATCH", "/users/me", { password: secret, current_password: password })),
    );
    const statuses = answers.map(({ status }) => status);
    assert.ok(statuses.includes(200), `${statuses}`);
    assert.ok(
      statuses.every((status) => status < 500),
      `${statuses}`,
    );
    const logins = await Promise.all(
      [password, ...fresh].map((secret) =>
        new Client(t.url).call("POST", "/auth/login", { username: "ann", password: secret }),
      ),
    );
    assert.equal(logins[0]?.status, 401);
    assert.equal(logins.filter(({ status }) => status === 200).length, 1);
  }, env));

test("who is not there answers 404, who is not logged in 401", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    assertRefused(await ann.call("GET", `/users/${unknownId}`), [404]);
    for (const id of ["nobody", "1", `${ann.user.id}x`, "%00", "..%2fme", "'", "%F0%9F%99%82", "{}"])
      assertRefused(await ann.call("GET", `/users/${id}`), [400, 404]);
    const stranger = new Client(t.url);
    for (const path of ["/users", "/users/me", `/users/${ann.user.id}`, `/users/${unknownId}`])
      assertRefused(await stranger.call("GET", path), [401]);
    assertRefused(await stranger.call("PATCH", "/users/me", { display_name: "Eve" }), [401]);
    assertRefused(await stranger.call("PATCH", "/users/me", { nonsense: "Eve" }), [401]);
  }, env));

/** All ids of a list, page by page; no page is longer than the limit. */
async function pages(client: Client, path: string, limit: number): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const from: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const page: Json = await client.ok("GET", `${path}limit=${limit}${from}`);
    assert.deepEqual(Object.keys(page).sort(), ["items", "next_cursor"]);
    assert.ok(page.items.length <= limit);
    assert.ok(page.items.length === limit || page.next_cursor === null, "only the last page is short");
    ids.push(...page.items.map(({ id }: Json) => id));
    cursor = page.next_cursor;
  } while (cursor !== null);
  return ids;
}

test.run();
