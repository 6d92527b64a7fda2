/** The chat page in front of people. SCREENSHOTS names a folder for pictures of it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { type Client, password, register } from "../support/client.ts";
import { createRandom } from "../support/random.ts";
import { eventually } from "../support/server.ts";
import { withBrowser } from "./browser.ts";
import { withLastingProgram } from "./program.ts";
import { openProxy, type RoughProxy } from "./proxy.ts";

const random = createRandom();

/** Somebody in front of a window. */
export interface Person {
  page: Page;
  logIn(username: string, password: string): Promise<void>;
  isLive(): Promise<void>;
  /** Writes into the open discussion. */
  write(text: string): Promise<void>;
  /** The open discussion shows just these messages, in this order. */
  shows(contents: string[]): Promise<void>;
  /** The message that has this text in it. */
  message(text: string): Locator;
  /** Chooses something from the menu of the message that has this text. */
  choose(text: string, what: string): Promise<void>;
  picture(name: string): Promise<void>;
  /** Nothing failed in the page but what is `allowed`. */
  assertNoErrors(allowed?: RegExp): void;
}

export interface Ground {
  url: string;
  proxy: RoughProxy;
  open(options?: BrowserContextOptions): Promise<Person>;
}

/** Two people who have the same group open, and the same two as users of the REST API. */
export interface Talk extends Ground {
  ann: Person;
  bob: Person;
  asAnn: Client;
  asBob: Client;
  id: string;
}

/** Runs a test with Ann and Bob in the group "Tea kitchen", whose owner is Ann, or one to one. */
export async function withTalk(act: (t: Talk) => Promise<void>, kind = "group"): Promise<void> {
  await withPage(async (ground) => {
    const asAnn = await register(ground.url, "ann", { display_name: "Ann Lindqvist" });
    const asBob = await register(ground.url, "bob", { display_name: "Bob Okafor" });
    const fields =
      kind === "group" ? { name: "Tea kitchen", member_ids: [asBob.user.id] } : { user_id: asBob.user.id };
    const { id } = await asAnn.ok("POST", "/discussions", { kind, ...fields });
    const enter = async (username: string) => {
      const person = await ground.open();
      await person.logIn(username, password);
      await person.isLive();
      await person.page.getByRole("navigation").getByRole("link").first().click();
      await person.page.getByRole("textbox", { name: "Message" }).waitFor();
      return person;
    };
    await act({ ...ground, ann: await enter("ann"), bob: await enter("bob"), asAnn, asBob, id });
  });
}

/** A server behind a proxy, and windows onto it. */
export async function withPage(act: (t: Ground) => Promise<void>): Promise<void> {
  await withLastingProgram(async (program) => {
    const proxy = await openProxy(program.url(), random);
    try {
      await withBrowser(async (browser) => {
        const open = (options?: BrowserContextOptions) => openWindow(browser, proxy.url, options);
        await act({ url: program.url(), proxy, open });
      });
      assert.deepEqual(program.complaints(), [], "the server logged errors");
    } finally {
      await proxy.close();
    }
  });
}

async function openWindow(browser: Browser, url: string, options?: BrowserContextOptions): Promise<Person> {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, ...options });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const problems = listenForProblems(page);
  await page.goto(url);
  const messages = page.getByRole("region", { name: "Messages" });
  const message = (text: string) =>
    messages.locator("li.message").filter({ has: page.locator(".content", { hasText: text }) });
  return {
    page,
    logIn: async (username, secret) => {
      await page.getByLabel("Username or e-mail").fill(username);
      await page.getByLabel("Password").fill(secret);
      await page.getByRole("button", { name: "Log in" }).click();
    },
    isLive: () => page.getByRole("status").filter({ hasText: "Live" }).waitFor(),
    write: async (text) => {
      const box = page.getByRole("textbox", { name: "Message" });
      for (const [index, line] of text.split("\n").entries()) {
        if (index > 0) await box.press("Shift+Enter");
        await box.pressSequentially(line);
      }
      await box.press("Enter");
    },
    shows: (contents) => showsJust(messages, contents),
    message,
    choose: async (text, what) => {
      await message(text).hover();
      await message(text).getByRole("button", { name: "React, reply and more" }).click();
      await page.locator("#menu").getByRole("button", { name: what, exact: true }).click();
    },
    picture: async (name) => {
      const folder = process.env.SCREENSHOTS;
      if (folder) await page.screenshot({ path: join(folder, `chat-${name}.png`) });
    },
    assertNoErrors: (allowed) =>
      assert.deepEqual(
        problems.filter((problem) => !allowed?.test(problem)),
        [],
      ),
  };
}

function showsJust(messages: Locator, contents: string[]): Promise<void> {
  return eventually(async () => {
    assert.deepEqual(await messages.locator("li .content").allInnerTexts(), contents);
    // What is not stored yet stands there too, with a word about it.
    assert.equal(await messages.getByText(/^(Sending|Not sent)/).count(), 0);
  }, 15_000);
}

/** Errors and warnings of the page; a refused password and a first visit without a cookie are no mistakes. */
function listenForProblems(page: Page): string[] {
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.stack ?? error.message));
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    if (message.text().includes("status of 401")) return;
    problems.push(message.text());
  });
  return problems;
}
