// time limit: 240 s
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, Page } from "playwright-core";
import { test } from "uvu";
import { WebSocket } from "ws";
import { Client, type Json, password, register } from "../support/client.ts";
import { hasBrowser, withBrowser } from "./browser.ts";
import { withLastingProgram } from "./program.ts";

// Cookies know hosts, not ports: a page on another port of localhost is of another origin, and a browser
// sends our cookie along from there. What such a page gets is for a real browser to say.

const inBrowser = hasBrowser ? test : test.skip;

test("a cookie opens a socket for our own origin only, and must come with one", () =>
  withLastingProgram(async (program) => {
    const body = { username: "ann", password, cookie: true };
    const { headers } = await new Client(program.url()).call("POST", "/auth/register", body);
    const cookie = headers.get("set-cookie")?.split(";")[0] ?? "";
    const open = (origin: string | null) =>
      new Promise((resolve) => {
        const socket = new WebSocket(`${program.url().replace("http", "ws")}/api/v1/ws`, {
          headers: { cookie, ...(origin !== null && { origin }) },
        });
        socket.once("unexpected-response", (_request, response) => {
          resolve(response.statusCode);
          response.destroy();
        });
        socket.once("message", (data) => {
          resolve(JSON.parse(String(data)).type);
          socket.close();
        });
        socket.on("error", () => {});
      });
    assert.equal(await open(program.url()), "ready");
    const { host } = new URL(program.url());
    for (const origin of [
      null,
      "null",
      "",
      `https://${host}`,
      `http://${host}.example`,
      "http://localhost",
    ]) {
      assert.equal(await open(origin), 403, `Origin: ${origin}`);
    }
  }));

inBrowser("a page of another origin gets nothing by somebody's cookie", () =>
  withOtherOrigin(async ({ browser, elsewhere }) => {
    await withLastingProgram(async (program) => {
      const { ann, page, discussionId } = await visit(browser, program.url(), elsewhere);
      const api = `${program.url()}/api/v1`;
      assert.match(await tryFetch(page, `${api}/users/me`, { credentials: "include" }), /TypeError/);
      // As plain text, so that the browser sends it without asking first.
      const post = {
        method: "POST",
        credentials: "include",
        mode: "no-cors",
        body: '{"content":"not hers"}',
      };
      await tryFetch(page, `${api}/discussions/${discussionId}/messages`, post);
      assert.equal((await ann.ok("GET", `/discussions/${discussionId}`)).last_seq, 0);
      assert.equal(await trySocket(page, api), "closed 1006");
      assert.equal(await tryEvents(page, api), "refused");
    });
  }),
);

inBrowser("a page of an allowed origin may do all, with the cookie", () =>
  withOtherOrigin(async ({ browser, elsewhere }) => {
    await withLastingProgram(
      async (program) => {
        const { ann, page, discussionId } = await visit(browser, program.url(), elsewhere);
        const api = `${program.url()}/api/v1`;
        assert.match(await tryFetch(page, `${api}/users/me`, { credentials: "include" }), /"username":"ann"/);
        const message = await tryFetch(page, `${api}/discussions/${discussionId}/messages`, {
          method: "POST",
          credentials: "include",
          headers: { "content-type": "application/json" },
          body: '{"content":"hers"}',
        });
        assert.match(message, /"content":"hers"/);
        assert.equal((await ann.ok("GET", `/discussions/${discussionId}`)).last_seq, 1);
        assert.equal(await trySocket(page, api), "ready");
        assert.equal(await tryEvents(page, api), "ready");
      },
      { ALLOWED_ORIGINS: elsewhere },
    );
  }),
);

test.run();

/** A browser, and an address on this host where an empty page is served that is none of ours. */
async function withOtherOrigin(
  act: (t: { browser: Browser; elsewhere: string }) => Promise<void>,
): Promise<void> {
  const server = createServer((_request, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>Elsewhere</title>");
  });
  server.listen(0, "localhost");
  await once(server, "listening");
  const elsewhere = `http://localhost:${(server.address() as AddressInfo).port}`;
  try {
    await withBrowser((browser) => act({ browser, elsewhere }));
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/** Ann logs in on our own page, with a cookie, and goes elsewhere in the same browser. */
async function visit(
  browser: Browser,
  url: string,
  elsewhere: string,
): Promise<{ ann: Client; page: Page; discussionId: string }> {
  const ann = await register(url, "ann");
  const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${url}/healthz`);
  const login = { username: "ann", password, cookie: true };
  await tryFetch(page, `${url}/api/v1/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(login),
  });
  assert.match(await tryFetch(page, `${url}/api/v1/users/me`, {}), /"username":"ann"/, "the cookie is good");
  await page.goto(elsewhere);
  return { ann, page, discussionId: id };
}

/** The body of the answer, or what the page is told instead. */
function tryFetch(page: Page, url: string, init: Json): Promise<string> {
  return page.evaluate(
    `fetch(${JSON.stringify(url)}, ${JSON.stringify(init)}).then((response) => response.text(), String)`,
  );
}

function trySocket(page: Page, api: string): Promise<string> {
  return page.evaluate(`new Promise((resolve) => {
    const socket = new WebSocket(${JSON.stringify(`${api.replace("http", "ws")}/ws`)});
    socket.addEventListener("message", ({ data }) => resolve(JSON.parse(data).type));
    socket.addEventListener("close", ({ code }) => resolve("closed " + code));
  })`);
}

function tryEvents(page: Page, api: string): Promise<string> {
  return page.evaluate(`new Promise((resolve) => {
    const source = new EventSource(${JSON.stringify(`${api}/events`)}, { withCredentials: true });
    source.addEventListener("ready", ({ type }) => resolve(type));
    source.addEventListener("error", () => source.readyState === EventSource.CLOSED && resolve("refused"));
  })`);
}
