// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { eventually } from "../support/server.ts";
import { hasBrowser } from "./browser.ts";
import { type Person, withTalk } from "./window.ts";

// What people do with messages after they were sent, in two windows.

const inBrowser = hasBrowser ? test : test.skip;
const both = (t: { ann: Person; bob: Person }) => [t.ann, t.bob];

inBrowser("a message is edited, and its earlier versions can be read", () =>
  withTalk(async ({ ann, bob }) => {
    await ann.write("Teh kettle is on.");
    await ann.choose("Teh kettle", "Edit");
    const box = ann.page.getByRole("textbox", { name: "Message" });
    assert.equal(await box.inputValue(), "Teh kettle is on.");
    await box.fill("The kettle is on.");
    await box.press("Enter");
    for (const person of [ann, bob]) {
      await person.shows(["The kettle is on."]);
      await person.message("The kettle").getByRole("button", { name: "edited" }).click();
      const versions = person.page.getByRole("dialog", { name: "Versions" });
      await eventually(async () =>
        assert.deepEqual(await versions.locator(".content").allInnerTexts(), [
          "The kettle is on.",
          "Teh kettle is on.",
        ]),
      );
      await versions.getByRole("button", { name: "Close" }).click();
    }
    assert.equal(await box.inputValue(), "", "the field is free again");
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

inBrowser("the arrow up edits one's last message, and Escape gives the draft back", () =>
  withTalk(async ({ ann }) => {
    await ann.write("One.");
    await ann.shows(["One."]);
    const box = ann.page.getByRole("textbox", { name: "Message" });
    await box.press("ArrowUp");
    await ann.page.getByText("Editing", { exact: true }).waitFor();
    assert.equal(await box.inputValue(), "One.");
    await box.press("Escape");
    assert.equal(await box.inputValue(), "");
    await box.fill("A draft");
    await ann.choose("One.", "Edit");
    await box.fill("Two.");
    await box.press("Enter");
    await ann.shows(["Two."]);
    await eventually(async () => assert.equal(await box.inputValue(), "A draft"));
    ann.assertNoErrors();
  }),
);

inBrowser("a deleted message leaves a line that says so, and nobody can do anything with it", () =>
  withTalk(async ({ ann, bob, asBob, id }) => {
    for (const person of [ann, bob]) person.page.on("dialog", (dialog) => dialog.accept());
    await bob.write("A secret.");
    await bob.write("Bob's second.");
    await ann.shows(["A secret.", "Bob's second."]);
    await ann.write("Ann's.");
    await ann.shows(["A secret.", "Bob's second.", "Ann's."]);
    await bob.choose("A secret.", "Delete");
    for (const person of [ann, bob])
      await person.shows(["This message was deleted", "Bob's second.", "Ann's."]);
    // Ann owns the group; Bob is a member, and is not offered what he may not do.
    await bob.message("Ann's.").hover();
    await bob.message("Ann's.").getByRole("button", { name: "React, reply and more" }).click();
    await bob.page.locator("#menu").getByRole("button", { name: "Reply" }).waitFor();
    assert.equal(await bob.page.locator("#menu").getByRole("button", { name: "Delete" }).count(), 0);
    assert.equal(await bob.page.locator("#menu").getByRole("button", { name: "Edit" }).count(), 0);
    await ann.choose("Bob's second.", "Delete");
    await bob.shows(["This message was deleted", "This message was deleted", "Ann's."]);
    assert.equal(await ann.message("This message was deleted").getByRole("button").count(), 0);
    await bob.page.reload();
    await bob.shows(["This message was deleted", "This message was deleted", "Ann's."]);
    const { items } = await asBob.ok("GET", `/discussions/${id}/messages`);
    assert.deepEqual(
      items.map(({ content }: { content: string }) => content),
      ["", "", "Ann's."],
    );
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

inBrowser("reactions are counted, one's own stand out, and pointing at them tells the names", () =>
  withTalk(async (t) => {
    const { ann, bob } = t;
    await ann.write("Cake at three.");
    await bob.choose("Cake", "🎉");
    const chip = (person: Person, emoji: string) =>
      person.message("Cake").getByRole("button", { name: new RegExp(`^${emoji}`) });
    await chip(ann, "🎉").waitFor();
    assert.equal(await chip(bob, "🎉").getAttribute("aria-pressed"), "true");
    assert.equal(await chip(ann, "🎉").getAttribute("aria-pressed"), "false");
    await chip(ann, "🎉").click();
    for (const person of both(t))
      await eventually(async () => assert.equal(await chip(person, "🎉").innerText(), "🎉 2"));
    await ann.message("Cake").locator(".sender").hover({ force: true });
    await chip(ann, "🎉").hover();
    await eventually(async () =>
      assert.equal(await chip(ann, "🎉").getAttribute("title"), "Bob Okafor and you"),
    );
    // Any other emoji can be typed, and so can names.
    for (const [typed, shown] of [
      ["🦜", "🦜"],
      [":shipit:", ":shipit:"],
    ] as const) {
      await ann.message("Cake").hover();
      await ann.message("Cake").getByRole("button", { name: "React, reply and more" }).click();
      await ann.page.getByLabel("Another emoji").fill(typed);
      await ann.page.getByLabel("Another emoji").press("Enter");
      await chip(bob, shown).waitFor();
    }
    await chip(ann, "🎉").click();
    await chip(bob, "🎉").click();
    for (const person of both(t)) await chip(person, "🎉").waitFor({ state: "detached" });
    for (const person of both(t)) person.assertNoErrors();
  }),
);

inBrowser("the keyboard alone reaches the menu of a message, and stays where it was", () =>
  withTalk(async ({ ann, bob }) => {
    await bob.write("No mouse today.");
    await ann.shows(["No mouse today."]);
    const { keyboard } = ann.page;
    const focused = () => ann.page.evaluate("document.activeElement.dataset.act ?? ''");
    await ann.page.getByRole("textbox", { name: "Message" }).focus();
    for (let n = 0; n < 5 && (await focused()) !== "menu"; n++) await keyboard.press("Shift+Tab");
    assert.equal(await focused(), "menu");
    await keyboard.press("Enter");
    await keyboard.press("ArrowRight");
    await keyboard.press("Enter");
    await bob.message("No mouse").getByRole("button", { name: "❤️" }).waitFor();
    await ann.message("No mouse").getByRole("button", { name: "❤️" }).waitFor();
    assert.equal(await focused(), "menu");
    await keyboard.press("Enter");
    await keyboard.press("Escape");
    assert.equal(await focused(), "menu");
    await keyboard.press("Tab");
    assert.equal(await focused(), "react ❤️");
    await keyboard.press("Enter");
    await bob.message("No mouse").getByRole("button", { name: "❤️" }).waitFor({ state: "detached" });
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

test.run();
