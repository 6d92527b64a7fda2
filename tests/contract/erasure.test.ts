import assert from "node:assert/strict";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { createDirect, createGroup, endedWith, eventsOf, heard, openReady } from "../delivery/help.ts";
import { assertProblem, Client, type Json, password, register } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { eventually, withServer } from "../support/server.ts";

test("an erased account leaves its messages and nothing else", () =>
  withServer(async (t) => {
    const [ann, bob] = await Promise.all([
      register(t.url, "ann", { email: "ann@example.com", display_name: "Ann Archer" }),
      register(t.url, "bob"),
    ]);
    const direct = await createDirect(ann, bob);
    await ann.send(direct.id, "what I leave");
    const own = await createDirect(ann, ann);
    await ann.send(own.id, "to myself");
    assertProblem(
      await ann.call("DELETE", "/users/me", { password: "wrong one" }),
      401,
      "invalid_credentials",
    );
    const stream = await openReady("ws", ann);
    await ann.ok("DELETE", "/users/me", { password });
    await endedWith(stream, 4502);
    assertProblem(await ann.call("GET", "/users/me"), 401, "session_revoked");
    const again = new Client(t.url);
    for (const username of ["ann", "ann@example.com"]) {
      const answer = await again.call("POST", "/auth/login", { username, password });
      assertProblem(answer, 401, "invalid_credentials");
    }

    const { items } = await bob.ok("GET", `/discussions/${direct.id}/messages`);
    assert.equal(items[0].content, "what I leave");
    assert.equal((await bob.ok("GET", `/users/${items[0].sender_id}`)).display_name, "Deleted user");
    assert.equal((await bob.ok("GET", `/discussions/${direct.id}`)).title, "Deleted user");
    assert.deepEqual((await bob.ok("GET", "/users?query=deleted")).items, []);
    assertProblem(
      await bob.call("POST", "/discussions", { kind: "group", member_ids: [ann.user.id] }),
      404,
      "user_not_found",
    );

    const newcomer = await register(t.url, "ann", { email: "ann@example.com" });
    assert.notEqual(newcomer.user.id, ann.user.id);
    for (const { name, content } of await query(t.databaseUrl, everyTable)) {
      assert.ok(!/Ann Archer|to myself/.test(content), name);
    }
  }));

/** The rows of all tables as text. */
const everyTable = `
  SELECT table_name AS name,
    query_to_xml(format('SELECT * FROM %I', table_name), true, false, '')::text AS content
  FROM information_schema.tables WHERE table_schema = 'public'`;

test("groups that an erased owner leaves get the next one, or go", () =>
  withServer(async (t) => {
    const [ann, bob, cleo] = await Promise.all(["ann", "bob", "cleo"].map((name) => register(t.url, name)));
    if (!ann || !bob || !cleo) return assert.fail();
    const withAdmin = await createGroup(ann, "with an admin", [bob, cleo]);
    await ann.ok("PATCH", `/discussions/${withAdmin.id}/members/${cleo.user.id}`, { role: "admin" });
    const withMember = await createGroup(ann, "with a member", [bob]);
    const alone = await createGroup(ann, "alone", []);
    await ann.send(alone.id, "only for me");
    const stream = await openReady("sse", bob);
    await ann.ok("DELETE", "/users/me", { password });
    await heard(stream, "member.removed", 2);
    await heard(stream, "member.updated", 2);
    const roles = async (id: string) => {
      const { members } = await bob.ok("GET", `/discussions/${id}`);
      return Object.fromEntries(members.map(({ user_id, role }: Json) => [user_id, role]));
    };
    assert.deepEqual(await roles(withAdmin.id), { [bob.user.id]: "member", [cleo.user.id]: "owner" });
    assert.deepEqual(await roles(withMember.id), { [bob.user.id]: "owner" });
    await eventually(async () => {
      const rows = await query(t.databaseUrl, "SELECT id FROM discussions WHERE id = $1", [alone.id]);
      assert.equal(rows.length, 0);
    });
    stream.cut();
  }));

test("who erases the second account of a pair makes nobody its owner first", () =>
  withServer(async (t) => {
    const [ann, bob] = await Promise.all([register(t.url, "ann"), register(t.url, "bob")]);
    await createDirect(ann, bob);
    await ann.ok("DELETE", "/users/me", { password });
    const stream = await openReady("sse", bob);
    await bob.ok("DELETE", "/users/me", { password });
    await endedWith(stream, 4502);
    const types = eventsOf(stream).map(({ type }) => type);
    assert.deepEqual(types, ["discussion.deleted"]);
  }));

test("who is in very many groups leaves all of them, beside those who talk and read there", () =>
  withServer(async (t) => {
    const [ann, bob] = await Promise.all([register(t.url, "ann"), register(t.url, "bob")]);
    const groups: Json[] = [];
    for (let n = 0; n < 2 * limits.leavingAtOnce + 10; n++)
      groups.push(await createGroup(ann, `group ${n}`, [bob]));
    const talk = async (group: Json) => {
      await bob.send(group.id, "on and on");
      await bob.ok("PUT", `/discussions/${group.id}/read`, { seq: 1 });
      await bob.ok("PATCH", `/discussions/${group.id}/messages/1`, { content: "on" });
      await bob.call("PATCH", `/discussions/${group.id}`, { name: `renamed ${group.name}` });
    };
    const [answer] = await Promise.all([
      ann.call("DELETE", "/users/me", { password }),
      ...groups.filter((_, index) => index % 7 === 0).map(talk),
    ]);
    assert.equal(answer.status, 204, JSON.stringify(answer.body));
    const rows = await query(
      t.databaseUrl,
      "SELECT user_id, role, count(*)::int AS count FROM members GROUP BY user_id, role",
    );
    assert.deepEqual(rows, [{ user_id: bob.user.id, role: "owner", count: groups.length }]);
  }));

test("who is added while the account is being erased is no member afterwards", () =>
  withServer(async (t) => {
    const [ann, bob] = await Promise.all([register(t.url, "ann"), register(t.url, "bob")]);
    const groups = await Promise.all([...Array(10).keys()].map((n) => createGroup(bob, `group ${n}`, [])));
    const [, ...added] = await Promise.all([
      ann.call("DELETE", "/users/me", { password }),
      ...groups.map(({ id }) => bob.call("POST", `/discussions/${id}/members`, { user_ids: [ann.user.id] })),
    ]);
    for (const answer of added) assert.ok([200, 404].includes(answer.status), `${answer.status}`);
    const rows = await query(t.databaseUrl, "SELECT discussion_id FROM members WHERE user_id = $1", [
      ann.user.id,
    ]);
    assert.deepEqual(rows, []);
  }));

test.run();
