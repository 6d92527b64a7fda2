import assert from "node:assert/strict";
import { test } from "uvu";
import { createDirect, createGroup, heardMessage, login, openReady } from "../delivery/help.ts";
import { type Answer, assertProblem, type Client, type Json, password, register } from "../support/client.ts";
import { tryUpload, upload } from "../support/files.ts";
import { query } from "../support/postgres.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";
import { claimsOf } from "./forging.ts";

// Ways around: names of what is somebody else's, given where one's own are expected; and small rights that
// might be made larger ones.

const env = { RATE_LIMITS: "off" };
const secret = "ultramarine";

interface Scene {
  t: TestServer;
  /** Have a group together, and a direct discussion. */
  ann: Client;
  bob: Client;
  group: Json;
  direct: Json;
  /** Has a group and a direct discussion with nobody else. */
  eve: Client;
  own: Json;
}

test("a cursor of somebody else's list shows nothing but one's own", () =>
  withScene(async ({ ann, bob, eve, group, own }) => {
    for (let n = 0; n < 4; n++) await ann.send(group.id, `${secret} ${n}`);
    for (let n = 0; n < 3; n++)
      await ann.ok("POST", "/discussions", { kind: "group", name: `${secret} ${n}`, member_ids: [] });
    await ann.ok("PATCH", `/discussions/${group.id}/messages/1`, { content: `${secret}, once more` });
    await ann.ok("PATCH", `/discussions/${group.id}/messages/1`, { content: `${secret}, at last` });
    await eve.send(own.id, "mine");
    for (const person of [bob, eve]) await ann.ok("PUT", `/users/${person.user.id}/block`);
    await login(ann.url, "ann");
    const lists: [string, string][] = [
      ["/discussions?", "/discussions?"],
      ["/messages?", "/messages?"],
      [`/messages?discussion_id=${group.id}&`, `/messages?discussion_id=${own.id}&`],
      [`/search?q=${secret}&`, `/search?q=${secret}&`],
      [`/search?q=${secret}&discussion_id=${group.id}&`, `/search?q=${secret}&discussion_id=${own.id}&`],
      [`/discussions/${group.id}/members?`, `/discussions/${own.id}/members?`],
      [`/discussions/${group.id}/messages/1/edits?`, `/discussions/${own.id}/messages/1/edits?`],
      ["/auth/sessions?", "/auth/sessions?"],
      ["/users/me/blocks?", "/users/me/blocks?"],
    ];
    for (const [hers, mine] of lists) {
      const { next_cursor } = await ann.ok("GET", `${hers}limit=1`);
      assert.ok(next_cursor, `${hers} has a second page`);
      const answer = await eve.call("GET", `${mine}limit=200&cursor=${encodeURIComponent(next_cursor)}`);
      assert.equal(answer.status, 200, `${mine} ${JSON.stringify(answer.body)}`);
      const whole: Json[] = (await eve.ok("GET", `${mine}limit=200`)).items;
      const keys = whole.map(keyOf);
      for (const item of answer.body.items) assert.ok(keys.includes(keyOf(item)), JSON.stringify(item));
      assert.ok(!JSON.stringify(answer.body).includes(secret), mine);
      if (mine === hers) continue;
      // And where it is hers, the cursor is no way in.
      const refused = await eve.call("GET", `${hers}cursor=${encodeURIComponent(next_cursor)}`);
      assertProblem(refused, 404, "discussion_not_found");
    }
  }));

test("a stream's cursor of somebody else is a place in the log and no right to what is there", () =>
  withScene(async ({ ann, eve, own, group }) => {
    const { cursor } = await ann.ok("GET", "/discussions");
    for (let n = 0; n < 3; n++) await ann.send(group.id, `${secret} ${n}`);
    await eve.send(own.id, "mine");
    for (const kind of ["sse", "ws"] as const) {
      const stream = await openReady(kind, eve, { since: cursor });
      await heardMessage(stream, "mine");
      await ann.send(group.id, `${secret} live ${kind}`);
      await eve.send(own.id, `mine again, by ${kind}`);
      await heardMessage(stream, `mine again, by ${kind}`);
      assert.ok(!JSON.stringify(stream.received).includes(secret));
      stream.cut();
    }
  }));

test("a client_id belongs to its sender and discussion: another's brings no message to light", () =>
  withScene(async ({ ann, bob, eve, group, direct, own }) => {
    const first = await ann.send(group.id, secret, { client_id: "one" });
    for (const [who, place] of [
      [bob, group],
      [ann, direct],
      [eve, own],
    ] as const) {
      const sent = await who.call("POST", `/discussions/${place.id}/messages`, {
        content: "another",
        client_id: "one",
      });
      assert.equal(sent.status, 201);
      assert.deepEqual([sent.body.content, sent.body.sender_id], ["another", who.user.id]);
    }
    const body = { content: secret, client_id: "one" };
    assertProblem(
      await eve.call("POST", `/discussions/${group.id}/messages`, body),
      404,
      "discussion_not_found",
    );
    await ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`);
    const mine = { content: "another", client_id: "one" };
    assertProblem(
      await bob.call("POST", `/discussions/${group.id}/messages`, mine),
      404,
      "discussion_not_found",
    );
    const again = await ann.call("POST", `/discussions/${group.id}/messages`, body);
    assert.deepEqual([again.status, again.body.seq], [200, first.seq]);
  }));

test("an attachment goes with its uploader's messages only, and only once", () =>
  withScene(async ({ t, ann, bob, eve, group, direct, own }) => {
    const mine = await upload(ann, secret, "secret.txt");
    const send = (who: Client, place: Json, ids: string[]) =>
      who.call("POST", `/discussions/${place.id}/messages`, { content: "look", attachment_ids: ids });
    assertProblem(await send(eve, own, [mine.id]), 404, "attachment_not_found");
    assertProblem(await send(bob, group, [mine.id]), 404, "attachment_not_found");
    const theirs = await upload(bob, "bob's", "bob.txt");
    assertProblem(await send(bob, group, [theirs.id, mine.id]), 404, "attachment_not_found");
    assert.equal((await send(ann, group, [mine.id])).status, 201);
    assertProblem(await send(ann, direct, [mine.id]), 404, "attachment_not_found");
    assertProblem(await send(bob, direct, [mine.id]), 404, "attachment_not_found");
    assertProblem(await send(eve, own, [mine.id]), 404, "attachment_not_found");
    const rows = await query(t.databaseUrl, "SELECT discussion_id FROM attachments ORDER BY discussion_id");
    assert.deepEqual(
      rows.map(({ discussion_id }) => discussion_id),
      [group.id, null],
    );

    const path = `/attachments/${mine.id}`;
    assert.equal((await bob.call("GET", path)).status, 200);
    for (const rest of ["", "?thumbnail=1"])
      assertProblem(await eve.call("GET", path + rest), 404, "attachment_not_found");
    await ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`);
    for (const headers of [
      {},
      { range: "bytes=0-3" },
      { "if-none-match": `"${mine.id}"` },
      { "if-none-match": "*" },
    ])
      assertProblem(
        await bob.call("GET", path, undefined, headers as Record<string, string>),
        404,
        "attachment_not_found",
      );
    await ann.ok("DELETE", `/discussions/${group.id}/messages/1`);
    assertProblem(await ann.call("GET", path), 404, "attachment_not_found");
    assert.equal((await tryUpload(eve, "still", "e.txt")).status, 201);
  }));

test("a message is named by its own discussion: its seq elsewhere is another message, or none", () =>
  withScene(async ({ ann, bob, eve, group, own }) => {
    for (let n = 0; n < 3; n++) await ann.send(group.id, secret);
    await eve.send(own.id, "mine");
    const at = (seq: number, rest = "") => `/discussions/${own.id}/messages/${seq}${rest}`;
    assertProblem(await eve.call("PATCH", at(3), { content: "x" }), 404, "message_not_found");
    assertProblem(await eve.call("DELETE", at(3)), 404, "message_not_found");
    assertProblem(await eve.call("GET", at(3, "/edits")), 404, "message_not_found");
    assertProblem(await eve.call("PUT", at(3, "/reactions/ok")), 404, "message_not_found");
    const reply = { content: "what?", reply_to_seq: 3 };
    assertProblem(await eve.call("POST", `/discussions/${own.id}/messages`, reply), 404, "reply_not_found");
    for (const query of ["around=3", "before=9", "after=0"]) {
      const { items } = await eve.ok("GET", `/discussions/${own.id}/messages?${query}`);
      assert.ok(items.every((item: Json) => item.discussion_id === own.id));
    }
    const read = await eve.ok("PUT", `/discussions/${own.id}/read`, { seq: 1_000 });
    assert.equal(read.last_read_seq, 1, "not beyond what there is");
    assert.deepEqual(await contents(bob, group), [secret, secret, secret]);
  }));

test("a session is ended by its own user only, and only oneself is changed by /users/me", () =>
  withScene(async ({ t, ann, eve }) => {
    const { sid } = claimsOf(ann.token);
    for (const id of [sid, sid.toUpperCase()])
      assertProblem(await eve.call("DELETE", `/auth/sessions/${id}`), 404, "session_not_found");
    const before = await query(t.databaseUrl, "SELECT * FROM users WHERE username = 'ann'");
    for (const more of [
      { id: ann.user.id },
      { user_id: ann.user.id },
      { username: "ann" },
      { erased_at: null },
    ])
      assertProblem(
        await eve.call("PATCH", "/users/me", { display_name: "Eve", ...more }),
        400,
        "invalid_request",
      );
    for (const method of ["PATCH", "DELETE"])
      assertProblem(
        await eve.call(method, `/users/${ann.user.id}`, { display_name: "x" }),
        405,
        "method_not_allowed",
      );
    for (const query of [`?id=${ann.user.id}`, `?user_id=${ann.user.id}`])
      assert.equal((await eve.ok("PATCH", `/users/me${query}`, { display_name: "Eve" })).id, eve.user.id);
    for (const name of ["ann", "ANN@example.org", ann.user.id]) {
      const answer = await eve.call("DELETE", "/users/me", { password: "wrong password", username: name });
      assertProblem(answer, 400, "invalid_request");
    }
    assert.deepEqual(await query(t.databaseUrl, "SELECT * FROM users WHERE username = 'ann'"), before);
    assert.equal((await ann.call("GET", "/users/me")).status, 200);
    const taken = await eve.call("PATCH", "/users/me", { email: "ann@example.org" });
    assertProblem(taken, 409, "email_taken");
  }));

test("nobody is mentioned, or told of a mention, who is no member", () =>
  withScene(async ({ ann, bob, eve, group }) => {
    const stream = await openReady("ws", eve);
    const message = await ann.send(group.id, `@eve @bob @nobody @ann ${secret}`);
    assert.deepEqual([...message.mentions].sort(), [ann.user.id, bob.user.id].sort());
    await ann.ok("PATCH", `/discussions/${group.id}/messages/1`, { content: `@eve ${secret}` });
    await ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`);
    assert.deepEqual((await ann.send(group.id, "@bob @eve")).mentions, []);
    for (const more of [
      { mentions: [eve.user.id] },
      { sender_id: eve.user.id },
      { seq: 99 },
      { created_at: 0 },
    ]) {
      const body = { content: "x", ...more };
      assertProblem(
        await ann.call("POST", `/discussions/${group.id}/messages`, body),
        400,
        "invalid_request",
      );
    }
    const end = await createDirect(ann, eve);
    await ann.send(end.id, "the end");
    await heardMessage(stream, "the end");
    assert.ok(!JSON.stringify(stream.received).includes(group.id));
    stream.cut();
  }));

test("no role is had by taking it: not at once, in steps, or by somebody else", () =>
  withScene(async ({ ann, bob, eve, group }) => {
    const role = (who: Client, target: Client, given: string) =>
      who.call("PATCH", `/discussions/${group.id}/members/${target.user.id}`, { role: given });
    const remove = (who: Client, target: Client) =>
      who.call("DELETE", `/discussions/${group.id}/members/${target.user.id}`);
    await ann.ok("POST", `/discussions/${group.id}/members`, { user_ids: [eve.user.id] });
    for (const given of ["owner", "admin", "member"])
      assertProblem(await role(bob, bob, given), 403, "forbidden");
    assert.equal((await role(ann, bob, "admin")).status, 200);
    // An admin's means: none of them leads to more.
    for (const given of ["owner", "admin", "member"])
      assertProblem(await role(bob, bob, given), 403, "forbidden");
    assertProblem(await role(bob, eve, "admin"), 403, "forbidden");
    assertProblem(await role(bob, ann, "member"), 403, "forbidden");
    assertProblem(await remove(bob, ann), 403, "forbidden");
    assertProblem(await role(eve, bob, "owner"), 403, "forbidden");
    assertProblem(await bob.call("DELETE", `/discussions/${group.id}`), 403, "forbidden");
    assertProblem(await remove(ann, ann), 409, "last_owner");
    assertProblem(await role(ann, ann, "admin"), 409, "last_owner");
    // Leaving and coming back brings no role back, nor does being added anew.
    await bob.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`);
    await eve.ok("POST", `/discussions/${group.id}/members`, { user_ids: [bob.user.id] });
    assertProblem(await role(bob, eve, "admin"), 403, "forbidden");
    // Who is a member keeps the role when added again, and gives nobody another by it.
    await bob.ok("POST", `/discussions/${group.id}/members`, { user_ids: [ann.user.id, eve.user.id] });
    const { members } = await ann.ok("GET", `/discussions/${group.id}`);
    const roles = members.map((member: Json) => [member.user_id, member.role]);
    assert.deepEqual(Object.fromEntries(roles), {
      [ann.user.id]: "owner",
      [bob.user.id]: "member",
      [eve.user.id]: "member",
    });
    for (const more of [{ role: "owner" }, { created_by: eve.user.id }, { my_role: "owner" }]) {
      const answer = await eve.call("POST", `/discussions/${group.id}/members`, {
        user_ids: [eve.user.id],
        ...more,
      });
      assertProblem(answer, 400, "invalid_request");
    }
  }));

test("creating what there is already gives no right to it; nobody else's group is found by its name", () =>
  withScene(async ({ ann, bob, eve, group, direct }) => {
    const again = await bob.call("POST", "/discussions", {
      kind: "group",
      name: "G",
      member_ids: [ann.user.id],
    });
    assert.deepEqual(
      [again.status, again.body.id, again.body.my_role],
      [200, group.id, "member"],
      "not its owner",
    );
    const wider = await bob.call("POST", "/discussions", {
      kind: "group",
      name: "G",
      visibility: "public",
      member_ids: [ann.user.id],
    });
    assert.deepEqual([wider.body.id, wider.body.visibility], [group.id, "private"], "nor is it opened by it");
    const eves = await eve.call("POST", "/discussions", {
      kind: "group",
      name: "G",
      member_ids: [ann.user.id, bob.user.id],
    });
    assert.equal(eves.status, 201);
    assert.notEqual(eves.body.id, group.id);
    const pair = await eve.call("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    assert.equal(pair.status, 201);
    assert.notEqual(pair.body.id, direct.id);
    const { items } = await eve.ok("GET", "/discussions?visibility=public&query=G");
    assert.deepEqual(items, []);
  }));

test("a block is of direct discussions: there it cannot be got around, in groups it holds nobody up", () =>
  withScene(async ({ ann, bob, eve, direct, group }) => {
    await ann.ok("PUT", `/users/${bob.user.id}/block`);
    await ann.ok("PUT", `/users/${eve.user.id}/block`);
    assertProblem(
      await eve.call("POST", "/discussions", { kind: "direct", user_id: ann.user.id }),
      403,
      "blocked",
    );
    const opened = await bob.call("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    assert.deepEqual([opened.status, opened.body.id], [200, direct.id], "what there is stays to be read");
    assertProblem(
      await bob.call("POST", `/discussions/${direct.id}/messages`, { content: "x" }),
      403,
      "blocked",
    );
    // The blocked one's own block, and its end, change nothing of the other's.
    await bob.ok("PUT", `/users/${ann.user.id}/block`);
    await bob.ok("DELETE", `/users/${ann.user.id}/block`);
    assertProblem(
      await bob.call("POST", `/discussions/${direct.id}/messages`, { content: "x" }),
      403,
      "blocked",
    );
    assertProblem(
      await bob.call("POST", `/discussions/${direct.id}/members`, { user_ids: [eve.user.id] }),
      409,
      "direct_discussion",
    );
    const added = await ann.call("POST", `/discussions/${group.id}/members`, { user_ids: [eve.user.id] });
    assert.equal(added.status, 200, "whom one has blocked may be in one's groups");
    await eve.send(group.id, "in the group");
    await bob.send(group.id, "too");
    assert.deepEqual(await contents(ann, group), ["in the group", "too"]);
  }));

test("who is blocked sees by no route, and hears by no stream, whether the other is there", () =>
  withScene(async ({ ann, bob, direct, group }) => {
    // In groups of both a block changes nothing.
    await ann.ok("DELETE", `/discussions/${group.id}`);
    const places = [`/users/${ann.user.id}/presence`, `/discussions/${direct.id}/presence`];
    const seen = async (who: Client) => {
      const [alone, among] = await Promise.all(places.map((path) => who.ok("GET", path)));
      const listed = among.items.find((item: Json) => item.user_id === ann.user.id);
      return [alone.status, alone.last_seen_at, listed.status, listed.last_seen_at];
    };
    const stream = await openReady("ws", ann);
    await eventually(async () => assert.deepEqual((await seen(bob))[2], "online"));
    await ann.ok("PUT", `/users/${bob.user.id}/block`);
    assert.deepEqual(await seen(bob), ["offline", null, "offline", null]);
    assert.equal((await seen(ann))[2], "online");
    const among = await bob.ok("GET", `/discussions/${direct.id}/presence`);
    const own = await openReady("ws", bob);
    await eventually(async () => {
      const { items } = await bob.ok("GET", `/discussions/${direct.id}/presence`);
      assert.equal(
        items.find((item: Json) => item.user_id === bob.user.id).status,
        "online",
        "one sees oneself",
      );
    });
    assert.equal(among.items.length, 2);
    await ann.ok("DELETE", `/users/${bob.user.id}/block`);
    assert.equal((await seen(bob))[2], "online");
    for (const one of [stream, own]) one.cut();
  }));

test("who was erased is added nowhere and had by nobody", () =>
  withScene(async ({ ann, bob, eve, group, direct }) => {
    await bob.ok("DELETE", "/users/me", { password });
    const acts: (() => Promise<Answer>)[] = [
      () => ann.call("POST", `/discussions/${group.id}/members`, { user_ids: [bob.user.id] }),
      () => ann.call("POST", "/discussions", { kind: "group", name: "new", member_ids: [bob.user.id] }),
      () => eve.call("POST", "/discussions", { kind: "direct", user_id: bob.user.id }),
      () => ann.call("PUT", `/users/${bob.user.id}/block`),
    ];
    for (const act of acts) assertProblem(await act(), 404, "user_not_found");
    const answer = await ann.call("PATCH", `/discussions/${group.id}/members/${bob.user.id}`, {
      role: "owner",
    });
    assertProblem(answer, 404, "member_not_found");
    assert.equal((await ann.ok("GET", `/discussions/${direct.id}`)).title, "Deleted user");
    assert.equal((await ann.ok("GET", `/users/${bob.user.id}/presence`)).status, "offline");
  }));

test.run();

async function withScene(act: (scene: Scene) => Promise<void>): Promise<void> {
  await withServer(async (t) => {
    const ann = await register(t.url, "ann", { email: "ann@example.org" });
    const [bob, eve] = [await register(t.url, "bob"), await register(t.url, "eve")];
    const group = await createGroup(ann, "G", [bob]);
    const direct = await createDirect(ann, bob);
    const own = await createGroup(eve, "eve's", []);
    await act({ t, ann, bob, group, direct, eve, own });
  }, env);
}

async function contents(who: Client, { id }: Json): Promise<string[]> {
  return (await who.ok("GET", `/discussions/${id}/messages`)).items.map(({ content }: Json) => content);
}

function keyOf(item: Json): string {
  return item.id ?? item.user_id ?? item.version ?? `${item.discussion_id} ${item.seq}`;
}
