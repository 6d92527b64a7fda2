// time limit: 300 s
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { test } from "uvu";
import { drawAvatar } from "../../server/api/avatar-drawing.ts";
import { cleanName } from "../../server/api/uploads.ts";
import { type Client, type Json, password, register } from "../support/client.ts";
import { upload } from "../support/files.ts";
import { eventually, withServer } from "../support/server.ts";
import { hasBrowser, withBrowser } from "./browser.ts";
import { withPage } from "./window.ts";

// What browsers are told about all that this origin serves, and what one makes of it: no page has a script
// but the server's own, whatever people write or upload.

const embedding = readFileSync(new URL("embedding.js", import.meta.url), "utf8");
const inBrowser = hasBrowser ? test : test.skip;

const policy: Record<string, string> = {
  "default-src": "'none'",
  "script-src": "'self'",
  "style-src": "'self'",
  "img-src": "'self'",
  "connect-src": "'self'",
  "base-uri": "'none'",
  "form-action": "'self'",
  "frame-ancestors": "'none'",
  "object-src": "'none'",
  "require-trusted-types-for": "'script'",
  "trusted-types": "'none'",
};
const { "require-trusted-types-for": _, "trusted-types": __, ...docsPolicy } = policy;

test("each file of the pages comes with the whole policy, and no page has anything in line", () =>
  withServer(async (t) => {
    const waiting = new Set(["/", "/docs", "/openapi.json", "/asyncapi.json"]);
    for (const path of waiting) {
      const response = await fetch(t.url + path);
      const expected = path === "/docs" ? { ...docsPolicy, "img-src": "'self' data:" } : policy;
      assert.deepEqual(readPolicy(response.headers), expected, path);
      for (const [name, value] of [
        ["x-content-type-options", "nosniff"],
        ["referrer-policy", "no-referrer"],
        ["cross-origin-opener-policy", "same-origin"],
        ["cross-origin-resource-policy", "same-origin"],
      ] as const)
        assert.equal(response.headers.get(name), value, path);
      assert.match(response.headers.get("permissions-policy") ?? "", /camera=\(\).*microphone=\(\)/, path);
      const text = await response.text();
      const isPage = response.headers.get("content-type")?.startsWith("text/html");
      if (isPage) assert.deepEqual(inLine(text), [], path);
      for (const [, link] of text.matchAll(/(?:src|href)="(\/[^"#]*)"/g)) if (isPage) waiting.add(link ?? "");
    }
    assert.ok(waiting.size > 12, [...waiting].join(" "));
  }));

test("what stands in line in a page is noticed", () => {
  for (const html of [
    "<script>run()</script>",
    "<script src='/a.js'>run()</script>",
    "<style>a{}</style>",
    '<p style="color:red">',
    "<img src=/x onerror=run()>",
    '<svg><g onload="run()"/></svg>',
    '<a href="javascript:run()">x</a>',
    '<a href=" JavaScript:run()">x</a>',
    '<img src="data:image/svg+xml,x">',
    '<script src="https://elsewhere.example/x.js"></script>',
    '<script src="//elsewhere.example/x.js"></script>',
    '<base href="/x">',
    '<iframe src="/x"></iframe>',
    '<meta http-equiv="refresh" content="0">',
  ])
    assert.notDeepEqual(inLine(`<!doctype html><html><body><p>text</p>${html}</body></html>`), [], html);
  assert.deepEqual(inLine('<script type="module" src="/a.js"></script><a href="#x">one = 1</a>'), []);
});

test("every answer is to be taken for what it says it is, and for HTTPS alone where it came so", () =>
  withServer(
    async (t) => {
      const ann = await register(t.url, "ann");
      const file = await upload(ann, "<script>run()</script>", "x.html");
      const authorization = `Bearer ${ann.token}`;
      for (const path of [
        "/api/v1/users/me",
        "/api/v1/nothing",
        "/healthz",
        "/metrics",
        "/",
        "/docs",
        file.url,
      ])
        for (const proto of ["http", "https"])
          for (const method of ["GET", "HEAD", "PUT", "OPTIONS"]) {
            const headers = { authorization, "x-forwarded-proto": proto };
            const answer = await fetch(t.url + path, { method, headers });
            await answer.arrayBuffer();
            const hint = `${method} ${path} ${answer.status}`;
            assert.equal(answer.headers.get("x-content-type-options"), "nosniff", hint);
            const secure = proto === "https" ? "max-age=31536000" : null;
            assert.equal(answer.headers.get("strict-transport-security"), secure, hint);
            if (answer.status >= 400) assert.equal(answer.headers.get("cache-control"), "no-store", hint);
          }
    },
    { TRUST_PROXY: "on", RATE_LIMITS: "off" },
  ));

/** Each would call /trap, if anything of it ran. */
const run = "fetch('/trap');document.title='ran';alert(1)";
const svg = `<svg xmlns="http://www.w3.org/2000/svg" onload="${run}"><script>${run}</script></svg>`;
const uploads: [name: string, content: string | Uint8Array][] = [
  ["page.html", `<!doctype html><script>${run}</script><img src=x onerror="${run}">`],
  ["page.xhtml", `<html xmlns="http://www.w3.org/1999/xhtml"><script>${run}</script></html>`],
  ["picture.svg", svg],
  ["picture.png", svg],
  ["sheet.xml", `<?xml version="1.0"?><?xml-stylesheet href="/x.xsl"?>${svg}`],
  ["script.js", run],
  ["module.mjs", `export default 1;${run}`],
  ["style.css", `@import '/trap';body{background:url(/trap)}`],
  ["a.mht", `MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<script>${run}</script>`],
  [
    "page.pdf",
    `%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(${run})>>>>endobj\ntrailer<</Root 1 0 R>>`,
  ],
  // A GIF and a script at once: its head is the name of a variable.
  ["image.gif", `GIF89a=1;${run}//`],
  ["image.jpg", new Uint8Array([0xff, 0xd8, 0xff, 0xe0, 0x2f, 0x2a, ...Buffer.from(`*/=1;${run}//`)])],
  ["utf7.txt", `+ADw-script+AD4-${run}+ADw-/script+AD4-`],
  ["\u202egpj.html", `<script>${run}</script>`],
];

inBrowser("no file that was uploaded, and no answer of the API, is a page or a script of this origin", () =>
  withServer((t) =>
    withBrowser(async (browser) => {
      const ann = await register(t.url, "ann", { display_name: `<script>${run}</script>` });
      const files: Json[] = [];
      for (const [name, content] of uploads) files.push(await upload(ann, content, name));
      const addresses = files.map(({ url }) => url);
      addresses.push(`/api/v1/users/${ann.user.id}/avatar`, "/api/v1/users/me", "/openapi.json", "/healthz");
      const opened = await openAs(browser, t.url, "ann", false);
      for (const address of addresses) await visit(opened.context, t.url + address);
      await embed(opened.page, addresses, ["iframe", "object", "embed", "img"]);
      // A hole in the page's own policy does not make a script of them either.
      const holed = await openAs(browser, t.url, "ann", true);
      const loaded = await embed(holed.page, addresses, [
        "script",
        "module",
        "import",
        "worker",
        "service",
        "style",
      ]);
      assert.deepEqual(loaded, []);
      for (const { heard } of [opened, holed]) assert.deepEqual(heard(), []);
      // The trap is one: what does run is heard.
      await holed.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), { text: `fetch('/trap')` }))",
      );
      await eventually(() => assert.notDeepEqual(holed.heard(), []));
    }),
  ),
);

/** Names and words that have broken pages. */
const above = "\u030d\u0304\u0305\u033f\u0311\u0352".repeat(4);
const below = "\u0316\u0323\u032e\u0353".repeat(4);
const zalgo = `Za${above}lg${below}o${above}${below}`;
const texts = [
  `<script>${run}</script>`,
  `<img src=x onerror="${run}">`,
  `"><svg/onload=${run}>`,
  "javascript:fetch('/trap')",
  "[x](javascript:fetch('/trap')) data:text/html,<script>fetch('/trap')</script>",
  "https://elsewhere.example/?q=\"onmouseover=\"fetch('/trap') see",
  "</mark><mark><b onclick=run>&lt;b&gt; &amp;amp;",
  "\u202eekil siht sdaer \u2066isolated",
  "مرحبا بالعالم (عربي) 123 abc",
  zalgo,
  "W".repeat(100),
  "👩‍👩‍👧‍👦🏳️‍🌈 \u200b\u200d\u2060 \ufeff",
  "two\nlines\tand a tab",
];

inBrowser(
  "every text is shown as it was written, nothing of it runs, and nobody else is asked for anything",
  () =>
    withPage(async ({ url, open, proxy }) => {
      const ann = await register(url, "ann", { display_name: "Ann" });
      const writers = await writersOf(url);
      const ids = await writeEverywhere(ann, writers);
      const reader = await open();
      const { page } = reader;
      const heard = listen(page.context(), proxy.url);
      await page.addInitScript(
        `addEventListener("securitypolicyviolation", ({ violatedDirective }) => {
          (window.violated ??= []).push(violatedDirective);
        })`,
      );
      await reader.logIn("ann", password);
      await reader.isLive();
      const shown = async (selector: string) => (await page.locator(selector).allTextContents()).sort();
      const names = texts.map((text) => text.slice(0, 64));
      const titles = [...texts.map((text) => text.slice(0, 100)), ...names, "All of them"].sort();
      await eventually(async () => assert.deepEqual(await shown("#discussions .name"), titles));
      await page.goto(`${page.url().split("#")[0]}#${ids.all}`);
      const contents = page.locator("#messages .content");
      await eventually(async () => assert.equal(await contents.count(), texts.length * 2));
      assert.deepEqual(
        await shown("#messages .content"),
        [...texts, ...texts.map((text) => `findme ${text}`)].sort(),
      );
      await eventually(async () =>
        assert.deepEqual(await shown("#messages .sender"), [...names, ...names].sort()),
      );
      const quotes = texts.map((text) => text.trim().slice(0, 160)).sort();
      await eventually(async () => assert.deepEqual(await shown("#messages .quoted"), quotes));
      assert.deepEqual(await shown("#messages .file-name"), texts.map((text) => wireName(text)).sort());
      const pictures =
        "[...document.querySelectorAll('#messages .avatar img')].map((image) => image.naturalWidth)";
      await eventually(async () =>
        assert.ok(((await page.evaluate(pictures)) as number[]).every((width) => width > 0)),
      );
      const links = (await page.evaluate("[...document.links].map(({ protocol }) => protocol)")) as string[];
      assert.deepEqual(new Set(links), new Set(["http:", "https:"]));
      const turner = writers.find(({ user }) => user.display_name.startsWith("\u202e"));
      await turner?.ok("POST", `/discussions/${ids.all}/typing`);
      await page.locator("#typing", { hasText: /^eki\w* siht sdaer isolated is typing…$/ }).waitFor();
      await page.locator("#scroller").evaluate((scroller) => scroller.scrollTo(0, 0));
      await reader.picture("texts");
      await page.locator("#scroller").evaluate((scroller) => scroller.scrollTo(0, scroller.scrollHeight));
      await reader.picture("texts-end");
      await assertFits(page);

      await page.getByRole("button", { name: "Details", exact: true }).click();
      await eventually(async () => assert.deepEqual(await shown("#members .name"), ["Ann", ...names].sort()));
      await reader.picture("texts-members");
      await page.keyboard.press("Escape");
      await page.getByRole("searchbox", { name: "Search messages" }).fill("findme");
      await eventually(async () =>
        assert.equal(await page.locator("#found .found-text").count(), texts.length),
      );
      const found = (await shown("#found .found-text")).join("\n");
      for (const text of texts)
        assert.ok(found.includes(`: findme ${text}`.normalize("NFC").slice(0, 60)), text);
      assert.deepEqual(await page.evaluate(turned), [], "no name turns what stands after it");
      await reader.picture("texts-found");
      await page.getByRole("searchbox", { name: "Search messages" }).fill("");
      await page.setViewportSize({ width: 360, height: 740 });
      await assertFits(page);
      await reader.picture("texts-narrow");
      assert.deepEqual(heard(), []);
      assert.deepEqual(await page.evaluate("window.violated ?? []"), []);
      reader.assertNoErrors();
    }),
);

inBrowser("the drawing of any name is a picture of letters, and nothing else", () =>
  withBrowser(async (browser) => {
    const page = await browser.newPage();
    for (const name of [
      ...texts,
      "&amp; &lt;",
      "]]> <!--",
      "\u{1d504}\u{1d505}",
      "ﷺ ﷽",
      "0 # *",
      "'\"",
      "",
    ]) {
      const drawn = drawAvatar("0198c0de-0000-7000-8000-000000000000", name);
      const parsed = await page.evaluate(`(() => {
        const drawn = new DOMParser().parseFromString(${JSON.stringify(drawn)}, "image/svg+xml");
        const elements = [...drawn.querySelectorAll("*")];
        const names = elements.flatMap((element) => element.getAttributeNames());
        return {
          tags: elements.map(({ tagName }) => tagName),
          scripts: names.filter((name) => /^on|href/.test(name)),
        };
      })()`);
      assert.deepEqual(parsed, { tags: ["svg", "rect", "text"], scripts: [] }, `${name}: ${drawn}`);
    }
  }),
);

test.run();

function readPolicy(headers: Headers): Record<string, string> {
  const directives = (headers.get("content-security-policy") ?? "").split("; ");
  const named = directives.map((text) => [text.split(" ")[0], text.split(" ").slice(1).join(" ")]);
  assert.equal(
    new Set(named.map(([name]) => name)).size,
    named.length,
    "of two directives the second means nothing",
  );
  return Object.fromEntries(named);
}

/** What a page has of scripts, styles and addresses that do not come as files from here. */
function inLine(html: string): string[] {
  const wrong: string[] = [];
  const tags = /<([a-z][\w-]*)((?:\s+[\w:-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]+))?)*)\s*\/?>([^<]*)/gi;
  for (const [tag, name = "", attributes = "", text = ""] of html
    .replace(/<!--.*?-->/gs, "")
    .matchAll(tags)) {
    const given = [...attributes.matchAll(/([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))/g)];
    const pairs = given.map(([, key = "", ...values]) => [
      key.toLowerCase(),
      values.find((v) => v !== undefined) ?? "",
    ]);
    const isStrange = ["style", "base", "iframe", "object", "embed"].includes(name.toLowerCase());
    const hasText =
      name.toLowerCase() === "script" && (text.trim() !== "" || !pairs.some(([key]) => key === "src"));
    const hasCode = pairs.some(([key = "", value = ""]) => {
      if (/^on|^style$|^srcdoc$|^http-equiv$/.test(key)) return true;
      return /^(src|href|action|formaction|xlink:href)$/.test(key) && !/^(\/(?!\/)|#)/.test(value);
    });
    if (isStrange || hasText || hasCode) wrong.push(tag);
  }
  return wrong;
}

/** What happened in any page of a profile that should not: calls of the trap, dialogs, foreign requests. */
function listen(context: BrowserContext, url: string): () => string[] {
  const happened: string[] = [];
  context.on("request", (request) => {
    const asked = new URL(request.url());
    if (asked.pathname === "/trap" || asked.origin !== new URL(url).origin) happened.push(request.url());
  });
  context.on("dialog", (dialog) => {
    happened.push(`dialog ${dialog.message()}`);
    void dialog.dismiss();
  });
  return () => happened;
}

/**
 * Logged in by cookie, on a page that may make elements with addresses; on the chat page trusted types forbid
 * even that. `hole`: with no policy in force that a page brings along.
 */
async function openAs(browser: Browser, url: string, username: string, hole: boolean) {
  const context = await browser.newContext({ bypassCSP: hole, acceptDownloads: false });
  const heard = listen(context, url);
  const page = await context.newPage();
  await page.goto(`${url}/docs`);
  const body = JSON.stringify({ username, password, cookie: true });
  const status = await page.evaluate(
    async (body) =>
      (
        await fetch("/api/v1/auth/login", {
          method: "POST",
          body,
          headers: { "content-type": "application/json" },
        })
      ).status,
    body,
  );
  assert.equal(status, 200);
  return { context, page, heard };
}

/** Goes there in a window of its own: it is saved, or shown and does nothing. */
async function visit(context: BrowserContext, address: string): Promise<void> {
  const page = await context.newPage();
  await page
    .goto(address)
    .catch((error) => assert.match(String(error), /Download is starting|ERR_ABORTED/, address));
  assert.notEqual(await page.title(), "ran", address);
  await page.close();
}

/** Tries to make a page take each address for something; gives those that it took. */
async function embed(page: Page, addresses: string[], ways: string[]): Promise<string[]> {
  return (await page.evaluate(
    `${embedding}; embedAll(${JSON.stringify(addresses)}, ${JSON.stringify(ways)})`,
  )) as string[];
}

function writersOf(url: string): Promise<Client[]> {
  return Promise.all(
    texts.map(async (text, index) => {
      const writer = await register(url, `writer-${index}`, { display_name: text.slice(0, 64) });
      await writer.ok("PATCH", "/users/me", { status_text: text.slice(0, 140) });
      return writer;
    }),
  );
}

/** Each text as a person's name, a group's, a message, an answer to it, and a file's name. */
async function writeEverywhere(ann: Client, writers: Client[]): Promise<{ all: string }> {
  const member_ids = writers.map(({ user }) => user.id);
  const all = await ann.ok("POST", "/discussions", { kind: "group", name: "All of them", member_ids });
  for (const [index, writer] of writers.entries()) {
    const text = texts[index] ?? "";
    const name = text.slice(0, 100);
    await writer.ok("POST", "/discussions", { kind: "group", name, member_ids: [ann.user.id] });
    await ann.ok("POST", "/discussions", { kind: "direct", user_id: writer.user.id });
    const { seq } = await writer.send(all.id, text);
    const file: Json = await upload(writer, "the text", text);
    await writer.send(all.id, `findme ${text}`, { reply_to_seq: seq, attachment_ids: [file.id] });
  }
  return { all: all.id };
}

/** As browsers write a file's name into a form, and the server reads it. */
function wireName(text: string): string {
  return cleanName(text.replaceAll("\n", "%0A").replaceAll("\r", "%0D").replaceAll('"', "%22"));
}

/** Which marks in what was found do not read from left to right. */
const turned = `[...document.querySelectorAll("#found mark")].filter(({ firstChild }) => {
  const leftOf = (index) => {
    const range = document.createRange();
    range.setStart(firstChild, index);
    range.setEnd(firstChild, index + 1);
    return range.getBoundingClientRect().left;
  };
  return leftOf(0) >= leftOf(1);
}).map(({ parentElement }) => parentElement.textContent)`;

/** Nothing is wider than its place: neither the page nor the list of messages has to be pushed sideways. */
async function assertFits(page: Page): Promise<void> {
  for (const place of ["document.documentElement", "scroller", "messages"]) {
    const [width, room] = (await page.evaluate(`[${place}.scrollWidth, ${place}.clientWidth]`)) as [
      number,
      number,
    ];
    assert.ok(width <= room, `${place}: ${width} in ${room}`);
  }
}
