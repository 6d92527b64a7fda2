import assert from "node:assert/strict";
import { test } from "uvu";
import type { Json } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import { hasBrowser, withBrowser } from "./browser.ts";

// The page at /docs as a developer uses it. SCREENSHOTS names a folder for a picture of it.
const inBrowser = hasBrowser ? test : test.skip;

test("the page may load nothing from elsewhere", () =>
  withServer(async (t) => {
    const response = await fetch(`${t.url}/docs`);
    const policy = response.headers.get("content-security-policy") ?? "";
    assert.match(policy, /^default-src 'none';/);
    assert.doesNotMatch(policy, /unsafe|https?:|\*/);
    const text = await response.text();
    const links = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link ?? "");
    assert.ok(links.length > 5);
    for (const link of links) assert.equal((await fetch(t.url + link)).status, 200, link);
    assert.doesNotMatch(text, /<script(?![^>]* src=)|<style| style=| on\w+=/);
  }));

inBrowser("it shows every operation, tries one out, and asks nobody else for anything", () =>
  withServer((t) =>
    withBrowser(async (browser) => {
      const page = await browser.newPage({ viewport: { width: 1_200, height: 900 } });
      const complaints: string[] = [];
      const origins = new Set<string>();
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) complaints.push(message.text());
      });
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("request", (request) => origins.add(new URL(request.url()).origin));
      await page.goto(`${t.url}/docs`);

      const document = (await (await fetch(`${t.url}/openapi.json`)).json()) as Json;
      const operations = Object.values<Json>(document.paths).flatMap((item) => Object.values<Json>(item));
      await page.getByText("Create an account and log in").waitFor();
      assert.equal(await page.locator(".opblock").count(), operations.length);
      const { SCREENSHOTS: folder } = process.env;
      if (folder) await page.screenshot({ path: `${folder}/docs.png` });

      // The body is the example of the document.
      await page.getByText("Create an account and log in").click();
      await page.getByRole("button", { name: "Try it out" }).click();
      await page.getByRole("button", { name: "Execute" }).click();
      await page.locator(".live-responses-table .response-col_status", { hasText: "201" }).waitFor();
      if (folder) await page.screenshot({ path: `${folder}/docs-tried.png`, fullPage: true });
      assert.deepEqual(complaints, []);
      assert.deepEqual([...origins], [t.url]);
    }),
  ),
);

test.run();
