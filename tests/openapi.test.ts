import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { test } from "uvu";
import { errors } from "../server/errors.ts";
import { type Answer, type Json, register } from "./support/client.ts";
import { checkAnswer } from "./support/documents.ts";
import { withServer } from "./support/server.ts";

test("the document is valid OpenAPI 3.1, and its lint finds nothing", () =>
  withServer(async (t) => {
    const response = await fetch(`${t.url}/openapi.json`);
    assert.equal(response.headers.get("content-type"), "application/json; charset=utf-8");
    const source = await response.text();
    assert.match(JSON.parse(source).openapi, /^3\.1\./);
    assert.deepEqual(await lint(source), []);
    // That this can fail:
    assert.notDeepEqual(await lint(source.replace('"summary"', '"summery"')), []);
  }));

async function lint(source: string): Promise<string[]> {
  const config = await createConfig({
    extends: ["recommended-strict"],
    rules: {
      // The addresses of sockets answer 101, and nothing is wrong with asking for /healthz.
      "operation-2xx-response": "off",
      "operation-4xx-response": "off",
    },
  });
  const problems = await lintFromString({ source, absoluteRef: "/openapi.json", config });
  return problems.map(({ message, location }) => `${message} ${location[0]?.pointer}`);
}

test("each operation has a name of its own, a summary and a known tag, and refuses with problems", () =>
  withServer(async (t) => {
    const document = await readDocument(t.url);
    const operations = operationsOf(document);
    const names = operations.map(({ operation }) => operation.operationId);
    assert.equal(new Set(names).size, names.length);
    assert.ok(names.length > 30);
    const tags = document.tags.map(({ name }: Json) => name);
    assert.deepEqual([...new Set(operations.flatMap(({ operation }) => operation.tags))].sort(), tags.sort());
    for (const { operation, path } of operations) {
      assert.match(operation.operationId, /^[a-z][A-Za-z]+$/);
      assert.match(operation.summary, /^[A-Z].{2,79}[^.]$/, path);
      assert.equal(operation.tags.length, 1, path);
      for (const [status, response] of Object.entries<Json>(operation.responses))
        if (Number(status) >= 400) assert.match(response.$ref, /^#\/components\/responses\/[a-z_.]+$/, path);
    }
    assert.deepEqual(document.components.schemas.ErrorCode.enum, Object.keys(errors));
  }));

test("what the document tells of is there, with these methods and no others", () =>
  withServer(async (t) => {
    const methods = Map.groupBy(operationsOf(await readDocument(t.url)), ({ path }) => path);
    for (const [path, operations] of methods) {
      // No route takes this method, so that the answer names those that are taken.
      const response = await fetch(t.url + path.replaceAll(/\{\w+\}/g, "x"), { method: "PROPFIND" });
      assert.equal(response.status, 405, path);
      const taken = (response.headers.get("allow") ?? "").split(", ").filter((method) => method !== "HEAD");
      assert.deepEqual(taken.sort(), operations.map(({ method }) => method).sort(), path);
    }
  }));

// The type of a route asks for its documentation, so it can only be missing where somebody wrote null.
test("what is there the document tells of, but for the files of pages", async () => {
  const folder = new URL("../server/api/", import.meta.url);
  const sources = await Promise.all(
    (await readdir(folder)).map(async (file) => ({
      file,
      text: await readFile(new URL(file, folder), "utf8"),
    })),
  );
  const filesWith = (pattern: RegExp) =>
    sources.flatMap(({ file, text }) => (pattern.test(text) ? [file] : [])).sort();
  assert.deepEqual(filesWith(/documentation: null/), ["documents.ts", "pages.ts"]);
  assert.deepEqual(filesWith(/\b(app|h3)\.(on|all|get|post|put|patch|delete|mount|use)\(/), ["app.ts"]);
});

test("inputs are told as the routes check them", () =>
  withServer(async (t) => {
    const { paths } = await readDocument(t.url);
    const users = paths["/api/v1/users"].get;
    const limit = users.parameters.find(({ name }: Json) => name === "limit");
    assert.deepEqual(limit, {
      name: "limit",
      in: "query",
      required: false,
      schema: { type: "integer", minimum: 1, maximum: 200, default: 50 },
    });
    const [id] = paths["/api/v1/users/{id}"].get.parameters;
    assert.deepEqual(id, {
      name: "id",
      in: "path",
      required: true,
      schema: { type: "string", format: "uuid" },
    });
    const body = paths["/api/v1/auth/register"].post.requestBody.content["application/json"].schema;
    assert.deepEqual(body.required, ["username", "password"]);
    assert.equal(body.additionalProperties, false);
    const { type, minLength, maxLength } = body.properties.password;
    assert.deepEqual({ type, minLength, maxLength }, { type: "string", minLength: 8, maxLength: 256 });
    const login = paths["/api/v1/auth/login"].post.requestBody.content["application/json"].schema;
    assert.deepEqual(login.properties.username, {
      type: "string",
      minLength: 1,
      maxLength: 254,
      description: "Or the e-mail address.",
      examples: ["ann"],
    });
    const { security } = paths["/api/v1/users/me"].get;
    assert.deepEqual(security, [{ bearer: [] }, { cookie: [] }]);
    assert.deepEqual(paths["/api/v1/auth/login"].post.security, []);
  }));

// The check that every test makes with each of its calls.
test("an answer of which the document does not tell fails the test that got it", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const good = await ann.call("GET", "/users/me");
    const check = (method: string, path: string, wrong: Partial<Answer>) =>
      checkAnswer(t.url, method, path, { ...good, ...wrong });
    await check("GET", "/api/v1/users/me", {});
    const { email: _, ...withoutEmail } = good.body;
    const problem = (await ann.call("PATCH", "/users/me", { nonsense: 1 })).body;
    const problemHeaders = new Headers([
      ["x-request-id", "1"],
      ["content-type", "application/problem+json"],
    ]);
    const wrong: [string, string, Partial<Answer>, RegExp][] = [
      ["GET", "/api/v1/users/me", { body: { ...good.body, shoe_size: 46 } }, /additional properties/],
      ["GET", "/api/v1/users/me", { body: withoutEmail }, /required property 'email'/],
      ["GET", "/api/v1/users/me", { body: { ...good.body, created_at: "yesterday" } }, /created_at/],
      ["GET", "/api/v1/users/me", { status: 418 }, /statuses/],
      ["GET", "/api/v1/users/me", { body: null }, /must be object/],
      ["GET", "/api/v1/users/me", { headers: new Headers() }, /x-request-id/],
      ["GET", "/api/v1/users/me", { headers: new Headers({ "x-request-id": "1" }) }, /media types/],
      ["GET", "/api/v1/nothing", {}, /no such operation/],
      ["POST", "/api/v1/users/me", {}, /no such operation/],
      [
        "PATCH",
        "/api/v1/users/me",
        { status: 409, headers: problemHeaders, body: { ...problem, status: 409, code: "last_owner" } },
        /code/,
      ],
      [
        "PATCH",
        "/api/v1/users/me",
        { status: 400, headers: problemHeaders, body: { ...problem, code: "unheard_of" } },
        /code/,
      ],
      ["DELETE", "/api/v1/auth/sessions/x", { status: 204 }, /media types are none/],
    ];
    for (const [method, path, answer, reason] of wrong)
      await assert.rejects(check(method, path, answer), reason, `${method} ${path} ${reason}`);
  }));

test("a document that a client has is not sent again", () =>
  withServer(async (t) => {
    for (const path of ["/openapi.json", "/asyncapi.json", "/docs", "/"]) {
      const first = await fetch(t.url + path);
      const etag = first.headers.get("etag") ?? "";
      assert.match(etag, /^"[\w-]{22}"$/, path);
      await first.text();
      for (const known of [etag, `W/${etag}`, `"other", ${etag}`]) {
        const again = await fetch(t.url + path, { headers: { "if-none-match": known } });
        assert.equal(again.status, 304, path);
        assert.equal(again.headers.get("etag"), etag);
        assert.equal(await again.text(), "");
      }
      const changed = await fetch(t.url + path, { headers: { "if-none-match": '"other"' } });
      assert.equal(changed.status, 200, path);
      assert.ok((await changed.text()).length > 100);
    }
  }));

async function readDocument(url: string): Promise<Json> {
  return (await fetch(`${url}/openapi.json`)).json();
}

function operationsOf(document: Json): { path: string; method: string; operation: Json }[] {
  return Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    Object.entries<Json>(item).map(([method, operation]) => ({
      path,
      method: method.toUpperCase(),
      operation,
    })),
  );
}

test.run();
