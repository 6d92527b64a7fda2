import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "uvu";
import { WebSocket } from "ws";
import {
  type Answer,
  assertProblem,
  assertRefused,
  Client,
  type Json,
  password,
  register,
} from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";

// What every route does alike: errors, bodies, request ids and CORS.
const origin = "https://parley.example";
const env = { RATE_LIMITS: "off" };
const unknownId = "0198c0de-0000-7000-8000-000000000000";

test("without a token, every route but the way in answers 401", () =>
  withServer(async (t) => {
    const client = new Client(t.url);
    const discussion = `/discussions/${unknownId}`;
    const routes: [string, string, unknown?][] = [
      ["POST", "/auth/logout"],
      ["GET", "/auth/sessions"],
      ["DELETE", `/auth/sessions/${unknownId}`],
      ["POST", "/auth/tickets"],
      ["GET", "/users"],
      ["GET", "/users/me"],
      ["PATCH", "/users/me", { display_name: "x" }],
      ["GET", `/users/${unknownId}`],
      ["POST", "/discussions", { kind: "direct", user_id: unknownId }],
      ["GET", "/discussions"],
      ["GET", "/discussions?visibility=public"],
      ["GET", discussion],
      ["PATCH", discussion, { name: "x" }],
      ["DELETE", discussion],
      ["POST", `${discussion}/join`],
      ["GET", `${discussion}/members`],
      ["POST", `${discussion}/members`, { user_ids: [] }],
      ["PATCH", `${discussion}/members/${unknownId}`, { role: "admin" }],
      ["DELETE", `${discussion}/members/${unknownId}`],
      ["PUT", `${discussion}/read`, { seq: 1 }],
      ["GET", `${discussion}/messages`],
      ["POST", `${discussion}/messages`, { content: "x" }],
      ["GET", "/messages"],
      ["GET", "/events"],
      ["GET", `${discussion}/events`],
    ];
    for (const [method, path, body] of routes) {
      const answer = await client.call(method, path, body);
      assert.equal(answer.status, 401, `${method} ${path}`);
      assertRefused(answer, [401]);
    }
    for (const path of ["/ws", `${discussion}/ws`]) {
      const refusal = await upgrade(t.url, path);
      assertRefused(refusal, [401]);
    }
  }, env));

test("what is not there is 404, a wrong method 405, a socket without upgrade 426", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    for (const path of [
      "/nothing",
      "/users/me/nothing",
      "/discussions/a/b/c/d",
      "/auth",
      "",
      "/Users/me",
      "/%2e%2e/users",
    ])
      assertRefused(await ann.call("GET", path), [404]);
    assertRefused(await ann.call("POST", "/nothing", { a: 1 }), [404]);
    const outside = await fetch(`${t.url}/nothing-here.php`);
    assert.equal(outside.status, 404);
    const wrong: [string, string, string][] = [
      ["DELETE", "/discussions", "POST"],
      ["PUT", "/auth/login", "POST"],
      ["GET", "/auth/login", "POST"],
      ["POST", "/users/me", "PATCH"],
      ["PATCH", `/discussions/${unknownId}/messages`, "POST"],
      ["POST", `/discussions/${unknownId}/read`, "PUT"],
      ["POST", "/messages", "GET"],
      ["POST", "/events", "GET"],
    ];
    for (const [method, path, allowed] of wrong) {
      const answer = await ann.call(method, path);
      assert.equal(answer.status, 405, `${method} ${path}`);
      assertRefused(answer, [405]);
      // RFC 9110 asks for the header.
      assert.ok((answer.headers.get("allow") ?? "").split(/,\s*/).includes(allowed), `${method} ${path}`);
    }
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    for (const path of ["/ws", `/discussions/${id}/ws`]) assertRefused(await ann.call("GET", path), [426]);
  }, env));

test("ids that are no ids and numbers that are no numbers are the caller's mistake", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const ids = [
      "1",
      "x",
      "null",
      `${id}0`,
      `{${id}}`,
      "%00",
      "%F0%9F%99%82",
      "%27%20OR%201=1--",
      "..%2f..",
      "a".repeat(2_000),
    ];
    for (const wrong of ids)
      for (const [method, path, body] of [
        ["GET", `/discussions/${wrong}`],
        ["DELETE", `/discussions/${wrong}`],
        ["GET", `/discussions/${wrong}/messages`],
        ["POST", `/discussions/${wrong}/messages`, { content: "x" }],
        ["GET", `/discussions/${wrong}/events`],
        ["PUT", `/discussions/${wrong}/read`, { seq: 1 }],
        ["GET", `/users/${wrong}`],
        ["DELETE", `/auth/sessions/${wrong}`],
        ["PATCH", `/discussions/${id}/members/${wrong}`, { role: "admin" }],
        ["DELETE", `/discussions/${id}/members/${wrong}`],
      ] as [string, string, unknown?][]) {
        const answer = await ann.call(method, path, body);
        assert.ok([400, 404, 409].includes(answer.status), `${method} ${path} → ${answer.status}`);
        assertRefused(answer, [400, 404, 409]);
      }
    for (const path of ["/users/%E0%A4%A", "/users?query=%E0%A4%A", "/discussions/%", "/users/%ff"]) {
      const { status } = await ann.call("GET", path);
      assert.ok(status < 500, `${path} → ${status}`);
    }
    for (const path of ["/users?query=%00", "/discussions?visibility=public&query=%00", "/users?email=%00"])
      assertProblem(await ann.call("GET", path), 400, "invalid_request");
    for (const path of ["/users?query=", "/discussions?visibility=public&query="]) {
      const { status } = await ann.call("GET", path + "x".repeat(5_000));
      assert.ok([200, 400].includes(status), `${path} → ${status}`);
    }
    for (const seq of [2 ** 31, 2 ** 53, 1e300, -1e300]) {
      const { status } = await ann.call("PUT", `/discussions/${id}/read`, { seq });
      assert.ok(status < 500, `${seq} → ${status}`);
    }
  }, env));

test("a body that is not the JSON asked for is refused, whatever it is", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const malformed = [
      "{",
      "",
      " ",
      "[]",
      "null",
      "true",
      "5",
      '"text"',
      "{'kind':'direct'}",
      '{"kind":"direct",}',
      `{"kind":"direct","user_id":"${ann.user.id}"}}`,
      `{"kind":"direct","user_id":"${ann.user.id}"} x`,
      `{"kind":"direct","user_id":"${ann.user.id}","__proto__":{"admin":true}}`,
      `{"kind":"direct","user_id":"${ann.user.id}","constructor":1}`,
      `{"kind":"direct","user_id":"${ann.user.id}","toString":null}`,
      `{"__proto__":{"kind":"direct","user_id":"${ann.user.id}"}}`,
      `{"kind":"direct","user_id":"${ann.user.id}","":1}`,
      "[".repeat(50_000),
      `${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`,
      "kind=direct",
      "\u0000",
    ];
    for (const body of malformed) {
      const answer = await ann.call("POST", "/discussions", body, { "content-type": "application/json" });
      assert.equal(answer.status, 400, body.slice(0, 100));
      assert.match(answer.body.code, /^[a-z_]+$/);
      assertProblem(answer, 400, answer.body.code);
    }
    const bytes = Buffer.concat([
      Buffer.from('{"display_name":"'),
      Buffer.from([0xff, 0xc0, 0x80]),
      Buffer.from('"}'),
    ]);
    const invalid = await raw(t.url, "PATCH", "/users/me", ann, bytes);
    assert.ok([200, 400].includes(invalid.status), "not UTF-8: refused, or read with replacements");
    assert.deepEqual((await ann.ok("GET", "/discussions")).items, []);
    for (const type of [
      "application/json; charset=utf-8",
      "Application/JSON",
      "application/json;charset=UTF-8",
    ]) {
      const answer = await ann.call("PATCH", "/users/me", { display_name: type }, { "content-type": type });
      assert.equal(answer.status, 200, type);
    }
  }, env));

test("a body that is not said to be JSON is 415", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const types = [
      "text/plain",
      "text/plain; application/json",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      "application/xml",
      "application/jsonx",
      "json",
    ];
    for (const type of types) {
      const login = { username: "ann", password };
      for (const [path, body] of [
        ["/auth/login", login],
        ["/discussions", { kind: "direct", user_id: ann.user.id }],
      ] as const) {
        const answer = await ann.call("POST", path, body, { "content-type": type });
        assert.equal(answer.status, 415, `${path} as ${type}`);
        assertRefused(answer, [415]);
      }
    }
    const untyped = await raw(t.url, "PATCH", "/users/me", ann, Buffer.from('{"display_name":"Ann"}'), "");
    assert.equal(untyped.status, 415, "without a type");
    assert.deepEqual((await ann.ok("GET", "/discussions")).items, []);
  }, env));

test("a body beyond all bounds is 413, with its length told or not, and the server lives on", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const path = `/discussions/${id}/messages`;
    const huge = Buffer.from(JSON.stringify({ content: "x".repeat(4_000_000) }));
    for (const [target, token] of [
      [path, ann.token],
      ["/auth/login", ""],
    ] as const) {
      const caller = new Client(t.url);
      caller.token = token;
      for (const chunked of [false, true]) {
        const answer = await raw(t.url, "POST", target, caller, huge, "application/json", chunked);
        assert.equal(answer.status, 413, `${target} ${chunked ? "in chunks" : "with its length"}`);
        assert.match(answer.body.code, /^[a-z_]+$/);
        assertProblem(answer, 413, answer.body.code);
      }
    }
    const spaces = `{"content":"x"${" ".repeat(4_000_000)}}`;
    const padded = await raw(t.url, "POST", path, ann, Buffer.from(spaces));
    assert.equal(padded.status, 413, "white space counts");
    assert.equal((await ann.send(id, "still there")).seq, 1);
  }, env));

test("every answer carries a request id: the caller's, if it is a sane one", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const me = (id?: string) =>
      ann.call("GET", "/users/me", undefined, id === undefined ? {} : { "x-request-id": id });
    for (const id of [unknownId, "abc-123", "4bf92f3577b34da6a3ce929d0e0e4736"])
      assert.equal((await me(id)).headers.get("x-request-id"), id);
    const missing = await ann.call("GET", `/users/${unknownId}`, undefined, { "x-request-id": "mine-1" });
    assert.equal(missing.body.request_id, "mine-1");
    assertProblem(missing, 404, missing.body.code);
    const insane = [
      "x".repeat(5_000),
      "<script>alert(1)</script>",
      '{"a":"b"}',
      "a b\tc",
      "é",
      "'; --",
      "\u001b[31m",
      "",
    ];
    const ids = new Set<string>();
    for (const id of [undefined, undefined, ...insane]) {
      // Control characters do not pass fetch.
      const answer = id === "\u001b[31m" ? await me() : await me(id);
      const given = answer.headers.get("x-request-id") ?? "";
      assert.notEqual(given, id);
      assert.match(given, /^[\w.-]{8,128}$/);
      ids.add(given);
    }
    assert.equal(ids.size, insane.length + 2, "each its own");

    const answers = await Promise.all([
      ann.call("POST", "/discussions", { kind: "direct", user_id: ann.user.id }),
      ann.call("POST", "/discussions", "{"),
      ann.call("POST", "/discussions", "x", { "content-type": "text/plain" }),
      ann.call("GET", "/nothing"),
      ann.call("DELETE", "/discussions"),
      new Client(t.url).call("GET", "/users/me"),
    ]);
    answers.push(await ann.call("POST", "/auth/logout"));
    assert.deepEqual(
      answers.map(({ status }) => status),
      [201, 400, 415, 404, 405, 401, 204],
    );
    for (const { headers } of answers) assert.ok(headers.get("x-request-id"));
    for (const path of ["/healthz", "/readyz", "/nothing"])
      assert.ok((await fetch(t.url + path)).headers.get("x-request-id"), path);
    const refusal = await upgrade(t.url, "/ws", { "x-request-id": "socket-1" });
    assert.equal(refusal.headers.get("x-request-id"), "socket-1");
  }, env));

test("a socket that may not open answers with status and problem", () =>
  withServer(async (t) => {
    const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const headers = { authorization: `Bearer ${bob.token}` };
    for (const target of [id, unknownId]) {
      const answer = await upgrade(t.url, `/discussions/${target}/ws`, headers);
      assertProblem(answer, 404, "discussion_not_found");
      assertProblem(await bob.call("GET", `/discussions/${target}/events`), 404, "discussion_not_found");
    }
    assertRefused(await upgrade(t.url, "/nothing", headers), [404]);
    for (const path of ["/users/me", "/discussions"]) {
      const answer = await upgrade(t.url, path, headers);
      assert.ok(answer.status === 200 || (answer.status >= 400 && answer.status < 500), `${answer.status}`);
    }
    assert.equal((await bob.call("GET", "/users/me")).status, 200);
  }, env));

test("pages of allowed origins, and no others, may read the answers", () =>
  withServer(
    async (t) => {
      const ann = await register(t.url, "ann");
      for (const allowed of [origin, "http://localhost:5173"]) {
        for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
          const { status, headers } = await preflight(t.url, allowed, method);
          assert.ok(status === 204 || status === 200, `${status}`);
          assert.equal(headers.get("access-control-allow-origin"), allowed);
          assert.ok(list(headers, "access-control-allow-methods").includes(method.toLowerCase()), method);
          for (const name of ["authorization", "content-type"])
            assert.ok(list(headers, "access-control-allow-headers").includes(name), name);
          assert.equal(headers.get("access-control-allow-credentials"), "true", "for the cookie");
        }
        const answers = [
          await ann.call("GET", "/users/me", undefined, { origin: allowed }),
          await ann.call("GET", "/nothing", undefined, { origin: allowed }),
          await ann.call("POST", "/discussions", "{", { origin: allowed }),
          await new Client(t.url).call("GET", "/users/me", undefined, { origin: allowed }),
        ];
        assert.deepEqual(
          answers.map(({ status }) => status),
          [200, 404, 400, 401],
        );
        for (const { headers, status } of answers) {
          assert.equal(headers.get("access-control-allow-origin"), allowed, `${status}`);
          assert.ok(list(headers, "vary").includes("origin"), `caches tell origins apart, ${status}`);
        }
      }
      const near = [
        `${origin}.evil.test`,
        "http://parley.example",
        `${origin}:444`,
        "https://evil.test",
        "null",
        "*",
      ];
      for (const other of near) {
        const asked = await preflight(t.url, other, "POST");
        assert.equal(asked.headers.get("access-control-allow-origin"), null, other);
        const answer = await ann.call("GET", "/users/me", undefined, { origin: other });
        assert.equal(answer.headers.get("access-control-allow-origin"), null, other);
      }
      const abort = new AbortController();
      const events = await fetch(`${t.url}/api/v1/events`, {
        headers: { origin, authorization: `Bearer ${ann.token}` },
        signal: abort.signal,
      });
      assert.equal(events.status, 200);
      assert.equal(events.headers.get("access-control-allow-origin"), origin);
      abort.abort();
    },
    { ...env, ALLOWED_ORIGINS: `${origin},http://localhost:5173` },
  ));

test("without allowed origins, no other page may read or change anything", () =>
  withServer(async (t) => {
    const answer = await new Client(t.url).call("POST", "/auth/register", {
      username: "ann",
      password,
      cookie: true,
    });
    const cookie = (answer.headers.get("set-cookie") ?? "").split(";")[0] ?? "";
    const client = new Client(t.url);
    for (const from of [origin, "null", "http://localhost:5173"]) {
      const { headers } = await preflight(t.url, from, "PATCH");
      assert.equal(headers.get("access-control-allow-origin"), null);
      const read = await client.call("GET", "/users/me", undefined, { origin: from, cookie });
      assert.equal(read.headers.get("access-control-allow-origin"), null);
      const change = await client.call("PATCH", "/users/me", { display_name: "x" }, { origin: from, cookie });
      assertProblem(change, 403, "origin_not_allowed");
    }
  }, env));

test("the server tells whether it lives and whether it is ready", () =>
  withServer(async (t) => {
    assert.equal((await fetch(`${t.url}/healthz`)).status, 200);
    // Ready is who has caught up with the log, which may take a moment from the start.
    await eventually(async () => assert.equal((await fetch(`${t.url}/readyz`)).status, 200));
  }, env));

/** What fetch does not send: bodies without a type, in chunks, or ones the server stops reading. */
function raw(
  url: string,
  method: string,
  path: string,
  client: Client,
  body: Buffer,
  type = "application/json",
  chunked = false,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/api/v1${path}`, {
      method,
      agent: false,
      headers: {
        ...(client.token && { authorization: `Bearer ${client.token}` }),
        ...(type && { "content-type": type }),
        ...(chunked ? { "transfer-encoding": "chunked" } : { "content-length": body.length }),
      },
    });
    sent.on("error", reject);
    sent.on("response", (response) => {
      // The answer is here; the rest of the body may fail.
      sent.removeListener("error", reject).on("error", () => {});
      let text = "";
      response.setEncoding("utf8").on("data", (part) => {
        text += part;
      });
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: new Headers(response.headers as Record<string, string>),
          body: text === "" ? null : JSON.parse(text),
        }),
      );
    });
    sent.end(body);
  });
}

/** The answer to an upgrade that must not succeed. */
function upgrade(url: string, path: string, headers = {}): Promise<Answer> {
  const socket = new WebSocket(`${url.replace("http", "ws")}/api/v1${path}`, { headers });
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.once("open", () => {
      socket.terminate();
      reject(new Error(`${path} opened`));
    });
    socket.once("unexpected-response", (_request, response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      response.on("end", () => {
        const body: Json = text === "" ? null : JSON.parse(text);
        const given = new Headers(response.headers as Record<string, string>);
        resolve({ status: response.statusCode ?? 0, headers: given, body });
      });
    });
  });
}

function preflight(url: string, from: string, method: string): Promise<Answer> {
  return new Client(url).call("OPTIONS", "/discussions", undefined, {
    origin: from,
    "access-control-request-method": method,
    "access-control-request-headers": "authorization,content-type",
  });
}

function list(headers: Headers, name: string): string[] {
  return (headers.get(name) ?? "").toLowerCase().split(/,\s*/);
}

test.run();
