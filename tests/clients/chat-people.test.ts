// time limit: 240 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { Client, password, register } from "../support/client.ts";
import { eventually } from "../support/server.ts";
import { hasBrowser } from "./browser.ts";
import { withTalk } from "./window.ts";

// Who may do what in a discussion, whom one wants to hear, and the end of an account.

const inBrowser = hasBrowser ? test : test.skip;

inBrowser("owners give roles and remove members, who may leave, too", () =>
  withTalk(async ({ url, ann, bob, asAnn, id }) => {
    const cem = await register(url, "cem", { display_name: "Cem Aydın" });
    await asAnn.ok("POST", `/discussions/${id}/members`, { user_ids: [cem.user.id] });
    for (const person of [ann, bob]) person.page.on("dialog", (dialog) => dialog.accept());
    await bob.page.getByRole("button", { name: "Details" }).click();
    const members = bob.page.getByRole("dialog", { name: "Tea kitchen" }).locator("#members");
    await members.getByText("Cem Aydın").waitFor();
    assert.equal(await members.getByRole("combobox").count(), 0, "Bob may change no roles");
    await ann.page.getByRole("button", { name: "Details" }).click();
    await ann.page.getByRole("combobox", { name: "Role of Bob Okafor" }).selectOption("admin");
    await members.getByRole("button", { name: "Remove Cem Aydın" }).click();
    await members.getByText("Cem Aydın").waitFor({ state: "detached" });
    await bob.page.getByLabel("Name", { exact: true }).fill("Coffee kitchen");
    await bob.page.getByRole("button", { name: "Rename" }).click();
    await ann.page.getByRole("heading", { name: "Coffee kitchen" }).first().waitFor();
    await ann.page.getByRole("button", { name: "Leave" }).click();
    await ann.page.getByText("Make somebody else an owner first").waitFor();
    await bob.page.getByRole("button", { name: "Leave" }).click();
    await bob.page.getByText("No discussions yet").waitFor();
    await ann.page.getByText("Group, 1 member").waitFor();
    ann.assertNoErrors(/status of 409/);
    bob.assertNoErrors(/status of 404/);
  }),
);

inBrowser("a muted discussion makes no noise until it is unmuted", () =>
  withTalk(async ({ ann, asAnn, asBob, id }) => {
    await ann.page.getByRole("button", { name: "Details" }).click();
    await ann.page.getByLabel("Notifications").selectOption("Mute for 8 hours");
    const entry = ann.page.getByRole("navigation").getByRole("link", { name: /Tea kitchen/ });
    await ann.page.locator("#muted").filter({ visible: true }).waitFor();
    await ann.picture("muted");
    await ann.page.keyboard.press("Escape");
    await ann.page.evaluate("location.hash = ''");
    await asBob.send(id, "Psst.");
    await entry.filter({ hasText: "1 unread" }).waitFor();
    assert.equal(await ann.page.title(), "Parley");
    const { muted_until } = await asAnn.ok("GET", `/discussions/${id}`);
    assert.ok(Date.parse(muted_until) > Date.now() + 7 * 3_600_000);
    await ann.page.reload();
    await entry.click();
    await ann.page.getByRole("button", { name: "Details" }).click();
    await ann.page.getByLabel("Notifications").selectOption("On");
    await ann.page.locator("#muted").filter({ visible: false }).waitFor({ state: "attached" });
    assert.equal((await asAnn.ok("GET", `/discussions/${id}`)).muted_until, null);
    ann.assertNoErrors();
  }),
);

inBrowser("who is blocked cannot write one to one, and is told so", () =>
  withTalk(async ({ ann, bob }) => {
    ann.page.on("dialog", (dialog) => dialog.accept());
    await ann.page.getByRole("button", { name: "Details" }).click();
    await ann.page.getByRole("button", { name: "Block", exact: true }).click();
    await ann.page.getByRole("button", { name: "Unblock" }).waitFor();
    await bob.write("Why?");
    await bob.page.getByText(/^Not sent: /).waitFor();
    await ann.page.getByRole("button", { name: "Unblock" }).click();
    await ann.page.getByRole("button", { name: "Block", exact: true }).waitFor();
    await ann.page.keyboard.press("Escape");
    await bob.page.getByRole("button", { name: "Try again" }).click();
    await ann.shows(["Why?"]);
    ann.assertNoErrors();
    bob.assertNoErrors(/status of 403/);
  }, "direct"),
);

inBrowser("an account is deleted with its password; what it said stays, without its name", () =>
  withTalk(async ({ url, ann, bob }) => {
    bob.page.on("dialog", (dialog) => dialog.accept());
    await bob.write("Farewell.");
    await ann.shows(["Farewell."]);
    await bob.page.getByTitle("Your account").click();
    await bob.page.getByText("Delete account").click();
    await bob.page.getByLabel("Your password").fill("not his password");
    await bob.page.getByRole("button", { name: "Delete my account" }).click();
    await bob.page.locator("#account-error").filter({ hasText: /\w/ }).waitFor();
    await bob.page.getByLabel("Your password").fill(password);
    await bob.page.getByRole("button", { name: "Delete my account" }).click();
    await bob.page.getByRole("button", { name: "Log in" }).waitFor();
    const answer = await new Client(url).call("POST", "/auth/login", { username: "bob", password });
    assert.equal(answer.status, 401);
    await ann.page.reload();
    await ann
      .message("Farewell.")
      .locator(".sender", { hasText: "Deleted user" })
      .waitFor({ state: "attached" });
    ann.assertNoErrors();
  }),
);

inBrowser("one's name and password are changed", () =>
  withTalk(async ({ url, ann, bob }) => {
    await bob.write("Hello.");
    await bob.page.getByTitle("Your account").click();
    await bob.page.getByRole("textbox", { name: "Name", exact: true }).fill("Robert");
    await bob.page.getByRole("button", { name: "Save" }).click();
    await bob.page.getByTitle("Your account").filter({ hasText: "Robert" }).waitFor();
    await bob.page.getByText("Change password").first().click();
    await bob.page.getByLabel("Current password").fill(password);
    await bob.page.getByLabel("New password").fill("another password");
    await bob.page.getByRole("button", { name: "Change password" }).click();
    await bob.page.getByText("Your password is changed").waitFor();
    await new Client(url).ok("POST", "/auth/login", { username: "bob", password: "another password" });
    await ann.page.reload();
    await ann.message("Hello.").locator(".sender", { hasText: "Robert" }).waitFor();
    await bob.isLive();
    await eventually(() => bob.assertNoErrors());
  }),
);

test.run();
