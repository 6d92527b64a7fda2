import assert from "node:assert/strict";
import { test } from "uvu";
import { type Answer, assertProblem, assertRefused, Client, type Json, register } from "../support/client.ts";
import { withServer } from "../support/server.ts";

const env = { RATE_LIMITS: "off" };
const unknownId = "0198c0de-0000-7000-8000-000000000000";
const fields = [
  "created_at",
  "created_by",
  "cursor",
  "id",
  "kind",
  "last_message",
  "last_seq",
  "member_count",
  "members",
  "muted_until",
  "my_role",
  "name",
  "title",
  "unread_count",
  "visibility",
];

test("a direct discussion is one per pair, whoever asks, and named after the other", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "Ann", "Bob", "Eve");
    const create = (by: Client, other: Client) =>
      by.call("POST", "/discussions", { kind: "direct", user_id: other.user.id });
    const first = await create(ann, bob);
    assert.equal(first.status, 201);
    assert.deepEqual(Object.keys(first.body).sort(), fields);
    const { kind, title, created_by, member_count, last_seq, last_message, unread_count } = first.body;
    assert.deepEqual(
      { kind, title, created_by, member_count, last_seq, last_message, unread_count },
      {
        kind: "direct",
        title: "Bob",
        created_by: ann.user.id,
        member_count: 2,
        last_seq: 0,
        last_message: null,
        unread_count: 0,
      },
    );
    assert.equal(first.body.muted_until, null);
    assert.match(first.body.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(memberIds(first.body), [ann.user.id, bob.user.id].sort());
    for (const member of first.body.members) {
      assert.deepEqual(Object.keys(member).sort(), ["joined_at", "last_read_seq", "role", "user_id"]);
      assert.equal(member.last_read_seq, 0);
    }
    assert.deepEqual(await ann.ok("GET", `/discussions/${first.body.id}`), first.body);

    const again = await create(ann, bob);
    assert.equal(again.status, 200);
    assert.deepEqual(again.body, first.body);
    const reverse = await create(bob, ann);
    assert.equal(reverse.status, 200);
    assert.equal(reverse.body.id, first.body.id);
    assert.equal(reverse.body.title, "Ann");
    const other = await create(eve, bob);
    assert.equal(other.status, 201);
    assert.notEqual(other.body.id, first.body.id);
  }, env));

test("a discussion with oneself has one member and says so", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t.url, "Ann", "Bob");
    const create = () => ann.call("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const answers = await Promise.all(Array.from({ length: 10 }, create));
    assert.equal(answers.filter(({ status }) => status === 201).length, 1);
    assert.equal(answers.filter(({ status }) => status === 200).length, 9);
    assert.equal(new Set(answers.map(({ body }) => body.id)).size, 1);
    const { body } = await create();
    assert.equal(body.title, "Ann (you)");
    assert.equal(body.member_count, 1);
    assert.deepEqual(memberIds(body), [ann.user.id]);
    await ann.send(body.id, "remember the milk");
    assert.equal((await ann.ok("GET", `/discussions/${body.id}`)).unread_count, 0);
    assertProblem(await bob.call("GET", `/discussions/${body.id}`), 404, "discussion_not_found");
  }, env));

test("a group is one per name and set of members, whoever asks and in whatever order", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "Ann", "Bob", "Eve");
    const [a, b, e] = [ann.user.id, bob.user.id, eve.user.id];
    const create = (by: Client, body: object) => by.call("POST", "/discussions", { kind: "group", ...body });
    const first = await create(ann, { name: "Tea", member_ids: [b, e] });
    assert.equal(first.status, 201);
    assert.deepEqual(Object.keys(first.body).sort(), fields);
    assert.equal(first.body.name, "Tea");
    assert.equal(first.body.title, "Tea");
    assert.equal(first.body.visibility, "private");
    assert.equal(first.body.my_role, "owner");
    assert.equal(first.body.member_count, 3);
    assert.deepEqual(roles(first.body), { [a]: "owner", [b]: "member", [e]: "member" });
    const same: [Client, object][] = [
      [ann, { name: "Tea", member_ids: [e, b] }],
      [ann, { name: "Tea", member_ids: [b, e, b, e] }],
      [ann, { name: "Tea", member_ids: [a, b, e], visibility: "private" }],
      [bob, { name: "Tea", member_ids: [a, e] }],
      [eve, { name: "Tea", member_ids: [b, a, e] }],
    ];
    for (const [by, body] of same) {
      const answer = await create(by, body);
      assert.equal(answer.status, 200, JSON.stringify(body));
      assert.equal(answer.body.id, first.body.id);
    }
    const seen = (await create(bob, { name: "Tea", member_ids: [a, e] })).body;
    assert.equal(seen.my_role, "member");
    assert.equal(seen.created_by, a);
    const others = [
      { name: "Tea", member_ids: [b] },
      { name: "Tea", member_ids: [e] },
      { name: "Coffee", member_ids: [b, e] },
      { member_ids: [b, e] },
    ];
    const ids = [first.body.id];
    for (const body of others) {
      const answer = await create(ann, body);
      assert.equal(answer.status, 201, JSON.stringify(body));
      ids.push(answer.body.id);
    }
    assert.equal(new Set(ids).size, 5);
    const unnamed = await create(bob, { member_ids: [e, a] });
    assert.equal(unnamed.status, 200);
    assert.equal(unnamed.body.id, ids[4]);
    assert.equal(unnamed.body.name, null);
    for (const name of ["Ann", "Eve"]) assert.ok(unnamed.body.title.includes(name), unnamed.body.title);
    assert.ok(!unnamed.body.title.includes("Bob"), "the title is for the reader");

    assert.equal((await ann.call("DELETE", `/discussions/${first.body.id}`)).status, 204);
    const reborn = await create(ann, { name: "Tea", member_ids: [b, e] });
    assert.equal(reborn.status, 201, "a deleted group is no longer in the way");
    assert.ok(!ids.includes(reborn.body.id));
  }, env));

test("fifty who create the same direct discussion at once get one", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t.url, "Ann", "Bob");
    const far = (await t.another()).url;
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, n) => {
        const [by, other] = n % 2 ? [ann, bob] : [bob, ann];
        return on(n % 4 < 2 ? t.url : far, by).call("POST", "/discussions", {
          kind: "direct",
          user_id: other.user.id,
        });
      }),
    );
    assertOneCreated(answers);
    const { items } = await ann.ok("GET", "/discussions");
    assert.equal(items.length, 1);
  }, env));

test("fifty who create the same group at once get one", () =>
  withServer(async (t) => {
    const crowd = await people(t.url, "Ann", "Bob", "Eve");
    const ids = crowd.map(({ user }) => user.id);
    const far = (await t.another()).url;
    for (const name of ["Tea", undefined]) {
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, n) => {
          const by = at(crowd, n % 3);
          const member_ids = n % 2 ? ids : [...ids].reverse().filter((id) => id !== by.user.id);
          return on(n % 4 < 2 ? t.url : far, by).call("POST", "/discussions", {
            kind: "group",
            ...(name && { name }),
            member_ids,
          });
        }),
      );
      assertOneCreated(answers);
      const discussion = answers[0]?.body;
      assert.deepEqual(memberIds(discussion), [...ids].sort());
    }
    assert.equal((await at(crowd, 2).ok("GET", "/discussions")).items.length, 2);
  }, env));

test("a group that is created and deleted at once is there or made anew, never missing", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t.url, "Ann", "Bob");
    for (let round = 0; round < 8; round++) {
      const { id } = await group(ann, "Brief", bob);
      const create = () =>
        bob.call("POST", "/discussions", { kind: "group", name: "Brief", member_ids: [ann.user.id] });
      const [gone, ...answers] = await Promise.all([
        ann.call("DELETE", `/discussions/${id}`),
        ...Array.from({ length: 12 }, create),
      ]);
      assert.equal(gone?.status, 204);
      const statuses = answers.map(({ status }) => status);
      assert.ok(
        statuses.every((status) => status === 200 || status === 201),
        `round ${round}: ${statuses}`,
      );
      const left = (await ann.ok("GET", "/discussions")).items.map(({ id }: Json) => id);
      assert.ok(left.length <= 1, "one at most is left");
      for (const { status, body } of answers)
        assert.ok(body.id === (status === 200 ? id : left[0]) || body.id === left[0], `round ${round}`);
      if (left.length > 0) await bob.ok("DELETE", `/discussions/${left[0]}`);
    }
  }, env));

test("titles follow the names of people and groups", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "Ann", "Bob", "Eve");
    const direct = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    const own = await bob.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    const unnamed = await ann.ok("POST", "/discussions", {
      kind: "group",
      member_ids: [bob.user.id, eve.user.id],
    });
    await bob.ok("PATCH", "/users/me", { display_name: "Robert" });
    assert.equal((await ann.ok("GET", `/discussions/${direct.id}`)).title, "Robert");
    assert.equal((await bob.ok("GET", `/discussions/${direct.id}`)).title, "Ann");
    assert.equal((await bob.ok("GET", `/discussions/${own.id}`)).title, "Robert (you)");
    const { title } = await eve.ok("GET", `/discussions/${unnamed.id}`);
    assert.ok(title.includes("Robert") && title.includes("Ann") && !title.includes("Eve"), title);
    await ann.ok("PATCH", `/discussions/${unnamed.id}`, { name: "Friends" });
    for (const { id, title } of (await eve.ok("GET", "/discussions")).items)
      assert.equal(title, "Friends", `the title of ${id}`);
  }, env));

test("a discussion that cannot be is refused, and nothing is left of it", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t.url, "Ann", "Bob");
    const [a, b] = [ann.user.id, bob.user.id];
    const strangers = (count: number) =>
      Array.from({ length: count }, (_, n) => unknownId.slice(0, -3) + String(n).padStart(3, "0"));
    const invalid = [
      {},
      { kind: "channel", user_id: b },
      { kind: "direct" },
      { kind: "direct", user_id: "bob" },
      { kind: "direct", user_id: [b] },
      { kind: "direct", user_id: null },
      { kind: "direct", user_id: b, member_ids: [a] },
      { kind: "direct", user_id: b, name: "Tea" },
      { kind: "group", name: "Tea" },
      { kind: "group", name: "Tea", member_ids: b },
      { kind: "group", name: "Tea", member_ids: [null] },
      { kind: "group", name: "Tea", member_ids: [b, "bob"] },
      { kind: "group", name: "Tea", member_ids: [b], user_id: b },
      { kind: "group", name: "Tea", member_ids: [b], visibility: "secret" },
      { kind: "group", name: "Tea", member_ids: [b], owner: a },
      { kind: "group", name: 5, member_ids: [b] },
      { kind: "group", name: "x".repeat(100_000), member_ids: [b] },
      { kind: "group", name: "a\u0000b", member_ids: [b] },
      { kind: "group", name: "\ud83d", member_ids: [b] },
      { kind: "group", name: "Tea", member_ids: strangers(101) },
    ];
    for (const body of invalid) {
      const answer = await ann.call("POST", "/discussions", body);
      assert.equal(answer.status, 400, JSON.stringify(body).slice(0, 200));
      assertProblem(answer, 400, "invalid_request");
      assert.ok(answer.body.errors.length > 0);
    }
    const indexed = await ann.call("POST", "/discussions", { kind: "group", member_ids: [b, "bob"] });
    assert.ok(indexed.body.errors.some(({ path }: Json) => path === "member_ids.1"));
    const missing = [
      { kind: "direct", user_id: unknownId },
      { kind: "group", name: "Tea", member_ids: [b, unknownId] },
      { kind: "group", name: "Tea", member_ids: strangers(100) },
    ];
    for (const body of missing) assertRefused(await ann.call("POST", "/discussions", body), [404]);
    for (const client of [ann, bob]) assert.deepEqual((await client.ok("GET", "/discussions")).items, []);
    assertRefused(
      await new Client(t.url).call("POST", "/discussions", { kind: "direct", user_id: b }),
      [401],
    );
  }, env));

test("one's discussions come by latest activity, with last message and unread count", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "Ann", "Bob", "Eve");
    const first = await group(ann, "First", bob);
    const second = await group(bob, "Second", ann);
    const third = await group(ann, "Third", bob);
    await group(eve, "Not Ann's", bob);
    const ids = async (client: Client) =>
      (await client.ok("GET", "/discussions")).items.map(({ id }: Json) => id);
    await ann.send(third.id, "one");
    await bob.send(second.id, "two");
    const last = await bob.send(first.id, "three");
    assert.deepEqual(await ids(ann), [first.id, second.id, third.id]);
    const fresh = await group(ann, "Fresh");
    assert.deepEqual(await ids(ann), [fresh.id, first.id, second.id, third.id]);
    await ann.send(third.id, "four");
    assert.deepEqual(await ids(ann), [third.id, fresh.id, first.id, second.id]);

    const list = await ann.ok("GET", "/discussions");
    assert.deepEqual(Object.keys(list).sort(), ["cursor", "items", "next_cursor"]);
    assert.equal(list.next_cursor, null);
    const listed = list.items.find(({ id }: Json) => id === first.id);
    assert.deepEqual(listed.last_message, last);
    assert.equal(listed.unread_count, 1);
    assert.equal(listed.last_seq, 1);
    const got = await ann.ok("GET", `/discussions/${first.id}`);
    assert.equal(got.cursor, list.cursor);
    const { cursor: _c, ...shown } = got;
    const { cursor: _l, ...inList } = listed;
    assert.deepEqual(inList, shown);
    const counts = list.items.map(({ unread_count }: Json) => unread_count);
    assert.deepEqual(counts, [0, 0, 1, 1]);
    assert.deepEqual((await eve.ok("GET", "/discussions")).items.length, 1);
  }, env));

test("the pages of one's discussions have each once; a wrong cursor or limit is refused", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t.url, "Ann", "Bob");
    const ids: string[] = [];
    for (let n = 0; n < 23; n++) ids.unshift((await group(ann, `Group ${n}`, bob)).id);
    for (const limit of [1, 6, 22, 23, 24, 200])
      assert.deepEqual(await pages(ann, "/discussions?", limit), ids, `limit ${limit}`);
    for (const id of ids.splice(3, 5)) {
      await bob.send(id, "up");
      ids.unshift(id);
    }
    assert.deepEqual(await pages(ann, "/discussions?", 4), ids);
    assert.deepEqual((await ann.ok("GET", "/discussions")).items.length, 23);

    for (const limit of ["0", "-1", "201", "1.5", "many", "NaN"])
      assertProblem(await ann.call("GET", `/discussions?limit=${limit}`), 400, "invalid_request");
    const { next_cursor: next, cursor: logCursor } = await ann.ok("GET", "/discussions?limit=3");
    for (const cursor of [
      "nonsense",
      "\0",
      next.slice(1),
      `${next}xyzw`,
      btoa("{}"),
      btoa("null"),
      btoa('["a","b"]'),
      logCursor,
    ]) {
      const answer = await ann.call("GET", `/discussions?cursor=${encodeURIComponent(cursor)}`);
      assert.equal(answer.status, 400, `cursor ${cursor}`);
      assertProblem(answer, 400, "invalid_request");
    }
  }, env));

test("public groups are found by everybody and joined; private ones are not there", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t.url, "Ann", "Bob", "Eve");
    const open = await group(ann, "Open house", bob, { visibility: "public" });
    assert.equal(open.visibility, "public");
    const closed = await group(ann, "Open heart", bob);
    const direct = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    const list = async (client: Client, query = "") =>
      (await client.ok("GET", `/discussions?visibility=public${query}`)).items.map(({ id }: Json) => id);
    for (const client of [ann, bob, eve]) {
      assert.deepEqual(await list(client), [open.id]);
      assert.deepEqual(await list(client, `&query=${encodeURIComponent("Open house")}`), [open.id]);
      for (const query of ["Closed", "%25", "_pen", "zzz"])
        assert.deepEqual(await list(client, `&query=${query}`), [], query);
    }
    for (const { id } of [closed, direct]) {
      assertProblem(await eve.call("POST", `/discussions/${id}/join`), 404, "discussion_not_found");
      assertProblem(await eve.call("GET", `/discussions/${id}`), 404, "discussion_not_found");
    }
    const unknown = await eve.call("POST", `/discussions/${unknownId}/join`);
    assertProblem(unknown, 404, "discussion_not_found");

    const joined = await eve.call("POST", `/discussions/${open.id}/join`);
    assert.equal(joined.status, 200);
    assert.deepEqual(Object.keys(joined.body).sort(), fields);
    assert.equal(joined.body.my_role, "member");
    assert.equal(joined.body.member_count, 3);
    assert.ok(memberIds(joined.body).includes(eve.user.id));
    await eve.send(open.id, "hello");
    const twice = await eve.call("POST", `/discussions/${open.id}/join`);
    assert.ok(twice.status < 500);
    assert.equal((await ann.ok("GET", `/discussions/${open.id}`)).member_count, 3);

    await ann.ok("PATCH", `/discussions/${open.id}`, { visibility: "private" });
    assert.deepEqual(await list(bob), []);
    await ann.ok("PATCH", `/discussions/${closed.id}`, { visibility: "public" });
    assert.deepEqual(await list(eve), [closed.id]);
    for (let n = 0; n < 11; n++) await group(ann, `Open ${n}`, bob, { visibility: "public" });
    const all = await pages(eve, "/discussions?visibility=public&", 200);
    assert.equal(all.length, 12);
    assert.deepEqual(await pages(eve, "/discussions?visibility=public&", 5), all);
  }, env));

test("owner and admin change a group; the owner alone deletes it, for everybody", () =>
  withServer(async (t) => {
    const [ann, bob, eve, outsider] = await people(t.url, "Ann", "Bob", "Eve", "Outsider");
    const { id } = await group(ann, "Tea", bob, {}, eve);
    const path = `/discussions/${id}`;
    await ann.ok("PATCH", `${path}/members/${bob.user.id}`, { role: "admin" });
    for (const [by, name] of [
      [ann, "Green tea"],
      [bob, "Grüner Tee 🍵"],
    ] as const) {
      const answer = await by.call("PATCH", path, { name });
      assert.equal(answer.status, 200);
      assert.equal(answer.body.title, name);
      assert.deepEqual(answer.body, await by.ok("GET", path));
    }
    assertRefused(await eve.call("PATCH", path, { name: "Eve's" }), [403]);
    assertRefused(await eve.call("DELETE", path), [403]);
    assertRefused(await bob.call("DELETE", path), [403]);
    for (const body of [
      { kind: "direct" },
      { name: 1 },
      { name: "x".repeat(100_000) },
      { name: "\u0000" },
      { visibility: "open" },
      { name: "Fine", member_ids: [] },
      { my_role: "owner" },
      { created_by: eve.user.id },
    ])
      assertProblem(await ann.call("PATCH", path, body), 400, "invalid_request");
    for (const [method, body] of [["GET"], ["PATCH", { name: "x" }], ["DELETE"]] as const)
      assertProblem(await outsider.call(method, path, body), 404, "discussion_not_found");
    assert.equal((await ann.ok("GET", path)).title, "Grüner Tee 🍵");

    const gone = await ann.call("DELETE", path);
    assert.equal(gone.status, 204);
    assert.equal(gone.body, null);
    for (const client of [ann, bob, eve]) {
      assertProblem(await client.call("GET", path), 404, "discussion_not_found");
      assertProblem(await client.call("GET", `${path}/messages`), 404, "discussion_not_found");
      const send = await client.call("POST", `${path}/messages`, { content: "anybody?" });
      assertProblem(send, 404, "discussion_not_found");
      assert.deepEqual((await client.ok("GET", "/discussions")).items, []);
    }
    assertProblem(await ann.call("DELETE", path), 404, "discussion_not_found");
  }, env));

async function people(url: string, ...names: string[]) {
  const crowd = await Promise.all(
    names.map((name) => register(url, name.toLowerCase(), { display_name: name })),
  );
  return crowd as [Client, Client, Client, Client];
}

function group(by: Client, name: string, other?: Client, more = {}, ...others: Client[]): Promise<Json> {
  const member_ids = [...(other ? [other] : []), ...others].map(({ user }) => user.id);
  return by.ok("POST", "/discussions", { kind: "group", name, member_ids, ...more });
}

/** The same person on another instance. */
function on(url: string, person: Client): Client {
  const client = new Client(url);
  client.token = person.token;
  return client;
}

function assertOneCreated(answers: Answer[]): void {
  const statuses = answers.map(({ status }) => status);
  assert.equal(statuses.filter((status) => status === 201).length, 1, `${statuses}`);
  assert.equal(statuses.filter((status) => status === 200).length, answers.length - 1, `${statuses}`);
  assert.equal(new Set(answers.map(({ body }) => body.id)).size, 1);
}

async function pages(client: Client, path: string, limit: number): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const from: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const page: Json = await client.ok("GET", `${path}limit=${limit}${from}`);
    assert.ok(page.items.length <= limit);
    ids.push(...page.items.map(({ id }: Json) => id));
    cursor = page.next_cursor;
  } while (cursor !== null);
  return ids;
}

function memberIds(discussion: Json): string[] {
  return discussion.members.map(({ user_id }: Json) => user_id).sort();
}

function roles(discussion: Json): Record<string, string> {
  return Object.fromEntries(discussion.members.map(({ user_id, role }: Json) => [user_id, role]));
}

function at<T>(list: T[], index: number): T {
  const item = list[index];
  assert.ok(item !== undefined);
  return item;
}

test.run();
