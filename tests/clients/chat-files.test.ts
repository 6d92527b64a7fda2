// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { picture } from "../support/files.ts";
import { eventually } from "../support/server.ts";
import { hasBrowser } from "./browser.ts";
import { type Person, withTalk } from "./window.ts";

// Files on the chat page: chosen, dropped and pasted, sent and fetched again.

const inBrowser = hasBrowser ? test : test.skip;

inBrowser("files are sent with a message: images are seen, others can be had", () =>
  withTalk(async ({ ann, bob }) => {
    const picture = await ann.page.screenshot({ clip: { x: 0, y: 0, width: 640, height: 400 } });
    await ann.page.locator("#files").setInputFiles([
      { name: "a view.png", mimeType: "image/png", buffer: picture },
      { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("Read me.\n") },
    ]);
    await uploaded(ann, 2);
    await ann.write("Two files.");
    for (const person of [ann, bob]) {
      const message = person.message("Two files.");
      const image = message.getByRole("img", { name: "a view.png" });
      await eventually(async () =>
        assert.equal(await image.evaluate(({ naturalWidth }) => naturalWidth > 0, undefined), true),
      );
      const link = message.getByRole("link", { name: /notes\.txt/ });
      assert.match((await link.innerText()).replaceAll("\n", " "), /notes\.txt 9 bytes/);
      const download = person.page.waitForEvent("download");
      await link.click();
      assert.equal((await download).suggestedFilename(), "notes.txt");
    }
    await ann.page.getByText("Seen by Bob").waitFor();
    assert.equal(await ann.page.getByRole("list", { name: "Files to send" }).count(), 0);
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

inBrowser("a photo is sent without the place at which it was taken", () =>
  withTalk(async ({ ann, bob }) => {
    const photo = await picture("jpeg", { width: 300, height: 200, orientation: 6 });
    assert.ok(photo.includes("secret place"));
    await ann.page
      .locator("#files")
      .setInputFiles([{ name: "here.jpg", mimeType: "image/jpeg", buffer: photo }]);
    await uploaded(ann, 1);
    await ann.write("Guess where.");
    const image = bob.message("Guess where.").getByRole("img", { name: "here.jpg" });
    await eventually(async () =>
      assert.ok(await image.evaluate(({ naturalWidth }) => naturalWidth > 0, undefined)),
    );
    const address = (await image.evaluate((shown) => (shown as unknown as { src: string }).src)).split(
      "?",
    )[0];
    const original = await bob.page.evaluate(
      async (url) => [...new Uint8Array(await (await fetch(url)).arrayBuffer())],
      address ?? "",
    );
    const sent = Buffer.from(original);
    assert.ok(sent.length > 500 && !sent.includes("secret place"));
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

inBrowser("files can be dropped and pasted, taken away again, and sent without a word", () =>
  withTalk(async ({ ann, bob }) => {
    await give(ann, "#open", "drop", "dropped.txt");
    await give(ann, "#draft", "paste", "pasted.txt");
    await uploaded(ann, 2);
    await ann.page.getByRole("button", { name: "Remove dropped.txt" }).click();
    await uploaded(ann, 1);
    await ann.page.getByRole("button", { name: "Send" }).click();
    await bob.page.locator("a.file", { hasText: "pasted.txt" }).waitFor();
    assert.equal(await bob.page.locator("a.file", { hasText: "dropped" }).count(), 0);
    await ann.page
      .getByRole("link", { name: /Tea kitchen/ })
      .filter({ hasText: "You: pasted.txt" })
      .waitFor();
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

inBrowser("an upload that failed is repeated, and nothing is sent before it is there", () =>
  withTalk(async ({ ann, bob }) => {
    await ann.page.route("**/api/v1/attachments", (route) => route.abort());
    const file = { name: "late.txt", mimeType: "text/plain", buffer: Buffer.from("Here at last.") };
    await ann.page.locator("#files").setInputFiles([file]);
    await ann.page.getByRole("button", { name: "Try again" }).waitFor();
    assert.equal(await ann.page.getByRole("button", { name: "Send" }).isDisabled(), true);
    await ann.page.unroute("**/api/v1/attachments");
    await ann.page.getByRole("button", { name: "Try again" }).click();
    await uploaded(ann, 1);
    await ann.write("Late, but here.");
    await bob
      .message("Late, but here.")
      .getByRole("link", { name: /late\.txt/ })
      .waitFor();
    await ann.page
      .locator("#files")
      .setInputFiles([{ ...file, name: "huge", buffer: Buffer.alloc(11_000_000) }]);
    await ann.page.getByText("This file is too large.").waitFor();
    ann.assertNoErrors(/net::ERR_FAILED|status of 413/);
    bob.assertNoErrors();
  }),
);

inBrowser("one's picture is changed and taken away, for oneself and for the others", () =>
  withTalk(async ({ ann, bob }) => {
    await ann.write("How do I look?");
    const picture = await ann.page.screenshot({ clip: { x: 0, y: 0, width: 300, height: 300 } });
    const kind = (person: Person, place: string) =>
      person.page
        .locator(`${place} .avatar img`)
        .first()
        .evaluate(async (image) => {
          const { headers } = await fetch((image as unknown as { src: string }).src);
          return headers.get("content-type");
        });
    assert.equal(await kind(ann, "#me"), "image/svg+xml");
    await ann.page.getByTitle("Your account").click();
    await ann.page
      .locator("#picture-file")
      .setInputFiles([{ name: "me.png", mimeType: "image/png", buffer: picture }]);
    await eventually(async () => assert.equal(await kind(ann, "#me"), "image/webp"));
    await bob.page.reload();
    await bob.message("How do I look?").waitFor();
    assert.equal(await kind(bob, "#messages"), "image/webp");
    await ann.page.getByRole("button", { name: "Remove", exact: true }).click();
    await eventually(async () => assert.equal(await kind(ann, "#me"), "image/svg+xml"));
    for (const person of [ann, bob]) person.assertNoErrors();
  }),
);

test.run();

function uploaded({ page }: Person, count: number): Promise<void> {
  return eventually(async () => {
    assert.equal(await page.locator(".tray-file").count(), count);
    assert.equal(await page.locator(".tray-file progress").count(), 0);
    assert.equal(await page.locator(".tray-file.failed").count(), 0);
  });
}

/** As if a file came by the pointer or the clipboard, which tests have not. */
async function give({ page }: Person, place: string, how: "drop" | "paste", name: string): Promise<void> {
  const script = `(() => {
    const carried = new DataTransfer();
    carried.items.add(new File(["some text"], ${JSON.stringify(name)}, { type: "text/plain" }));
    const event = ${how === "drop"}
      ? new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: carried })
      : new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: carried });
    document.querySelector(${JSON.stringify(place)}).dispatchEvent(event);
  })()`;
  await page.evaluate(script);
}
