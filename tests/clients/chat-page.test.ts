// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { Client, password, register } from "../support/client.ts";
import { hasBrowser } from "./browser.ts";
import { withLastingProgram } from "./program.ts";
import { withPage } from "./window.ts";

// The chat page as people use it, each in a browser window of their own; things are found by what a
// person sees and hears: labels, roles and text.

const inBrowser = hasBrowser ? test : test.skip;

test("the page is served with all that it is made of, and may load nothing from elsewhere", () =>
  withLastingProgram(async (program) => {
    const waiting = new Set(["/"]);
    const types = new Set<string>();
    for (const path of waiting) {
      const response = await fetch(program.url() + path);
      assert.equal(response.status, 200, path);
      const type = response.headers.get("content-type") ?? "";
      types.add(type.split(";")[0] ?? "");
      assert.match(response.headers.get("content-security-policy") ?? "", /^default-src 'none';/, path);
      const text = await response.text();
      const links = /(?:src|href)="(\/[^"#]*)"|from "\.(\/[^"]+)"/g;
      for (const [, link, module] of text.matchAll(links)) waiting.add(link ?? module ?? "");
    }
    assert.ok(waiting.size > 10, [...waiting].join(" "));
    assert.deepEqual([...types].sort(), ["image/svg+xml", "text/css", "text/html", "text/javascript"]);
  }));

inBrowser("two people talk in two windows", () =>
  withPage(async ({ url, open }) => {
    const ann = await open();
    await ann.page.locator("label", { hasText: "Create account" }).click();
    await ann.page.getByLabel("Username").fill("ann");
    await ann.page.getByLabel("Name shown to others").fill("Ann Lindqvist");
    await ann.page.getByLabel("Password").fill(password);
    await ann.page.getByRole("button", { name: "Create account" }).click();
    await ann.isLive();

    await register(url, "bob", { display_name: "Bob Okafor" });
    const bob = await open();
    await bob.logIn("bob", "not his password");
    await bob.page.getByRole("alert").filter({ hasText: /\w/ }).waitFor();
    await bob.logIn("bob", password);
    await bob.isLive();

    await ann.page.getByRole("button", { name: "New message" }).click();
    await ann.page.getByLabel("Find a person").fill("bob");
    await ann.page.getByRole("button", { name: /Bob Okafor/ }).click();
    await ann.write("Hello, Bob!");

    // Bob has had no discussion till now: his page learns of it, and of the message in it, by its stream.
    const entry = bob.page
      .getByRole("navigation", { name: "Discussions" })
      .getByRole("link", { name: /Ann/ });
    await entry.filter({ hasText: "1 unread" }).waitFor();
    await entry.click();
    await bob.shows(["Hello, Bob!"]);
    await ann.page.getByText("Seen", { exact: true }).waitFor();

    const strange = ["<img src=x onerror=alert(1)> & <b>not bold</b>", "😀 שלום مرحبا 你好", "two\nlines"];
    const said = ["Hello, Bob!"];
    for (const [index, text] of [...strange, "See https://example.com/ for more.", "Fine."].entries()) {
      await (index % 2 ? ann : bob).write(text);
      said.push(text);
      await ann.shows(said);
      await bob.shows(said);
    }
    await ann.picture("ann");
    await bob.picture("bob");
    await bob.page.reload();
    await bob.shows(said);
    await bob.page.setViewportSize({ width: 390, height: 780 });
    await bob.picture("bob-phone");
    ann.assertNoErrors();
    bob.assertNoErrors();
  }),
);

inBrowser("what is written while the network is away arrives once when it is back", () =>
  withPage(async ({ url, open, proxy }) => {
    const [ann, bob] = [await open(), await open()];
    const first = await register(url, "ann", { display_name: "Ann" });
    const second = await register(url, "bob", { display_name: "Bob" });
    const { id } = await first.ok("POST", "/discussions", { kind: "direct", user_id: second.user.id });
    for (const [person, name] of [
      [ann, "ann"],
      [bob, "bob"],
    ] as const) {
      await person.logIn(name, password);
      await person.isLive();
      await person.page.goto(`${person.page.url().split("#")[0]}#${id}`);
      await person.page.getByRole("textbox", { name: "Message" }).waitFor();
    }
    const said: string[] = [];
    for (let round = 1; round <= 2; round++) {
      const back = proxy.refuse(1_500);
      await ann.page.getByRole("status").filter({ hasText: "Reconnecting" }).waitFor();
      for (const text of [`round ${round}, one`, `round ${round}, two`]) {
        await ann.write(text);
        said.push(text);
      }
      if (round === 1) await ann.picture("ann-offline");
      await back;
      await ann.isLive();
      await bob.isLive();
      await ann.shows(said);
      await bob.shows(said);
    }
    const { items } = await first.ok("GET", `/discussions/${id}/messages`);
    assert.deepEqual(
      items.map(({ content }: { content: string }) => content),
      said,
    );
    ann.assertNoErrors(/net::ERR_/);
    bob.assertNoErrors(/net::ERR_/);
  }),
);

inBrowser("a public group is found, joined and talked in", () =>
  withPage(async ({ url, open }) => {
    for (const [name, display_name] of [
      ["ann", "Ann"],
      ["bob", "Bob"],
    ] as const) {
      await register(url, name, { display_name });
    }
    const [ann, bob] = [await open(), await open()];
    await ann.logIn("ann", password);
    await bob.logIn("bob", password);

    await ann.page.getByRole("button", { name: "New group" }).click();
    await ann.page.getByLabel("Name of the group").fill("Town square");
    await ann.page.getByRole("checkbox", { name: /^Public/ }).check();
    await ann.page.getByRole("button", { name: "Create group" }).click();
    await ann.write("Anyone here?");

    await bob.page.getByRole("button", { name: "Find groups" }).click();
    await bob.page.getByLabel("Find a public group").fill("town");
    await bob.page.getByRole("button", { name: /Town square/ }).click();
    await bob.shows(["Anyone here?"]);
    await bob.write("I am.");
    await ann.shows(["Anyone here?", "I am."]);
    await ann.page.getByText("Public group, 2 members").waitFor();
    await ann.picture("group");

    await ann.page.getByRole("button", { name: "Details" }).click();
    ann.page.on("dialog", (dialog) => dialog.accept());
    await ann.picture("details");
    await ann.page.getByRole("button", { name: "Delete for everyone" }).click();
    await bob.page.getByText("No discussions yet").waitFor();
    // A read mark that was under way when the group went finds nothing, and the browser says so.
    ann.assertNoErrors(/status of 404/);
    bob.assertNoErrors(/status of 404/);
  }),
);

inBrowser("logging out elsewhere ends the page's stream, and logging out here leads to the door", () =>
  withPage(async ({ url, open }) => {
    await register(url, "ann");
    const [one, other] = [await open(), await open()];
    await one.logIn("ann", password);
    await one.isLive();
    await other.logIn("ann", password);
    await other.isLive();

    const client = new Client(url);
    client.token = (await client.ok("POST", "/auth/login", { username: "ann", password })).access_token;
    const { items } = await client.ok("GET", "/auth/sessions");
    const oldestFirst = items
      .filter(({ current }: { current?: boolean }) => !current)
      .sort((a: { created_at: string }, b: { created_at: string }) => (a.created_at < b.created_at ? -1 : 1));
    // The oldest is the one of registering.
    await client.ok("DELETE", `/auth/sessions/${oldestFirst[1].id}`);
    await one.page.getByRole("status").filter({ hasText: "logged out" }).waitFor();
    await one.picture("ended");
    await other.isLive();

    await other.page.getByRole("button", { name: "Log out" }).click();
    await other.page.getByRole("button", { name: "Log in" }).waitFor();
    await other.page.reload();
    await other.page.getByRole("button", { name: "Log in" }).waitFor();
  }),
);

test.run();
