/** A real browser, where there is one. */
import { existsSync, readFileSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import type { Json } from "../support/client.ts";

export const chromiumPath = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
export const hasBrowser = existsSync(chromiumPath);
if (!hasBrowser) console.log(`NOT TESTED: no browser at ${chromiumPath} (CHROMIUM_PATH names another)`);

const scripts = ["client.js", "page.js"].map((name) => readFileSync(new URL(name, import.meta.url), "utf8"));

/** Headless, with an empty profile of its own that is removed at the end. */
export async function withBrowser(act: (browser: Browser) => Promise<void>): Promise<void> {
  const browser = await chromium.launch({
    executablePath: chromiumPath,
    headless: true,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  try {
    await act(browser);
  } finally {
    await browser.close();
  }
}

/** A person in a page of a browser profile of its own: `tell("call", "GET", "/users/me")` asks page.js. */
export interface PagePerson {
  page: Page;
  tell(what: string, ...args: unknown[]): Promise<Json>;
}

/** Opens an address of the server, whose origin the page then has. */
export async function openPerson(browser: Browser, url: string): Promise<PagePerson> {
  const context = await browser.newContext();
  for (const content of scripts) await context.addInitScript({ content });
  const page = await context.newPage();
  await page.goto(url);
  return {
    page,
    tell: (what, ...args) => page.evaluate(`person.${what}(${args.map(toJs).join(", ")})`),
  };
}

function toJs(value: unknown): string {
  return JSON.stringify(value) ?? "undefined";
}
