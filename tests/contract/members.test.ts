import assert from "node:assert/strict";
import { test } from "uvu";
import {
  type Answer,
  assertProblem,
  assertRefused,
  Client,
  type Json,
  pages,
  register,
} from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";

const env = { RATE_LIMITS: "off" };
const unknownId = "0198c0de-0000-7000-8000-000000000000";

test("whoever is added sees the discussion with all of its history", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "ann", "bob", "eve");
    const { id } = await group(ann, bob);
    const path = `/discussions/${id}`;
    await ann.send(id, "before eve");
    assertProblem(await eve.call("GET", path), 404, "discussion_not_found");
    const added = await ann.call("POST", `${path}/members`, { user_ids: [eve.user.id] });
    assert.equal(added.status, 200);
    assert.deepEqual(added.body, await ann.ok("GET", path));
    assert.equal(added.body.member_count, 3);
    assert.equal(roleOf(added.body, eve), "member");
    assert.equal((await eve.ok("GET", `${path}/messages`)).items.length, 1);
    assert.equal((await eve.ok("GET", "/discussions")).items[0].id, id);

    const again = await ann.call("POST", `${path}/members`, { user_ids: [eve.user.id, bob.user.id] });
    assert.equal(again.status, 200);
    assert.equal(again.body.member_count, 3);
    assert.equal(again.body.members.length, 3);
    await ann.ok("PATCH", `${path}/members/${bob.user.id}`, { role: "admin" });
    const kept = await ann.ok("POST", `${path}/members`, { user_ids: [bob.user.id] });
    assert.equal(roleOf(kept, bob), "admin", "adding somebody again does not change the role");
  }, env));

test("a wrong addition is refused whole", () =>
  withServer(async (t) => {
    const [ann, bob, eve, outsider] = await people(t.url, "ann", "bob", "eve", "outsider");
    const { id } = await group(ann, bob);
    const path = `/discussions/${id}/members`;
    const strangers = Array.from({ length: 101 }, (_, n) => unknownId.slice(0, -3) + String(n + 100));
    const invalid = [
      {},
      { user_ids: eve.user.id },
      { user_ids: ["eve"] },
      { user_ids: [1] },
      { user_ids: [null] },
      { user_ids: [eve.user.id, "eve"] },
      { user_ids: [eve.user.id], role: "owner" },
      { member_ids: [eve.user.id] },
      { user_ids: strangers },
      [eve.user.id],
    ];
    for (const body of invalid) {
      const answer = await ann.call("POST", path, body);
      assert.equal(answer.status, 400, JSON.stringify(body).slice(0, 100));
      assertProblem(answer, 400, "invalid_request");
    }
    assertRefused(await ann.call("POST", path, { user_ids: [eve.user.id, unknownId] }), [404]);
    assertRefused(await ann.call("POST", path, { user_ids: strangers.slice(1) }), [404]);
    const self = await outsider.call("POST", path, { user_ids: [outsider.user.id] });
    assertProblem(self, 404, "discussion_not_found");
    assertRefused(await new Client(t.url).call("POST", path, { user_ids: [eve.user.id] }), [401]);
    assert.equal((await ann.ok("GET", `/discussions/${id}`)).member_count, 2);
    assert.deepEqual((await eve.ok("GET", "/discussions")).items, []);
  }, env));

test("all members of a large group are listed page by page, the first hundred with the discussion", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const crowd: Client[] = [];
    for (let from = 0; from < 110; from += 10)
      crowd.push(
        ...(await Promise.all(Array.from({ length: 10 }, (_, n) => register(t.url, `user${from + n}`)))),
      );
    const ids = crowd.map(({ user }) => user.id);
    const member_ids = ids.slice(0, 60);
    const { id } = await ann.ok("POST", "/discussions", { kind: "group", name: "Crowd", member_ids });
    const full = await ann.ok("POST", `/discussions/${id}/members`, { user_ids: ids.slice(60) });
    assert.equal(full.member_count, 111);
    assert.equal(full.members.length, 100);
    const everybody = [ann.user.id, ...ids].sort();
    for (const limit of [7, 50, 110, 111, 200]) {
      const listed = await pages(ann, `/discussions/${id}/members?`, limit);
      assert.deepEqual(listed.map(({ user_id }) => user_id).sort(), everybody, `limit ${limit}`);
      for (const member of listed)
        assert.deepEqual(Object.keys(member).sort(), ["joined_at", "last_read_seq", "role", "user_id"]);
    }
    assert.equal((await ann.ok("GET", `/discussions/${id}/members`)).items.length, 50);
    for (const query of ["limit=0", "limit=201", "limit=x", "cursor=nonsense", `cursor=${btoa("[1,2]")}`]) {
      const answer = await ann.call("GET", `/discussions/${id}/members?${query}`);
      assert.equal(answer.status, 400, query);
      assertProblem(answer, 400, "invalid_request");
    }
    const last = crowd.at(-1);
    assert.ok(last);
    assert.equal((await last.ok("GET", `/discussions/${id}`)).my_role, "member");
    assert.equal((await last.call("DELETE", `/discussions/${id}/members/${last.user.id}`)).status, 204);
    const left = await last.call("GET", `/discussions/${id}/members`);
    assertProblem(left, 404, "discussion_not_found");
  }, env));

test("roles are changed by who may, to roles that exist, of members that exist", () =>
  withServer(async (t) => {
    const [ann, bob, eve, outsider] = await people(t.url, "ann", "bob", "eve", "outsider");
    const { id } = await group(ann, bob, eve);
    const change = (by: Client, of: string, body: unknown) =>
      by.call("PATCH", `/discussions/${id}/members/${of}`, body);
    for (const target of [ann, bob, eve])
      for (const role of ["owner", "admin", "member"])
        assertRefused(await change(bob, target.user.id, { role }), [403]);
    for (const role of ["king", "", null, 1, ["admin"], "Owner"])
      assertProblem(await change(ann, bob.user.id, { role }), 400, "invalid_request");
    assertProblem(await change(ann, bob.user.id, {}), 400, "invalid_request");
    const more = await change(ann, bob.user.id, { role: "admin", joined_at: "2020-01-01T00:00:00.000Z" });
    assertProblem(more, 400, "invalid_request");
    assertRefused(await change(ann, unknownId, { role: "admin" }), [404]);
    assertRefused(await change(ann, outsider.user.id, { role: "admin" }), [404]);
    assertProblem(await change(outsider, bob.user.id, { role: "owner" }), 404, "discussion_not_found");
    const before = await ann.ok("GET", `/discussions/${id}`);
    assert.deepEqual(
      [ann, bob, eve].map((client) => roleOf(before, client)),
      ["owner", "member", "member"],
    );

    for (const role of ["admin", "owner", "member", "admin"]) {
      const answer = await change(ann, bob.user.id, { role });
      assert.equal(answer.status, 200);
      assert.equal((await bob.ok("GET", `/discussions/${id}`)).my_role, role);
    }
  }, env));

test("a removed member hears, sees and does nothing more, until added again", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "ann", "bob", "eve");
    const { id } = await group(ann, bob, eve);
    const path = `/discussions/${id}`;
    const mine = await bob.send(id, "mine", { client_id: "m" });
    assertRefused(await eve.call("DELETE", `${path}/members/${bob.user.id}`), [403]);
    assertRefused(await eve.call("DELETE", `${path}/members/${ann.user.id}`), [403]);
    assert.equal((await ann.ok("GET", path)).member_count, 3);

    const streams = await Promise.all([
      openTestStream("ws", bob, { discussionId: id }),
      openTestStream("sse", bob, { discussionId: id }),
    ]);
    const removed = await ann.call("DELETE", `${path}/members/${bob.user.id}`);
    assert.equal(removed.status, 204);
    assert.equal(removed.body, null);
    for (const stream of streams) await eventually(() => assert.equal(stream.ended(), 4503));
    await ann.send(id, "without bob");
    const attempts: [string, string, unknown?][] = [
      ["GET", path],
      ["GET", `${path}/messages`],
      ["GET", `${path}/members`],
      ["POST", `${path}/messages`, { content: "let me in" }],
      ["PUT", `${path}/read`, { seq: 1 }],
      ["POST", `${path}/join`],
      ["POST", `${path}/members`, { user_ids: [bob.user.id] }],
      ["PATCH", `${path}/members/${bob.user.id}`, { role: "owner" }],
      ["DELETE", `${path}/members/${bob.user.id}`],
      ["DELETE", `${path}/members/${eve.user.id}`],
      ["PATCH", path, { name: "mine" }],
      ["DELETE", path],
    ];
    for (const [method, target, body] of attempts) {
      const answer = await bob.call(method, target, body);
      assert.equal(answer.status, 404, `${method} ${target} → ${answer.status}`);
      assertProblem(answer, 404, "discussion_not_found");
    }
    assert.deepEqual((await bob.ok("GET", "/discussions")).items, []);
    assert.deepEqual((await bob.ok("GET", "/messages")).items, []);
    assertRefused(await ann.call("DELETE", `${path}/members/${bob.user.id}`), [404]);
    assertRefused(await ann.call("DELETE", `${path}/members/${unknownId}`), [404]);
    assert.equal((await ann.ok("GET", path)).member_count, 2);

    await ann.ok("POST", `${path}/members`, { user_ids: [bob.user.id] });
    const contents = (await bob.ok("GET", `${path}/messages`)).items.map(({ content }: Json) => content);
    assert.deepEqual(contents, ["mine", "without bob"]);
    assert.deepEqual(await bob.send(id, "mine", { client_id: "m" }), mine, "idempotent for ever");
    assert.equal((await bob.send(id, "back")).seq, 3);
  }, env));

test("the last owner stays while others remain", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "ann", "bob", "eve");
    const { id } = await group(ann, bob, eve);
    const leave = (client: Client) => client.call("DELETE", `/discussions/${id}/members/${client.user.id}`);
    assertProblem(await leave(ann), 409, "last_owner");
    await ann.ok("PATCH", `/discussions/${id}/members/${bob.user.id}`, { role: "admin" });
    assertProblem(await leave(ann), 409, "last_owner");
    assert.equal((await leave(eve)).status, 204);
    assertProblem(await leave(ann), 409, "last_owner");
    await ann.ok("PATCH", `/discussions/${id}/members/${bob.user.id}`, { role: "owner" });
    assert.equal((await leave(ann)).status, 204);
    assertProblem(await ann.call("GET", `/discussions/${id}`), 404, "discussion_not_found");
    assert.equal((await bob.ok("GET", `/discussions/${id}`)).my_role, "owner");
    assert.equal((await leave(bob)).status, 204, "who is alone may leave");
    assert.deepEqual((await bob.ok("GET", "/discussions")).items, []);
  }, env));

test("owners who leave or remove each other at the same time leave one owner behind", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "ann", "bob", "eve");
    const far = new Client((await t.another()).url);
    far.token = bob.token;
    for (let round = 0; round < 12; round++) {
      const { id } = await named(ann, `Round ${round}`, bob, eve);
      await ann.ok("PATCH", `/discussions/${id}/members/${bob.user.id}`, { role: "owner" });
      const [a, b] = [ann.user.id, bob.user.id];
      const [byAnn, byBob] = round % 2 ? [a, b] : [b, a];
      const answers = await Promise.all([
        ann.call("DELETE", `/discussions/${id}/members/${byAnn}`),
        far.call("DELETE", `/discussions/${id}/members/${byBob}`),
      ]);
      const statuses = answers.map(({ status }) => status).sort();
      assert.equal(statuses.filter((status) => status === 204).length, 1, `round ${round}: ${statuses}`);
      if (round % 2) assert.deepEqual(statuses, [204, 409]);
      const { members } = await eve.ok("GET", `/discussions/${id}`);
      assert.equal(members.filter(({ role }: Json) => role === "owner").length, 1, `round ${round}`);
    }
  }, env));

test("a direct discussion keeps its two members", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "ann", "bob", "eve");
    for (const other of [bob, ann]) {
      const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: other.user.id });
      const path = `/discussions/${id}/members`;
      const before = await ann.ok("GET", `/discussions/${id}`);
      const added = await ann.call("POST", path, { user_ids: [eve.user.id] });
      assertProblem(added, 409, "direct_discussion");
      for (const target of [ann, other])
        assertProblem(await ann.call("DELETE", `${path}/${target.user.id}`), 409, "direct_discussion");
      const role = await ann.call("PATCH", `${path}/${other.user.id}`, { role: "owner" });
      assertProblem(role, 409, "direct_discussion");
      assertProblem(await eve.call("POST", path, { user_ids: [eve.user.id] }), 404, "discussion_not_found");
      assert.deepEqual(await ann.ok("GET", `/discussions/${id}`), before);
    }
  }, env));

test("many who join, are added and leave at once are each counted once", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const crowd = await Promise.all(Array.from({ length: 16 }, (_, n) => register(t.url, `user${n}`)));
    const far = (await t.another()).url;
    const { id } = await ann.ok("POST", "/discussions", {
      kind: "group",
      name: "Open",
      member_ids: [],
      visibility: "public",
    });
    const user_ids = crowd.map(({ user }) => user.id);
    const answers = await Promise.all([
      ...crowd.map((client) => client.call("POST", `/discussions/${id}/join`)),
      ...crowd.map((client) => {
        const second = new Client(far);
        second.token = client.token;
        return second.call("POST", `/discussions/${id}/join`);
      }),
      ...[0, 1, 2].map(() => ann.call("POST", `/discussions/${id}/members`, { user_ids })),
      ann.call("POST", `/discussions/${id}/members`, { user_ids: [...user_ids].reverse() }),
    ]);
    for (const { status, body } of answers) assert.ok(status < 500, JSON.stringify(body));
    const joined = await ann.ok("GET", `/discussions/${id}`);
    assert.equal(joined.member_count, 17);
    const ids = joined.members.map(({ user_id }: Json) => user_id).sort();
    assert.deepEqual(ids, [ann.user.id, ...user_ids].sort());

    const stream = await openTestStream("ws", ann, { since: joined.cursor });
    const leaving = await Promise.all(
      crowd.slice(0, 8).flatMap((client) => {
        const path = `/discussions/${id}/members/${client.user.id}`;
        return [client.call("DELETE", path), ann.call("DELETE", path)];
      }),
    );
    for (let n = 0; n < 16; n += 2)
      assert.ok(
        leaving.slice(n, n + 2).some(({ status }) => status === 204),
        "one of the two removed",
      );
    for (const answer of leaving.filter(({ status }) => status !== 204)) assertRefused(answer, [403, 404]);
    assert.equal((await ann.ok("GET", `/discussions/${id}`)).member_count, 9);
    await ann.send(id, "end");
    await stream.until((received) => received.some(({ type }) => type === "message.new"));
    const removed = stream.received.filter(({ type }) => type === "member.removed");
    assert.deepEqual(
      removed.map(({ user_id }) => user_id).sort(),
      user_ids.slice(0, 8).sort(),
      "each leaving is told once",
    );
    stream.cut();
  }, env));

test("whatever many do to one group at once, nothing breaks and everything adds up", () =>
  withServer(async (t) => {
    const crowd = await Promise.all(Array.from({ length: 8 }, (_, n) => register(t.url, `user${n}`)));
    const far = (await t.another()).url;
    const ids = crowd.map(({ user }) => user.id);
    const create = { kind: "group", name: "Storm", member_ids: ids.slice(0, 6), visibility: "public" };
    const { id } = await (crowd[0] as Client).ok("POST", "/discussions", create);
    const path = `/discussions/${id}`;
    const deeds: ((other: string, n: number) => [string, string, unknown?])[] = [
      (_, n) => ["POST", `${path}/messages`, { content: `${n}`, client_id: `${n % 50}` }],
      (_, n) => ["POST", `${path}/messages`, { content: `${n}` }],
      () => ["POST", `${path}/join`],
      (other) => ["POST", `${path}/members`, { user_ids: [other, ...ids] }],
      (other) => ["DELETE", `${path}/members/${other}`],
      (other, n) => ["PATCH", `${path}/members/${other}`, { role: ["owner", "admin", "member"][n % 3] }],
      (_, n) => ["PATCH", path, { name: `Storm ${n % 4}` }],
      (_, n) => ["PUT", `${path}/read`, { seq: n % 40 }],
      (_, n) => ["POST", "/discussions", { ...create, name: `Storm ${n % 4}` }],
      () => ["GET", "/discussions"],
      () => ["GET", `${path}/messages`],
    ];
    let stored = 0;
    let n = 0;
    const run = async (by: Client) => {
      const there = new Client(far);
      there.token = by.token;
      for (let turn = 0; turn < 30; turn++) {
        const step = n++;
        const deed = deeds[(step * 7) % deeds.length] as (typeof deeds)[number];
        const [method, target, body] = deed(ids[(step * 5) % ids.length], step);
        const answer = await (step % 2 ? by : there).call(method, target, body);
        assert.ok(answer.status < 500, `${method} ${target} → ${answer.status}`);
        if (answer.status === 201 && target.endsWith("/messages")) stored++;
      }
    };
    await Promise.all([...crowd, ...crowd].map(run));
    const last = crowd[7] as Client;
    await last.call("POST", `${path}/join`);
    const found = await Promise.all(crowd.map((client) => client.call("GET", path)));
    const { body } = found.find(({ status, body }) => status === 200 && body.my_role) as Answer;
    assert.equal(body.member_count, body.members.length);
    assert.ok(
      body.members.some(({ role }: Json) => role === "owner"),
      "somebody owns it",
    );
    assert.ok(stored > 0);
    assert.equal(body.last_seq, stored);
  }, env));

async function people(url: string, ...names: string[]) {
  const crowd = await Promise.all(names.map((name) => register(url, name)));
  return crowd as [Client, Client, Client, Client];
}

function group(by: Client, ...others: Client[]): Promise<Json> {
  return named(by, "Tea", ...others);
}

function named(by: Client, name: string, ...others: Client[]): Promise<Json> {
  const member_ids = others.map(({ user }) => user.id);
  return by.ok("POST", "/discussions", { kind: "group", name, member_ids });
}

function roleOf(discussion: Json, client: Client): string {
  return discussion.members.find(({ user_id }: Json) => user_id === client.user.id)?.role;
}

test("a cursor with a day that never was is refused", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "group", name: "days", member_ids: [] });
    for (const moment of ["2026-02-30 00:00:00+00", "0000-01-01 00:00:00+00", "2026-01-01 24:00:00+00"]) {
      const cursor = Buffer.from(JSON.stringify([moment, id])).toString("base64url");
      for (const path of [`/discussions/${id}/members`, "/discussions", "/users/me/blocks"]) {
        assertProblem(await ann.call("GET", `${path}?cursor=${cursor}`), 400, "invalid_request");
      }
    }
  }));

test.run();
