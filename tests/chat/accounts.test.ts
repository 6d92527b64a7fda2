import assert from "node:assert/strict";
import { test } from "uvu";
import { createDirect, createGroup, endedWith, login, openReady, viaInstance } from "../delivery/help.ts";
import { openRaw, streamPath } from "../delivery/raw.ts";
import {
  type Answer,
  assertProblem,
  assertRefused,
  Client,
  type Json,
  password,
  register,
} from "../support/client.ts";
import { withServer } from "../support/server.ts";
import {
  assertCode,
  assertDone,
  byRest,
  createPair,
  createRoom,
  env,
  findInDatabase,
  history,
  kinds,
  people,
  range,
  replays,
  settle,
} from "./help.ts";

function erase(client: Client, body: unknown = { password }): Promise<Answer> {
  return client.call("DELETE", "/users/me", body);
}

async function eraseAll(...clients: Client[]): Promise<void> {
  const answers = await Promise.all(clients.map((client) => erase(client)));
  for (const answer of answers) assert.deepEqual([answer.status, answer.body], [204, null]);
}

function tryLogin(url: string, username: string, secret = password): Promise<Answer> {
  return new Client(url).call("POST", "/auth/login", { username, password: secret });
}

const rolesOf = (discussion: Json): string[] => discussion.members.map(({ role }: Json) => role).sort();

test("an account is erased only with its password", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const stream = await openReady("ws", ann);
    for (const secret of ["wrong password", password.toUpperCase(), `${password} `])
      assertProblem(await erase(ann, { password: secret }), 401, "invalid_credentials");
    for (const body of [
      {},
      { password: "" },
      { password: null },
      { password: 5 },
      { password: [password] },
      { password, user_id: bob.user.id },
      { current_password: password },
      [password],
      "null",
    ])
      assertRefused(await erase(ann, body), [400, 401]);
    assertProblem(await erase(ann, { password, confirm: true }), 400, "invalid_request");
    assertRefused(await ann.call("DELETE", "/users/me"), [400, 415]);
    assertRefused(await erase(new Client(t.url)), [401]);
    assertRefused(await ann.call("DELETE", `/users/${bob.user.id}`, { password }), [403, 404, 405]);
    assert.equal((await ann.ok("GET", "/users/me")).username, "ann");
    assert.equal((await tryLogin(t.url, "ann")).status, 200);
    await settle(bob, id, stream);
    assert.equal(stream.ended(), undefined);
    stream.cut();
  }, env));

test("erasing ends every session and stream, on every instance, and logs nobody in again", () =>
  withServer(async (t) => {
    const second = await t.another();
    const ann = await register(t.url, "ann", { email: "ann@example.org" });
    const bob = await register(t.url, "bob");
    const { id } = await createDirect(ann, bob);
    const phone = await login(t.url, "ann");
    const over = [];
    for (const kind of kinds)
      for (const client of [ann, viaInstance(phone, second.url)])
        for (const discussionId of [undefined, id])
          over.push(await openReady(kind, client, { discussionId }));
    const living = await openReady("ws", bob);
    const { ticket } = await ann.ok("POST", "/auth/tickets");
    await eraseAll(ann);
    for (const stream of over) await endedWith(stream, 4502);
    for (const client of [ann, phone, viaInstance(ann, second.url)]) {
      assertRefused(await client.call("GET", "/users/me"), [401]);
      assertRefused(await client.call("POST", `/discussions/${id}/messages`, { content: "x" }), [401]);
      const body = { refresh_token: client.refreshToken };
      assertRefused(await new Client(t.url).call("POST", "/auth/refresh", body), [401]);
    }
    assertRefused(await openRaw("ws", t.url, `${streamPath("ws")}?ticket=${ticket}`), [401]);
    for (const name of ["ann", "ann@example.org"])
      assertProblem(await tryLogin(t.url, name), 401, "invalid_credentials");
    assertRefused(await erase(ann), [401]);
    await settle(bob, id, living);
    assert.equal(living.ended(), undefined);
    living.cut();
  }, env));

test("the messages stay, by a deleted user, and the discussion goes on for the others", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const direct = await createDirect(carl, bob);
    const sent = [await carl.send(id, "from carl", { client_id: "c" }), await ann.send(id, "from ann")];
    assertDone(await byRest(carl).react(id, 2, "👍"));
    const private_ = await carl.send(direct.id, "between us");
    await eraseAll(carl);
    const items = await history(ann, id);
    assert.deepEqual(items[0], sent[0]);
    assert.deepEqual([items[1].content, items[1].sender_id], ["from ann", ann.user.id]);
    assert.deepEqual((await history(bob, direct.id))[0], private_);
    const gone = await ann.ok("GET", `/users/${carl.user.id}`);
    assert.equal(gone.display_name, "Deleted user");
    assert.notEqual(gone.username, "carl");
    assert.ok(!("email" in gone));
    assert.equal((await bob.ok("GET", `/discussions/${direct.id}`)).title, "Deleted user");
    assert.equal((await ann.send(id, "we go on")).seq, 3);
    const own = await ann.ok("GET", `/messages?sender_id=${carl.user.id}`);
    assert.equal(own.items[0]?.content, "from carl");
  }, env));

test("an erased user is found by nobody and cannot be talked to or mentioned", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const carl = await register(t.url, "carl", { display_name: "Carl Gone", email: "carl@example.org" });
    const group = await createGroup(ann, "Tea", [carl]);
    assert.deepEqual((await ann.send(group.id, "@carl")).mentions, [carl.user.id]);
    await eraseAll(carl);
    for (const query of [
      "query=carl",
      "query=Gone",
      "email=carl@example.org",
      "query=Deleted",
      "limit=200",
    ]) {
      const { items } = await ann.ok("GET", `/users?${query}`);
      assert.ok(!items.some(({ id }: Json) => id === carl.user.id), query);
    }
    const direct = { kind: "direct", user_id: carl.user.id };
    assertRefused(await ann.call("POST", "/discussions", direct), [404]);
    const other = { kind: "group", name: "Other", member_ids: [carl.user.id] };
    assertRefused(await ann.call("POST", "/discussions", other), [404]);
    assert.deepEqual((await ann.send(group.id, "@carl?")).mentions, []);
    // Nobody to block any more, or a block that does nothing.
    const { status } = await ann.call("PUT", `/users/${carl.user.id}/block`);
    assert.ok(status === 404 || status === 204, `${status}`);
  }, env));

test("username and e-mail address are free again, for somebody who inherits nothing", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const old = await register(t.url, "carl", { email: "carl@example.org" });
    const group = await createGroup(ann, "Tea", [old]);
    const mine = await old.send(group.id, "old carl's");
    await eraseAll(old);
    const carl = await register(t.url, "carl", { email: "carl@example.org" });
    assert.notEqual(carl.user.id, old.user.id);
    assert.deepEqual((await carl.ok("GET", "/discussions")).items, []);
    assertProblem(await carl.call("GET", `/discussions/${group.id}`), 404, "discussion_not_found");
    await ann.ok("POST", `/discussions/${group.id}/members`, { user_ids: [carl.user.id] });
    assertCode(await byRest(carl).edit(group.id, mine.seq, "not mine"), "forbidden");
    assertCode(await byRest(carl).remove(group.id, mine.seq), "forbidden");
    assert.deepEqual((await ann.send(group.id, "@carl")).mentions, [carl.user.id]);
    assert.equal((await tryLogin(t.url, "carl@example.org")).status, 200);
    await eraseAll(carl);
    await register(t.url, "carl");
  }, env));

test("nothing personal of an erased user is left in the database", () =>
  withServer(async (t) => {
    const marker = "zqxerased";
    const ann = await register(t.url, "ann");
    const gone = await register(t.url, `${marker}-user`, {
      display_name: `${marker} Person`,
      email: `${marker}@example.org`,
    });
    await gone.ok("PATCH", "/users/me", { status_text: `${marker} is at the beach` });
    const group = await createGroup(gone, "Tea", [ann]);
    await gone.send(group.id, "hello");
    await gone.ok("PATCH", "/users/me", { display_name: `${marker} Renamed` });
    const direct = await createDirect(gone, ann);
    await ann.send(direct.id, "hello");
    assert.notDeepEqual(await findInDatabase(t.databaseUrl, marker), []);
    await eraseAll(gone);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), []);
    for (const { name, events } of await replays(t, ann, group.cursor))
      assert.ok(!JSON.stringify(events).includes(marker), name);
    for (const path of ["/discussions", "/messages", `/discussions/${group.id}/members`, "/users"])
      assert.ok(!JSON.stringify(await ann.ok("GET", path)).includes(marker), path);
  }, env));

test("a group whose last owner is erased gets another owner, whom its members hear of", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id, path } = await createRoom(t.url);
    const stream = await openReady("ws", carl);
    const lonely = await createGroup(ann, "Alone", []);
    await eraseAll(ann);
    const discussion = await bob.ok("GET", path);
    assert.ok(rolesOf(discussion).includes("owner"), JSON.stringify(discussion.members));
    const owner = discussion.members.find(({ role }: Json) => role === "owner");
    assert.notEqual(owner.user_id, ann.user.id, "who is gone owns nothing");
    const heir = [bob, carl].find(({ user }) => user.id === owner.user_id) ?? bob;
    assert.equal((await heir.ok("PATCH", path, { name: "Ours" })).name, "Ours");
    await settle(carl, id, stream);
    const updated = stream.received.find(
      ({ type, member }) => type === "member.updated" && member.role === "owner",
    );
    assert.equal(updated?.member.user_id, owner.user_id);
    for (const client of [bob, carl])
      assertProblem(await client.call("GET", `/discussions/${lonely.id}`), 404, "discussion_not_found");
    stream.cut();
  }, env));

test("an owner among owners leaves them as they are", () =>
  withServer(async (t) => {
    const { ann, bob, carl, path } = await createRoom(t.url);
    await ann.ok("PATCH", `${path}/members/${carl.user.id}`, { role: "owner" });
    await eraseAll(ann);
    const { members } = await bob.ok("GET", path);
    const roleOf = ({ user }: Client) => members.find((member: Json) => member.user_id === user.id).role;
    assert.deepEqual([roleOf(bob), roleOf(carl)], ["admin", "owner"]);
  }, env));

test("owners who are erased at once never leave a group without one", () =>
  withServer(async (t) => {
    const far = (await t.another()).url;
    const dora = await register(t.url, "dora");
    for (const round of range(1, 6)) {
      const [ann, bob] = await people(t.url, `ann${round}`, `bob${round}`);
      const { id } = await createGroup(ann, `Round ${round}`, [bob, dora]);
      await ann.ok("PATCH", `/discussions/${id}/members/${bob.user.id}`, { role: "owner" });
      const bobs = round % 2 ? viaInstance(bob, far) : bob;
      // Both are erased, or one is while the other leaves.
      const other =
        round % 3 ? erase(bobs) : bobs.call("DELETE", `/discussions/${id}/members/${bob.user.id}`);
      const [first, second] = await Promise.all([erase(ann), other]);
      assert.equal(first.status, 204, JSON.stringify(first.body));
      if (second.status !== 204) assertProblem(second, 409, "last_owner");
      const { members } = await dora.ok("GET", `/discussions/${id}`);
      const owners = members.filter(({ role }: Json) => role === "owner");
      assert.ok(owners.length >= 1, `round ${round}: ${JSON.stringify(members)}`);
      const gone = second.status === 204 ? [ann.user.id, bob.user.id] : [ann.user.id];
      for (const { user_id } of owners) assert.ok(!gone.includes(user_id), "who is gone owns nothing");
    }
  }, env));

test("an erasure while the same user sends leaves nothing half done", () =>
  withServer(async (t) => {
    const { ann, bob, id, path } = await createPair(t.url);
    const far = viaInstance(ann, (await t.another()).url);
    const sends = range(1, 60).map((n) =>
      (n % 2 ? ann : far).call("POST", `${path}/messages`, { content: `${n}`, client_id: `${n}` }),
    );
    const [erased, ...answers] = await Promise.all([erase(ann), ...sends]);
    assert.equal(erased?.status, 204);
    for (const { status } of answers)
      assert.ok(status === 201 || (status >= 400 && status < 500), `${status}`);
    const stored = await history(bob, id);
    assert.equal(stored.length, answers.filter(({ status }) => status === 201).length);
    const late = await ann.call("POST", `${path}/messages`, { content: "late" });
    assertRefused(late, [401]);
    assert.equal((await history(bob, id)).length, stored.length);
  }, env));

test("what comes at once with an erasure leaves neither a session nor anything personal behind", () =>
  withServer(async (t) => {
    const far = (await t.another()).url;
    for (const round of range(1, 4)) {
      const gone = await register(t.url, `gone${round}`, { email: `gone${round}@example.org` });
      const there = viaInstance(gone, far);
      const logins = range(1, 4).map((n) => tryLogin(n % 2 ? t.url : far, `gone${round}`));
      const changes = range(1, 12).map((n) =>
        (n % 2 ? gone : there).call("PATCH", "/users/me", {
          display_name: `zqxname ${n}`,
          status_text: "zqx",
        }),
      );
      const others = [
        gone.call("PATCH", "/users/me", { email: `zqx${round}@example.org` }),
        gone.call("POST", "/auth/refresh", { refresh_token: gone.refreshToken }),
        gone.call("POST", "/auth/tickets"),
        gone.call("POST", "/discussions", { kind: "direct", user_id: gone.user.id }),
      ];
      const [erased, ...answers] = await Promise.all([erase(gone), ...logins, ...changes, ...others]);
      assert.equal(erased?.status, 204);
      for (const { status } of answers) assert.ok(status < 500, `${status}`);
      for (const { body } of answers) {
        if (!body?.access_token) continue;
        const late = Object.assign(new Client(t.url), { token: body.access_token });
        assertRefused(await late.call("GET", "/users/me"), [401]);
        assertRefused(await late.call("POST", "/auth/refresh", { refresh_token: body.refresh_token }), [401]);
      }
      for (const kind of kinds) {
        const headers = { authorization: `Bearer ${gone.token}` };
        assertRefused(await openRaw(kind, t.url, streamPath(kind), { headers }), [401]);
      }
      assert.deepEqual(await findInDatabase(t.databaseUrl, "zqx"), [], `round ${round}`);
      assert.deepEqual(await findInDatabase(t.databaseUrl, `gone${round}`), [], `round ${round}`);
    }
  }, env));

test("ownership handed to somebody who is being erased does not get lost", () =>
  withServer(async (t) => {
    const far = (await t.another()).url;
    const dora = await register(t.url, "dora");
    for (const round of range(1, 8)) {
      const [ann, bob] = await people(t.url, `ann${round}`, `bob${round}`);
      const { id } = await createGroup(ann, `Round ${round}`, [bob, dora]);
      const path = `/discussions/${id}/members`;
      const handOver = async () => {
        await ann.call("PATCH", `${path}/${bob.user.id}`, { role: "owner" });
        await ann.call("DELETE", `${path}/${ann.user.id}`);
      };
      const newGroup = { kind: "group", name: `New ${round}`, member_ids: [dora.user.id] };
      const [gone, made] = await Promise.all([
        erase(round % 2 ? bob : viaInstance(bob, far)),
        bob.call("POST", "/discussions", newGroup),
        handOver(),
      ]);
      assert.equal(gone.status, 204);
      assert.ok(made.status < 500, `${made.status}`);
      const { items } = await dora.ok("GET", "/discussions?limit=200");
      for (const { name, members } of items) {
        const owners = members.filter(({ role }: Json) => role === "owner");
        assert.ok(owners.length > 0, `${name} has no owner: ${JSON.stringify(members)}`);
        for (const { user_id } of owners)
          assert.notEqual(user_id, bob.user.id, `${name}: who is gone owns it`);
      }
    }
  }, env));

test("many who share discussions are erased at once, while the others go on, and nothing breaks", () =>
  withServer(async (t) => {
    const far = (await t.another()).url;
    const crowd = await people(t.url, ...range(1, 10).map((n) => `user${n}`));
    const [ann, ...others] = crowd as [Client, ...Client[]];
    const groups: string[] = [];
    for (const n of range(1, 6)) groups.push((await createGroup(crowd[n] ?? ann, `G${n}`, crowd)).id);
    for (const other of others.slice(0, 6)) groups.push((await createDirect(ann, other)).id);
    const going = others.slice(3);
    let isOver = false;
    const act = async (client: Client) => {
      const way = byRest(viaInstance(client, client === ann ? far : t.url));
      for (let n = 0; !isOver && n < 200; n++) {
        const id = groups[n % groups.length] ?? "";
        await way.send(id, `text ${n}`);
        await way.react(id, 1 + (n % 9), "👍");
        await way.read(id, n);
        await way.remove(id, 1 + (n % 30));
        const role = n % 2 ? "owner" : "admin";
        const target = crowd[n % crowd.length]?.user.id;
        const { status } = await client.call("PATCH", `/discussions/${id}/members/${target}`, { role });
        assert.ok(status < 500, `${status}`);
      }
    };
    const staying = [ann, ...others.slice(0, 3)];
    const acting = Promise.all(staying.map(act));
    acting.catch(() => {}); // Told below.
    await eraseAll(...going.map((client, n) => (n % 2 ? client : viaInstance(client, far))));
    isOver = true;
    await acting;
    for (const { kind, name, members } of (await ann.ok("GET", "/discussions?limit=200")).items) {
      if (kind !== "group") continue;
      const owners = members.filter(({ role }: Json) => role === "owner");
      assert.ok(owners.length > 0, `${name} has no owner`);
    }
  }, env));

test("a login with the old password at once with its change does not outlive the change", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    let current = password;
    for (const round of range(1, 5)) {
      const fresh = `password number ${round}`;
      const [changed, ...logins] = await Promise.all([
        ann.call("PATCH", "/users/me", { password: fresh, current_password: current }),
        ...range(1, 5).map(() => tryLogin(t.url, "ann", current)),
      ]);
      assert.equal(changed?.status, 200);
      for (const { status, body } of logins) {
        assert.ok(status === 200 || status === 401, `${status}`);
        if (status !== 200) continue;
        const late = Object.assign(new Client(t.url), { token: body.access_token });
        assertRefused(await late.call("GET", "/users/me"), [401]);
      }
      current = fresh;
    }
  }, env));

test("two erasures of one account at once are one", () =>
  withServer(async (t) => {
    const far = (await t.another()).url;
    const bob = await register(t.url, "bob");
    for (const round of range(1, 5)) {
      const ann = await register(t.url, `ann${round}`);
      const { id } = await createDirect(ann, bob);
      const there = viaInstance(ann, far);
      const answers = await Promise.all([ann, there, ann, there].map((client) => erase(client)));
      const statuses = answers.map(({ status }) => status);
      assert.ok(statuses.includes(204), `${statuses}`);
      for (const status of statuses) assert.ok(status === 204 || status === 401, `${statuses}`);
      assert.equal((await bob.ok("GET", `/discussions/${id}`)).title, "Deleted user");
    }
  }, env));

test("a new password ends the other sessions and their streams, but not one's own", () =>
  withServer(async (t) => {
    const second = await t.another();
    const { ann, bob, id } = await createPair(t.url);
    const phone = await login(t.url, "ann");
    const open = async (client: Client) =>
      Promise.all(
        kinds.flatMap((kind) => [openReady(kind, client), openReady(kind, client, { discussionId: id })]),
      );
    const own = [...(await open(ann)), ...(await open(viaInstance(ann, second.url)))];
    const others = [...(await open(phone)), ...(await open(viaInstance(phone, second.url)))];
    const fresh = "a new and better one";
    for (const current_password of ["wrong password", undefined])
      assertRefused(
        await ann.call("PATCH", "/users/me", { password: fresh, current_password }),
        [400, 401, 403],
      );
    await settle(bob, id, ...own, ...others);
    const changed = await ann.call("PATCH", "/users/me", { password: fresh, current_password: password });
    assert.equal(changed.status, 200);
    for (const stream of others) await endedWith(stream, 4502);
    await settle(bob, id, ...own);
    for (const stream of own) {
      assert.equal(stream.ended(), undefined);
      stream.cut();
    }
    assert.equal((await ann.call("GET", "/users/me")).status, 200, "one's own token is still good");
    assertRefused(await phone.call("GET", "/users/me"), [401]);
    const refresh = (client: Client) =>
      new Client(t.url).call("POST", "/auth/refresh", { refresh_token: client.refreshToken });
    assert.equal((await refresh(ann)).status, 200);
    assertRefused(await refresh(phone), [401]);
    const { items } = await ann.ok("GET", "/auth/sessions");
    assert.equal(items.length, 1);
    assertProblem(await tryLogin(t.url, "ann"), 401, "invalid_credentials");
    assert.equal((await tryLogin(t.url, "ann", fresh)).status, 200);
    assertProblem(await erase(ann, { password }), 401, "invalid_credentials");
    assert.equal((await erase(ann, { password: fresh })).status, 204);
  }, env));

test.run();
