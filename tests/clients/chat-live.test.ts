// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { password } from "../support/client.ts";
import { eventually } from "../support/server.ts";
import { hasBrowser } from "./browser.ts";
import { type Person, withTalk } from "./window.ts";

// What passes between open pages: who types, who is there, and what happened while the network was away.

const inBrowser = hasBrowser ? test : test.skip;

inBrowser("the others see that one types, until the message is there or nothing comes", () =>
  withTalk(async ({ ann, bob }) => {
    const told: number[] = [];
    bob.page.on("request", (request) => {
      if (request.url().endsWith("/typing")) told.push(Date.now());
    });
    const box = bob.page.getByRole("textbox", { name: "Message" });
    const line = ann.page.locator("#typing");
    await box.pressSequentially("Hold on a moment", { delay: 250 });
    await line.filter({ hasText: "Bob Okafor is typing…" }).waitFor();
    await ann.page
      .getByRole("link", { name: /Tea kitchen/ })
      .filter({ hasText: "is typing…" })
      .waitFor();
    assert.equal(await bob.page.locator("#typing").innerText(), "", "nobody is told of their own typing");
    await box.press("Enter");
    await line.filter({ hasNotText: "typing" }).waitFor({ state: "attached" });
    await ann.shows(["Hold on a moment"]);
    assert.ok(told.length >= 2 && told.length <= 3, `told ${told.length} times in four seconds`);

    await box.pressSequentially("x");
    await line.filter({ hasText: "Bob Okafor is typing…" }).waitFor();
    await line.filter({ hasNotText: "typing" }).waitFor({ state: "attached", timeout: 15_000 });
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

inBrowser("a dot tells who is there", () =>
  withTalk(async ({ ann, bob }) => {
    const state = ann.page.locator("#subtitle");
    const dot = ann.page.getByRole("link", { name: /Bob Okafor/ }).locator(".avatar[data-online]");
    await state.filter({ hasText: "online" }).waitFor();
    await dot.waitFor();
    await bob.page.context().close();
    await state.filter({ hasText: "last seen" }).waitFor({ timeout: 60_000 });
    await dot.waitFor({ state: "detached" });
    ann.assertNoErrors();
  }, "direct"),
);

inBrowser("what happened while the network was away is the same on the page as on a fresh one", () =>
  withTalk(async ({ ann, bob, asAnn, asBob, id, open, proxy }) => {
    const path = `/discussions/${id}/messages`;
    for (const text of ["one", "two", "three", "four"]) await asBob.send(id, text);
    await asAnn.ok("PUT", `${path}/1/reactions/${encodeURIComponent("👍")}`);
    await ann.shows(["one", "two", "three", "four"]);
    for (let round = 1; round <= 2; round++) {
      const back = proxy.refuse(2_000);
      for (const person of [ann, bob])
        await person.page.getByRole("status").filter({ hasText: "Reconnecting" }).waitFor();
      // The others are not cut off; and Ann writes on, without a network.
      await asBob.ok("PATCH", `${path}/2`, { content: `two, edited in round ${round}` });
      await asBob.ok("PUT", `${path}/1/reactions/${encodeURIComponent(round === 1 ? "🎉" : "👍")}`);
      await asBob.ok("DELETE", `${path}/1/reactions/${encodeURIComponent("👍")}`);
      if (round === 2) await asBob.ok("DELETE", `${path}/3`);
      await asBob.send(id, `from Bob in round ${round}`, { reply_to_seq: 2 });
      await ann.write(`from Ann in round ${round}`);
      await back;
      for (const person of [ann, bob]) {
        await person.isLive();
        await person.message(`from Ann in round ${round}`).filter({ hasNotText: "Sending" }).waitFor();
      }
    }
    const fresh = await open();
    await fresh.logIn("ann", password);
    await fresh.page
      .getByRole("navigation")
      .getByRole("link", { name: /Tea kitchen/ })
      .click();
    await fresh.message("from Ann in round 2").waitFor();
    await eventually(async () => {
      const expected = await shown(fresh);
      assert.equal(expected.length, 8);
      assert.deepEqual(await shown(ann), expected);
      assert.deepEqual(
        (await shown(bob)).map(([content]) => content),
        expected.map(([content]) => content),
      );
    });
    for (const person of [ann, bob]) person.assertNoErrors(/net::ERR_/);
  }),
);

test.run();

/** All that a page shows of each message but its time. */
function shown(person: Person): Promise<string[][]> {
  return person.page
    .locator("#messages > li")
    .evaluateAll((items) =>
      items.map((item) =>
        [".content", ".quoted", ".edited", ".reactions"].map(
          (part) => item.querySelector(part)?.textContent ?? "",
        ),
      ),
    );
}
