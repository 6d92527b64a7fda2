// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { password, register } from "../support/client.ts";
import { hasBrowser } from "./browser.ts";
import { type Person, withPage } from "./window.ts";

// Whatever people write stays text, wherever the page shows it.

const inBrowser = hasBrowser ? test : test.skip;

/** Each would set `window.run` if any of it became markup, script or an address that runs. */
const corpus = [
  "<img src=x onerror=run=1>",
  "<script>run=1</script>",
  "<svg onload=run=1>",
  "\"'><iframe srcdoc='<script>parent.run=1</script>'>",
  'javascript:run=1//https://a.b/"onmouseover="run=1',
  "</mark><mark><b onclick=run=1>&lt;img src=x onerror=run=1&gt;&amp;lt;i&amp;gt;",
  "https://x.test/\"onfocus=run=1/autofocus='<style>@import'//javascript:run=1",
  "{{constructor.constructor('run=1')()}}",
  '<a href="javascript:run=1">\u202Etxt.exe</a>\u0000\u2028<!--',
  "<details open ontoggle=run=1><template><img src=x onerror=run=1></template>",
];
/** What the server takes everywhere: without NUL. */
const texts = corpus.map((text) => text.replaceAll("\u0000", ""));

inBrowser("no name, message, file name or snippet becomes more than text", () =>
  withPage(async ({ url, open }) => {
    const evil = await register(url, "evil", { display_name: text(0, 64) });
    await evil.ok("PATCH", "/users/me", { status_text: text(3, 140) });
    const ann = await register(url, "ann", { display_name: text(1, 64) });
    const member_ids = [ann.user.id];
    for (const name of texts.slice(1))
      await evil.ok("POST", "/discussions", { kind: "group", name: name.slice(0, 100), member_ids });
    const { id } = await evil.ok("POST", "/discussions", {
      kind: "group",
      name: text(0, 100),
      member_ids,
      visibility: "public",
    });
    for (const content of texts) await evil.send(id, `findme ${content} @ann`, { reply_to_seq: null });
    for (const [index, content] of texts.entries())
      await evil.send(id, content, {
        reply_to_seq: index + 1,
        attachment_ids: [await upload(evil.token, url, content)],
      });
    await evil.ok("PATCH", `/discussions/${id}/messages/1`, { content: `findme again ${text(2)} @ann` });
    await evil.ok("PUT", `/discussions/${id}/messages/1/reactions/shipit`);

    const reader = await open();
    await reader.logIn("ann", password);
    await reader.isLive();
    const { page } = reader;
    await page.goto(`${page.url().split("#")[0]}#${id}`);
    const last = reader.message(texts.at(-1)?.slice(0, 20) ?? "");
    await last.last().waitFor();
    await assertUnharmed(reader);
    await page.locator("#messages").getByRole("button", { name: "edited" }).click();
    await page.getByRole("dialog", { name: "Versions" }).locator(".content").nth(1).waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".reaction").hover();
    await page.locator("#messages > li").last().hover();
    await page.locator("#messages > li").last().getByRole("button", { name: "React, reply" }).click();
    await page.getByRole("button", { name: "Reply", exact: true }).click();
    await page.getByRole("textbox", { name: "Message" }).pressSequentially("@ev");
    await page.getByRole("option").waitFor();
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Details", exact: true }).click();
    await page.locator("#members li").nth(1).waitFor();
    await page.keyboard.press("Escape");
    await page.getByTitle("Your account").click();
    await page.keyboard.press("Escape");
    for (const [button, label] of [
      ["New message", "Find a person"],
      ["Find groups", "Find a public group"],
    ] as const) {
      await page.getByRole("button", { name: button }).click();
      await page.getByLabel(label).fill("<");
      await page.locator("#results li").first().waitFor();
      await page.locator("#finder").getByRole("button", { name: "Close" }).click();
    }
    await assertUnharmed(reader);
    await page.getByRole("searchbox", { name: "Search messages" }).fill("findme");
    await page
      .locator("#found mark")
      .nth(texts.length - 1)
      .waitFor();
    await assertUnharmed(reader);
    const found = await page.locator("#found .found-text").allInnerTexts();
    for (const content of texts.slice(1))
      assert.ok(
        found.some((line) => line.includes(content.slice(0, 20))),
        `${content} in ${found.join("\n")}`,
      );
    await reader.picture("corpus");
    // Nor does it burst the smallest windows.
    await evil.send(id, `wide${"W".repeat(500)} https://example.com/${"w/".repeat(300)}`);
    await reader.message("wide").waitFor();
    await page.setViewportSize({ width: 360, height: 740 });
    for (const place of ["document.documentElement", "scroller", "messages"]) {
      const [width, room] = (await page.evaluate(`[${place}.scrollWidth, ${place}.clientWidth]`)) as number[];
      assert.ok((width ?? 0) <= (room ?? 0), `${place}: ${width} in ${room}`);
    }
    await reader.picture("corpus-narrow");
    reader.assertNoErrors();
  }),
);

test.run();

function text(index: number, most = 16_000): string {
  return (texts[index] ?? "").slice(0, most);
}

async function upload(token: string, url: string, name: string): Promise<string> {
  const form = new FormData();
  form.append("file", new Blob(["<script>parent.run=1</script>"]), name);
  const response = await fetch(`${url}/api/v1/attachments`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: form,
  });
  assert.equal(response.status, 201, await response.clone().text());
  return ((await response.json()) as { id: string }).id;
}

async function assertUnharmed({ page }: Person): Promise<void> {
  const state = await page.evaluate(`({
    run: window.run ?? null,
    scripts: document.scripts.length,
    strange: document.querySelectorAll("iframe, embed, object, style, b, #chat template").length,
    handlers: [...document.querySelectorAll("*")].filter((element) =>
      element.getAttributeNames().some((name) => name.startsWith("on"))).length,
    addresses: [...document.links].map(({ href }) => href).filter((href) => !/^https?:/.test(href)),
  })`);
  assert.deepEqual(state, { run: null, scripts: 1, strange: 0, handlers: 0, addresses: [] });
}
