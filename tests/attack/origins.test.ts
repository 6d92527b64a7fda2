import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "uvu";
import { createGroup, ofType, openReady } from "../delivery/help.ts";
import { openRaw, streamPath } from "../delivery/raw.ts";
import { type Answer, assertProblem, Client, type Json, password } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { type TestServer, withServer } from "../support/server.ts";
import type { StreamKind } from "../support/streams.ts";

// A browser sends the session cookie along for whatever page asks. What is done by a cookie therefore has to
// come from a page of ours. (What a real browser makes of it: tests/clients/origins.test.ts.)

const allowed = "https://chat.example";
const env = { RATE_LIMITS: "off", ALLOWED_ORIGINS: `${allowed},http://localhost:5173` };
const kinds: StreamKind[] = ["sse", "ws"];
const unknownId = "0198c0de-0000-7000-8000-000000000000";

/** Origins that are not ours, by what is wrong about them; null: none is sent. */
function foreign(url: string): Record<string, string | null> {
  const { host, port } = new URL(url);
  return {
    missing: null,
    empty: "",
    "null, as of a sandbox or a file": "null",
    "another site": "https://evil.example",
    "ours as the beginning": `${allowed}.evil.example`,
    "ours as the beginning of a name": "https://chat.example-evil.test",
    "ours as the end": "https://evilchat.example",
    "ours as a subdomain's end": "https://evil.chat.example",
    "the domain above": "https://example",
    "ours as a user": `${allowed}@evil.example`,
    "ours as a path": `https://evil.example/${allowed}`,
    "another scheme": "http://chat.example",
    "the scheme of sockets": "wss://chat.example",
    "another port": `${allowed}:8443`,
    "the default port, which browsers leave out": `${allowed}:443`,
    "a dot at the end": `${allowed}.`,
    "a slash at the end": `${allowed}/`,
    capitals: allowed.toUpperCase(),
    "a space before the end": `${allowed} x`,
    "both, by a comma": `${allowed}, https://evil.example`,
    "both, as the setting has them": env.ALLOWED_ORIGINS,
    "a star": "*",
    "no scheme": "chat.example",
    "our own host by another scheme": `https://${host}`,
    "our own host on another port": `http://localhost:${Number(port) + 1}`,
    "our own host without its port": "http://localhost",
    "our own host by its number": `http://127.0.0.1:${port}`,
    "our own host as the beginning": `http://${host}.evil.example`,
    "another port of an allowed host": "http://localhost:5174",
  };
}

test("by cookie, nothing can be changed from anywhere but our own pages, by no route that there is", () =>
  withAnn(async ({ t, cookie }) => {
    const routes = await changingRoutes(t.url);
    assert.ok(routes.length > 20, `${routes.length}`);
    const before = await state(t);
    for (const [method, path] of routes) {
      for (const origin of [null, "null", "https://evil.example"]) {
        const answer = await byCookie(t.url, method, path, cookie, origin, {});
        assert.deepEqual([answer.status, answer.body.code], [403, "origin_not_allowed"], `${method} ${path}`);
      }
    }
    assert.deepEqual(await state(t), before);
    // From a page of ours each of them gets further, the last one, logging out, to its end.
    for (const [method, path] of routes) {
      const answer = await byCookie(t.url, method, path, cookie, allowed, {});
      assert.notEqual(answer.body?.code, "origin_not_allowed", `${method} ${path}`);
      assert.notEqual(answer.status, 401, `${method} ${path}`);
    }
    assertProblem(await byCookie(t.url, "GET", "/users/me", cookie, allowed), 401, "unauthenticated");
  }));

test("by cookie, no other origin posts, patches, puts or deletes, however near it is to ours", () =>
  withAnn(async ({ t, cookie, group }) => {
    const acts: [string, string, unknown?][] = [
      ["POST", `/discussions/${group.id}/messages`, { content: "not hers" }],
      ["PATCH", "/users/me", { display_name: "Eve" }],
      ["PUT", `/discussions/${group.id}/read`, { seq: 1 }],
      ["DELETE", `/discussions/${group.id}`],
    ];
    const before = await state(t);
    for (const [what, origin] of Object.entries(foreign(t.url))) {
      for (const [method, path, body] of acts) {
        const answer = await byCookie(t.url, method, path, cookie, origin, body);
        assert.equal(answer.body?.code, "origin_not_allowed", `${method} from ${what}`);
        assertProblem(answer, 403, "origin_not_allowed");
      }
    }
    assert.deepEqual(await state(t), before);
    for (const origin of [allowed, "http://localhost:5173", t.url]) {
      const sent = await byCookie(t.url, "POST", `/discussions/${group.id}/messages`, cookie, origin, {
        content: `from ${origin}`,
      });
      assert.equal(sent.status, 201, origin);
    }
  }));

test("by cookie, no other origin opens a socket, on one discussion or all", () =>
  withAnn(async ({ t, ann, cookie, group }) => {
    const heard = await openReady("ws", ann);
    for (const path of [streamPath("ws"), streamPath("ws", group.id)]) {
      for (const [what, origin] of Object.entries(foreign(t.url))) {
        const answer = await openRaw("ws", t.url, path, { headers: headersOf(cookie, origin) });
        answer.cut();
        assert.equal(answer.status, 403, `from ${what}`);
        assertProblem(answer, 403, "origin_not_allowed");
      }
      for (const origin of [allowed, t.url]) {
        const answer = await openRaw("ws", t.url, path, { headers: headersOf(cookie, origin) });
        assert.equal(answer.status, 101, origin);
        answer.cut();
      }
    }
    assert.deepEqual(ofType(heard, "message.new"), []);
    heard.cut();
  }));

test("by cookie, what other origins may ask for they cannot read: events and lists come without CORS", () =>
  withAnn(async ({ t, cookie }) => {
    for (const [what, origin] of Object.entries(foreign(t.url))) {
      const answers = [
        await openRaw("sse", t.url, "/events", { headers: headersOf(cookie, origin) }),
        await openRaw("sse", t.url, "/users/me", { headers: headersOf(cookie, origin) }),
      ];
      for (const { status, headers, cut } of answers) {
        cut();
        assert.equal(status, 200, what);
        for (const name of ["allow-origin", "allow-credentials", "expose-headers"])
          assert.equal(headers.get(`access-control-${name}`), null, `${name} for ${what}`);
        assert.match(headers.get("vary") ?? "", /origin/i, "caches tell origins apart");
      }
    }
    const ours = await openRaw("sse", t.url, "/events", { headers: headersOf(cookie, allowed) });
    ours.cut();
    assert.equal(ours.headers.get("access-control-allow-origin"), allowed);
  }));

test("a page elsewhere does not learn whether somebody has a cookie that is good", () =>
  withAnn(async ({ t, cookie }) => {
    const answers: Json[] = [];
    for (const one of [cookie, "parley_session=nonsense"]) {
      const answer = await byCookie(t.url, "POST", "/auth/tickets", one, "https://evil.example");
      const { request_id: _, ...rest } = answer.body;
      const socket = await openRaw("ws", t.url, "/ws", { headers: headersOf(one, "https://evil.example") });
      answers.push([answer.status, rest, socket.status, socket.body.code]);
    }
    assert.deepEqual(answers[0], answers[1]);
    assert.equal(answers[0][0], 403);
  }));

test("two Origin headers are none of ours, whichever comes first", () =>
  withAnn(async ({ t, cookie }) => {
    for (const origins of [
      [allowed, "https://evil.example"],
      ["https://evil.example", allowed],
      [allowed, allowed],
    ]) {
      assert.equal(await statusOf(t.url, "POST", "/auth/tickets", { cookie, origin: origins }), 403);
    }
    assert.equal(await statusOf(t.url, "POST", "/auth/tickets", { cookie, origin: allowed }), 201);
  }));

test("what a client says of a proxy makes no origin ours, unless there is a proxy", () =>
  withAnn(async ({ t, cookie }) => {
    const { host } = new URL(t.url);
    const told = {
      "x-forwarded-proto": "https",
      "x-forwarded-host": "evil.example",
      forwarded: "host=evil.example;proto=https",
    };
    for (const origin of ["https://evil.example", "http://evil.example", `https://${host}`]) {
      const headers = { cookie, origin, ...told };
      assert.equal(await statusOf(t.url, "POST", "/auth/tickets", headers), 403, origin);
      const socket = await openRaw("ws", t.url, "/ws", { headers });
      socket.cut();
      assert.equal(socket.status, 403, origin);
    }
    const behind = (await t.another({ TRUST_PROXY: "1" })).url;
    const own = new URL(behind).host;
    const headers = { cookie, origin: `https://${own}`, "x-forwarded-proto": "https" };
    assert.equal(await statusOf(behind, "POST", "/auth/tickets", headers), 201, "behind a proxy it is ours");
    assert.equal(
      await statusOf(behind, "POST", "/auth/tickets", { ...headers, origin: `http://${own}` }),
      403,
    );
  }));

test("who shows a token or a ticket is no browser page by accident: any origin may", () =>
  withAnn(async ({ t, ann }) => {
    for (const origin of ["https://evil.example", "null"]) {
      const bearer = { authorization: `Bearer ${ann.token}`, origin };
      assert.equal(await statusOf(t.url, "POST", "/auth/tickets", bearer), 201);
      for (const kind of kinds) {
        const { ticket } = await ann.ok("POST", "/auth/tickets");
        for (const [query, headers] of [
          ["", bearer],
          [`?ticket=${ticket}`, { origin }],
        ] as const) {
          const stream = await openRaw(kind, t.url, `${streamPath(kind)}${query}`, { headers });
          stream.cut();
          assert.ok(stream.status === 200 || stream.status === 101, `${kind} ${stream.status}`);
        }
      }
    }
  }));

test("a bad token is not made up for by a good cookie, nor a missing origin by a bad token", () =>
  withAnn(async ({ t, cookie }) => {
    for (const origin of [null, allowed]) {
      const headers = { ...headersOf(cookie, origin), authorization: "Bearer nonsense" };
      assertProblem(
        await new Client(t.url).call("POST", "/auth/tickets", undefined, headers),
        401,
        "unauthenticated",
      );
      const socket = await openRaw("ws", t.url, "/ws", { headers });
      assertProblem(socket, 401, "unauthenticated");
    }
  }));

test.run();

interface Scene {
  t: TestServer;
  ann: Client;
  cookie: string;
  group: Json;
}

/** Ann is logged in with a cookie, and has a group. */
async function withAnn(act: (scene: Scene) => Promise<void>): Promise<void> {
  await withServer(async (t) => {
    const ann = new Client(t.url);
    const body = { username: "ann", password, cookie: true };
    const answer = await ann.call("POST", "/auth/register", body);
    Object.assign(ann, { user: answer.body.user, token: answer.body.access_token });
    const cookie = answer.headers.get("set-cookie")?.split(";")[0] ?? "";
    const group = await createGroup(ann, "G", []);
    await ann.send(group.id, "hers");
    await act({ t, ann, cookie, group });
  }, env);
}

function headersOf(cookie: string, origin: string | null): Record<string, string> {
  return { cookie, ...(origin !== null && { origin }) };
}

function byCookie(
  url: string,
  method: string,
  path: string,
  cookie: string,
  origin: string | null,
  body?: unknown,
): Promise<Answer> {
  return new Client(url).call(method, path, body, headersOf(cookie, origin));
}

/** Every operation that is not for everybody and no GET, with ids of nothing; logging out comes last. */
async function changingRoutes(url: string): Promise<[string, string][]> {
  const document: Json = await (await fetch(`${url}/openapi.json`)).json();
  const all = Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    Object.entries<Json>(item)
      .filter(([method, { security }]) => method !== "get" && security.length > 0)
      .map(([method]): [string, string] => [method.toUpperCase(), filled(path)]),
  );
  const isLast = ([, path]: [string, string]) => path === "/auth/logout";
  return [...all.filter((one) => !isLast(one)), ...all.filter(isLast)];
}

function filled(path: string): string {
  return path
    .replace("/api/v1", "")
    .replace("{seq}", "1")
    .replace("{emoji}", encodeURIComponent("👍"))
    .replaceAll(/\{\w+\}/g, unknownId);
}

/** Whatever of the database a page elsewhere might want to change. */
function state(t: TestServer): Promise<Json[]> {
  return query(
    t.databaseUrl,
    `SELECT (SELECT string_agg(u::text, ',') FROM users AS u) AS users,
       (SELECT string_agg(s::text, ',' ORDER BY s.id) FROM sessions AS s) AS sessions,
       (SELECT string_agg(d::text, ',') FROM discussions AS d) AS discussions,
       (SELECT string_agg(m::text, ',') FROM members AS m) AS members,
       (SELECT max(position) FROM log_events) AS newest, (SELECT count(*) FROM tickets) AS tickets`,
  );
}

/** With headers as they are given, also twice. */
function statusOf(
  url: string,
  method: string,
  path: string,
  headers: Record<string, string | string[]>,
): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/api/v1${path}`, { method, headers, agent: false });
    sent.once("error", reject);
    sent.once("response", (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.end();
  });
}
