// time limit: 120 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { eventually } from "../support/server.ts";
import { hasBrowser } from "./browser.ts";
import { withTalk } from "./window.ts";

// Finding messages from the chat page.

const inBrowser = hasBrowser ? test : test.skip;

inBrowser("a search over all discussions leads to the message, however far up it stands", () =>
  withTalk(async ({ ann, asAnn, asBob, id }) => {
    await asBob.send(id, "The <b>samovar</b> & the kettle");
    for (let n = 2; n <= 90; n++) await asBob.send(id, `Line ${n}`);
    const direct = await asAnn.ok("POST", "/discussions", { kind: "direct", user_id: asBob.user.id });
    await asBob.send(direct.id, "Did you mention a samovar?");
    const { page } = ann;
    await page.reload();
    const field = page.getByRole("searchbox", { name: "Search messages" });
    const results = page.getByRole("region", { name: "Found" }).getByRole("link");
    await field.fill("samov");
    await eventually(async () => assert.equal(await results.count(), 2));
    await ann.picture("search");
    assert.equal(await page.getByRole("link", { name: /^Tea kitchen/ }).count(), 1, "the list has made room");
    const first = results.filter({ hasText: "<b>samovar</b> & the kettle" });
    assert.match(await first.locator("mark").innerText(), /^samov/);
    await first.filter({ hasText: "Tea kitchen" }).click();
    const message = ann.message("The <b>samovar</b> & the kettle");
    await message.waitFor();
    await eventually(async () => assert.ok(await message.evaluate(isInSight)));
    assert.equal(new URL(page.url()).hash, `#${id}`);
    // The same result again, after looking elsewhere.
    await page.getByRole("button", { name: /new.* ↓/i }).click();
    await ann.message("Line 90").waitFor();
    await first.click();
    await eventually(async () => assert.ok(await message.evaluate(isInSight)));

    await field.fill("no such words anywhere");
    await page.getByText("Nothing found.").waitFor();
    await field.press("Escape");
    await page
      .getByRole("list")
      .getByRole("link", { name: /^Bob Okafor/ })
      .waitFor();
    assert.equal(await field.inputValue(), "");
    ann.assertNoErrors();
  }),
);

test.run();

/** Runs in the page. */
function isInSight(element: { getBoundingClientRect(): { top: number; bottom: number } }): boolean {
  const { top, bottom } = element.getBoundingClientRect();
  return top > 100 && bottom < 660;
}
