// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { eventually } from "../support/server.ts";
import { hasBrowser } from "./browser.ts";
import { withTalk } from "./window.ts";

// Finding one's way in a long discussion: replies, mentions, and what is new.

const inBrowser = hasBrowser ? test : test.skip;

inBrowser("a reply quotes what it answers and leads there, however far up it stands", () =>
  withTalk(async ({ ann, bob, asAnn, asBob, id }) => {
    await asAnn.send(id, "What I said at the very beginning.");
    for (let n = 2; n <= 120; n++) await asBob.send(id, `Line ${n}`);
    await asAnn.ok("PUT", `/discussions/${id}/read`, { seq: 120 });
    await ann.page.reload();
    await ann.message("Line 120").waitFor();
    await asBob.send(id, "Still true!", { reply_to_seq: 1 });
    const quote = ann.message("Still true!").getByRole("button", { name: /at the very beginning/ });
    await quote.waitFor();
    assert.equal(await ann.message("What I said").count(), 0, "it is too far up to be on the page");
    await quote.click();
    await ann.message("What I said").waitFor();
    await ann.page.getByRole("button", { name: "Newest" }).click();
    await ann.message("Still true!").waitFor();

    await bob.message("Line 119").waitFor();
    await bob.choose("Line 119", "Reply");
    await bob.page.getByText("Reply to Bob Okafor").waitFor();
    await bob.write("Answering 119.");
    await ann
      .message("Answering 119.")
      .getByRole("button", { name: /Line 119/ })
      .waitFor();
    const { items } = await asAnn.ok("GET", `/discussions/${id}/messages?limit=1`);
    assert.equal(items[0].reply_to_seq, 119);
    // What is quoted follows what becomes of it.
    await asBob.ok("PATCH", `/discussions/${id}/messages/119`, { content: "Line one hundred and nineteen" });
    await ann
      .message("Answering 119.")
      .getByRole("button", { name: /one hundred and nineteen/ })
      .waitFor();
    await asBob.ok("DELETE", `/discussions/${id}/messages/119`);
    await ann
      .message("Answering 119.")
      .getByRole("button", { name: /was deleted/ })
      .waitFor();
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

inBrowser("a mention is completed from the members' names and stands out to who is meant", () =>
  withTalk(async ({ ann, bob, asAnn, id }) => {
    const box = ann.page.getByRole("textbox", { name: "Message" });
    await box.pressSequentially("Dear @oka");
    await ann.page.getByRole("option", { name: /Bob Okafor/ }).waitFor();
    await box.press("Enter");
    assert.equal(await box.inputValue(), "Dear @bob ");
    await box.pressSequentially("and @nobody-here, hello.");
    await box.press("Enter");
    await bob.message("Dear @bob and @nobody-here, hello.").waitFor();
    assert.deepEqual(await bob.message("Dear").locator(".mention").allInnerTexts(), ["@bob"]);
    assert.equal(await bob.page.locator(".message.to-me").count(), 1);
    assert.equal(await ann.page.locator(".message.to-me").count(), 0);
    const { items } = await asAnn.ok("GET", `/discussions/${id}/messages`);
    assert.equal(items[0].mentions.length, 1);
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

inBrowser("what came while one was away stands below a line, and counts as read when it has been seen", () =>
  withTalk(async ({ ann, bob, asBob, id }) => {
    await ann.write("Before.");
    await bob.shows(["Before."]);
    const entry = ann.page.getByRole("navigation").getByRole("link", { name: /Tea kitchen/ });
    await ann.page.evaluate("location.hash = ''");
    for (let n = 1; n <= 60; n++) await asBob.send(id, `News ${n}`);
    await entry.filter({ hasText: "60 unread" }).waitFor();
    assert.equal(await ann.page.title(), "(1) Parley");
    await entry.click();
    await ann.message("News 1").first().waitFor();
    const line = ann.page.locator(".message.first-unread");
    assert.equal(await line.locator(".content").innerText(), "News 1");
    // The end is not in sight, so nothing is read yet.
    await ann.page.getByRole("button", { name: "60 new" }).click();
    await ann.message("News 60").waitFor();
    await entry.filter({ hasNotText: "unread" }).waitFor();
    await eventually(async () => {
      const { unread_count } = await asBob.ok("GET", `/discussions/${id}`);
      assert.equal(unread_count, 0);
    });
    await bob.page.getByText("Seen by Ann Lindqvist").waitFor();
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

test.run();
