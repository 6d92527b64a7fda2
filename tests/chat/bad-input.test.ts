import assert from "node:assert/strict";
import { test } from "uvu";
import { openReady, withSql } from "../delivery/help.ts";
import { assertRefused, type Client, type Json, password } from "../support/client.ts";
import { type TestServer, withServer } from "../support/server.ts";
import {
  assertDone,
  byRest,
  clientErrors,
  createRoom,
  env,
  fetchText,
  kinds,
  settle,
  unknownId,
} from "./help.ts";

/** What comes and goes by itself: sessions, their use, and what is counted, cached or made later. */
const volatile = /session|ticket|rate|limit|presence|signal|connection|instance|last_seen|search/;

/** A digest of every table's rows, to see that nothing has changed. */
async function digest(t: TestServer): Promise<Json> {
  return withSql(t.databaseUrl, async (db) => {
    const { rows } = await db.query(
      `select format('%I.%I', schemaname, tablename) as name from pg_tables
       where schemaname not in ('pg_catalog', 'information_schema')`,
    );
    const result: Json = {};
    for (const { name } of rows) {
      if (volatile.test(name)) continue;
      const text = `select md5(coalesce(string_agg(line::text, ' ' order by line::text), '')) as sum
        from ${name} as line`;
      result[name] = (await db.query(text)).rows[0].sum;
    }
    return result;
  });
}

/**
 * Runs a test of mistakes in a room with some content: whatever they are, nothing may change, no stream may
 * end or hear of anything, and the server goes on.
 */
function withMistakes(
  act: (room: Awaited<ReturnType<typeof createRoom>>, t: TestServer) => Promise<void>,
): Promise<void> {
  return withServer(async (t) => {
    const room = await createRoom(t.url);
    const { ann, bob, id } = room;
    await ann.send(id, "one", { client_id: "c1" });
    await bob.send(id, "two");
    assertDone(await byRest(ann).react(id, 2, "👍"));
    const streams = await Promise.all(kinds.map((kind) => openReady(kind, ann)));
    const before = await digest(t);
    await act(room, t);
    assert.deepEqual(await digest(t), before);
    await settle(bob, id, ...streams);
    for (const stream of streams) {
      const types = stream.received.map(({ type }) => type);
      assert.deepEqual(
        types.filter((type) => !["typing", "presence"].includes(type)),
        ["ready", "message.new"],
      );
      stream.cut();
    }
  }, env);
}

async function refuses(client: Client, method: string, path: string, body?: unknown): Promise<void> {
  const answer = await client.call(method, path, body);
  const hint = `${method} ${path.slice(0, 120)} ${JSON.stringify(body)?.slice(0, 120)} → ${answer.status}`;
  assert.ok(clientErrors.includes(answer.status), `${hint} ${JSON.stringify(answer.body)}`);
  assertRefused(answer, clientErrors);
}

/** Whatever the answer is, it is none of the server's own faults. */
async function survives(client: Client, method: string, path: string, body?: unknown): Promise<void> {
  const { status } = await client.call(method, path, body);
  assert.ok(
    status < 500,
    `${method} ${path.slice(0, 120)} ${JSON.stringify(body)?.slice(0, 120)} → ${status}`,
  );
}

const badText = [1, true, [], ["x"], {}, "a\u0000b", "\ud800", "x\udc00y"];
const badSeq = [null, "1", "x", 1.5, -1, true, [], [1], {}, 1e300, -1e300];
const badId = [null, "x", "", 1, true, [], {}, `${unknownId}0`, `{${unknownId}}`, "\u0000"];

/** Every route of the tables with a body: one that would do, were it not for one field. */
const bodies: [method: string, path: string, good: Json, bad: Record<string, unknown[]>][] = [
  [
    "PATCH",
    "/users/me",
    { display_name: "Ann" },
    {
      display_name: [...badText, "x".repeat(100_000)],
      status_text: [...badText, "x".repeat(100_000)],
      email: [...badText, "nobody", "a@b@c", "x".repeat(100_000)],
      password: [...badText, "short", "x".repeat(257)],
    },
  ],
  ["DELETE", "/users/me", {}, { password: [...badText, null, "", "wrong password", "x".repeat(100_000)] }],
  ["POST", "/discussions", { kind: "direct" }, { user_id: badId, kind: [...badText, null, "channel"] }],
  [
    "POST",
    "/discussions",
    { kind: "group", name: "New", member_ids: [] },
    {
      name: [...badText, "x".repeat(100_000)],
      visibility: [...badText, "secret", null],
      member_ids: [null, "x", 1, {}, [null], ["x"], [1], [[]], Array(101).fill(unknownId)],
    },
  ],
  [
    "PATCH",
    "/discussions/ID",
    {},
    { name: [...badText, "x".repeat(100_000)], visibility: [...badText, null, ""] },
  ],
  ["POST", "/discussions/ID/members", {}, { user_ids: [null, "x", {}, [null], ["x"], [1], [unknownId]] }],
  ["PATCH", "/discussions/ID/members/BOB", {}, { role: [...badText, null, "", "Owner", "king"] }],
  ["PUT", "/discussions/ID/read", {}, { seq: badSeq.filter((seq) => seq !== 1e300) }],
  ["PUT", "/discussions/ID/mute", {}, { until: [...badText, "", "x", 0, 1e300, "2031-05-06"] }],
  [
    "POST",
    "/discussions/ID/messages",
    { content: "x" },
    {
      content: [...badText, null, "", "x".repeat(16_001)],
      client_id: [...badText, "", "x".repeat(65)],
      reply_to_seq: [...badSeq.filter((seq) => seq !== null), 0, 3, 2 ** 31, 2 ** 53],
      attachment_ids: ["x", 1, {}, [null], ["x"], [1], [unknownId], Array(1_000).fill(unknownId)],
    },
  ],
  ["PATCH", "/discussions/ID/messages/1", {}, { content: [...badText, null, "", "x".repeat(16_001)] }],
];

for (const [method, template, good, bad] of bodies)
  for (const [field, values] of Object.entries(bad))
    test(`${method} ${template} refuses what is no ${field}, with other fields right or wrong`, () =>
      withMistakes(async ({ ann, bob, id }) => {
        const path = template.replace("ID", id).replace("BOB", bob.user.id);
        for (const value of values) {
          await refuses(ann, method, path, { ...good, [field]: value });
          await refuses(ann, method, path, { ...good, [field]: value, unknown: true });
        }
      }));

test("unknown fields, bodies that are no objects, and wrong content types are refused by every route", () =>
  withMistakes(async ({ ann, bob, id }) => {
    const full: Record<string, Json> = {
      "PATCH /users/me": { display_name: "Changed" },
      "DELETE /users/me": { password },
      "POST /discussions": { kind: "direct", user_id: bob.user.id },
      "PATCH /discussions/ID": { name: "Changed" },
      "POST /discussions/ID/members": { user_ids: [bob.user.id] },
      "PATCH /discussions/ID/members/BOB": { role: "owner" },
      "PUT /discussions/ID/read": { seq: 2 },
      "PUT /discussions/ID/mute": { until: "2031-05-06T12:00:00.000Z" },
      "POST /discussions/ID/messages": { content: "changed" },
      "PATCH /discussions/ID/messages/1": { content: "changed" },
    };
    for (const [route, body] of Object.entries(full)) {
      const [method = "", template = ""] = route.split(" ");
      const path = template.replace("ID", id).replace("BOB", bob.user.id);
      for (const more of [{ unknown: 1 }, { "": 1 }, { id: unknownId }, { constructor: 1 }, { "a\u0000": 1 }])
        await refuses(ann, method, path, { ...body, ...more });
      for (const other of [[], [body], [[body]], "null", "5", '"x"', "{", "", "{}x", '{"__proto__":{"x":1}}'])
        if (other !== "" || method !== "DELETE") await refuses(ann, method, path, other);
      for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "*/*"]) {
        const answer = await ann.call(method, path, body, { "content-type": type });
        assertRefused(answer, [400, 415]);
      }
    }
  }));

const strangeIds = [
  "x",
  "1",
  "null",
  "%00",
  "..%2f..",
  "%F0%9F%99%82",
  "a".repeat(2_000),
  `${unknownId}0`,
  unknownId,
];

test("ids that are none, or of nobody, are refused by every route", () =>
  withMistakes(async ({ ann, id }) => {
    for (const strange of strangeIds)
      for (const [method, path, body] of [
        ["GET", `/users/${strange}`],
        ["GET", `/users/${strange}/avatar`],
        ["GET", `/users/${strange}/presence`],
        ["PUT", `/users/${strange}/block`],
        ["GET", `/discussions/${strange}`],
        ["PATCH", `/discussions/${strange}`, { name: "x" }],
        ["DELETE", `/discussions/${strange}`],
        ["POST", `/discussions/${strange}/join`],
        ["GET", `/discussions/${strange}/members`],
        ["GET", `/discussions/${strange}/presence`],
        ["POST", `/discussions/${strange}/typing`],
        ["PUT", `/discussions/${strange}/read`, { seq: 1 }],
        ["PUT", `/discussions/${strange}/mute`, { until: null }],
        ["GET", `/discussions/${strange}/messages`],
        ["POST", `/discussions/${strange}/messages`, { content: "x" }],
        ["PATCH", `/discussions/${strange}/messages/1`, { content: "x" }],
        ["DELETE", `/discussions/${strange}/messages/1`],
        ["GET", `/discussions/${strange}/messages/1/edits`],
        ["PUT", `/discussions/${strange}/messages/1/reactions/%F0%9F%91%8D`],
        ["DELETE", `/discussions/${strange}/messages/1/reactions/%F0%9F%91%8D`],
        ["PATCH", `/discussions/${id}/members/${strange}`, { role: "admin" }],
        ["DELETE", `/discussions/${id}/members/${strange}`],
        ["GET", `/attachments/${strange}`],
      ] as [string, string, unknown?][])
        await refuses(ann, method, path, body);
  }));

test("numbers of messages that are none, or of none, are refused by every route", () =>
  withMistakes(async ({ ann, id }) => {
    const numbers = [
      "0",
      "-1",
      "1.5",
      "1e0",
      "+1",
      "0x1",
      "x",
      "%00",
      "1%00",
      "%201",
      "NaN",
      "null",
      "١",
      "3",
    ];
    numbers.push("2147483647", "2147483648", "9007199254740993", "9223372036854775808", "9".repeat(500));
    for (const seq of numbers) {
      const path = `/discussions/${id}/messages/${encodeURI(seq).replaceAll("%25", "%")}`;
      await refuses(ann, "PATCH", path, { content: "x" });
      await refuses(ann, "DELETE", path);
      await refuses(ann, "GET", `${path}/edits`);
      await refuses(ann, "PUT", `${path}/reactions/%F0%9F%91%8D`);
    }
  }));

test("limits and cursors of lists are checked by every list", () =>
  withMistakes(async ({ ann, bob, id }) => {
    const lists = [
      "/users?",
      "/users/me/blocks?",
      "/discussions?",
      "/discussions?visibility=public&",
      `/discussions/${id}/members?`,
      "/messages?",
      `/discussions/${id}/messages/1/edits?`,
      "/search?q=one&",
    ];
    const limits = ["0", "-1", "201", "abc", "1.5", "", "%00", "99999999999999999999", "null"];
    const cursors = ["x", "%00", "null", btoa("{}"), btoa("[1,2]"), btoa('["a","b"]'), "%F0%9F%99%82", "e30"];
    cursors.push(
      encodeURIComponent("' or 1=1 --"),
      "a".repeat(4_000),
      btoa("null"),
      btoa("[]"),
      btoa('["",""]'),
    );
    for (const list of lists) {
      for (const limit of limits) await refuses(ann, "GET", `${list}limit=${limit}`);
      for (const cursor of cursors) await refuses(ann, "GET", `${list}cursor=${cursor}`);
      for (const client of [ann, bob])
        assert.ok(Array.isArray((await client.ok("GET", `${list}limit=200`)).items));
    }
    for (const limit of limits) await refuses(ann, "GET", `/discussions/${id}/messages?limit=${limit}`);
    for (const name of ["before", "after", "around"])
      for (const value of ["x", "", "1.5", "%00", "null", "[]"])
        await refuses(ann, "GET", `/discussions/${id}/messages?${name}=${value}`);
    for (const query of ["before=1&after=1&around=1", "before=9223372036854775808", "after=-1", "nonsense=1"])
      await survives(ann, "GET", `/discussions/${id}/messages?${query}`);
  }));

test("a cursor of one list serves no other list and no other filter with more than that person may see", () =>
  withMistakes(async ({ ann, bob, eve, id }) => {
    const { next_cursor } = await ann.ok("GET", "/messages?limit=1");
    assert.equal(typeof next_cursor, "string");
    const cursor = encodeURIComponent(next_cursor);
    for (const path of ["/users", "/discussions", `/discussions/${id}/members`, "/users/me/blocks"])
      await survives(ann, "GET", `${path}?cursor=${cursor}`);
    const strangers = await eve.call("GET", `/messages?cursor=${cursor}`);
    if (strangers.status === 200) assert.deepEqual(strangers.body.items, []);
    assert.equal((await bob.ok("GET", `/messages?cursor=${cursor}`)).items.length, 1);
  }));

test("filters and searches that make no sense are refused or find nothing", () =>
  withMistakes(async ({ ann, eve, id }) => {
    for (const query of [
      "discussion_id=x",
      "sender_id=x",
      "discussion_id=",
      "sender_id=%00",
      "discussion_id=1",
    ]) {
      await refuses(ann, "GET", `/messages?${query}`);
      await refuses(ann, "GET", `/search?q=one&${query}`);
    }
    for (const query of ["", "q=", "q=%00", "q=a%00b"]) await refuses(ann, "GET", `/search?${query}`);
    await survives(ann, "GET", `/search?q=${"x".repeat(8_000)}`);
    const odd = [
      "%20",
      "'",
      '"',
      '"one',
      "one -one",
      "!(",
      "a & | b",
      "<->",
      ":*",
      "\\",
      "%",
      "_",
      "(((((",
      "--",
    ];
    odd.push("*", "one:*", "😀", "\u202e", "ß".repeat(50), "a ".repeat(100), "日", "%25", "NOT", "or or or");
    for (const q of odd) await survives(ann, "GET", `/search?q=${q === "%20" ? q : encodeURIComponent(q)}`);
    const strangers = await eve.ok("GET", "/search?q=one");
    assert.deepEqual(strangers.items, [], "only in one's own discussions");
    const hidden = await eve.call("GET", `/search?q=one&discussion_id=${id}`);
    assert.ok(hidden.status === 404 || hidden.body.items.length === 0);
    assert.equal((await ann.ok("GET", "/search?q=one")).items.length, 1);
    for (const path of ["/users?query=%00", "/users?email=%00", "/discussions?visibility=secret"])
      await refuses(ann, "GET", path);
  }));

test("uploads that are none are refused", () =>
  withMistakes(async ({ ann, eve }) => {
    const png = "\u0089PNG\r\n\u001a\n";
    const typed = (type: string) => ({ "content-type": type });
    const refusesUpload = async (method: string, path: string, body: string | FormData, type?: string) => {
      const answer = await fetchText(ann, method, path, body, type === undefined ? {} : typed(type));
      assert.ok(clientErrors.includes(answer.status), `${method} ${path} ${type} → ${answer.status}`);
      assert.match(JSON.parse(answer.text).code, /^[a-z_]+$/);
    };
    const form = (name: string, value: string | Blob) => {
      const data = new FormData();
      if (typeof value === "string") data.set(name, value);
      else data.set(name, value, "name.txt");
      return data;
    };
    const multipart = "multipart/form-data; boundary=b";
    await refusesUpload("POST", "/attachments", "{}", "application/json");
    await refusesUpload("POST", "/attachments", "text", "text/plain");
    await refusesUpload("POST", "/attachments", "", multipart);
    await refusesUpload("POST", "/attachments", "no parts at all", multipart);
    await refusesUpload("POST", "/attachments", "--b\r\n", "multipart/form-data");
    await refusesUpload("POST", "/attachments", "--b--\r\n", multipart);
    const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n';
    await refusesUpload("POST", "/attachments", `${head}cut off in the mid`, multipart);
    await refusesUpload("POST", "/attachments", form("other", new Blob(["text"])));
    await refusesUpload("POST", "/attachments", form("file", "a field, and no file"));
    for (const [body, type] of [
      ["text", "text/plain"],
      ["<svg onload='alert(1)' xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"],
      ["<html><script>alert(1)</script>", "image/png"],
      [png, "image/png"],
      ["", "image/png"],
      ["{}", "application/json"],
    ] as const) {
      await refusesUpload("PUT", "/users/me/avatar", body, type);
      await refusesUpload("PUT", "/users/me/avatar", form("file", new Blob([body], { type })));
    }
    for (const path of [`/attachments/${unknownId}`, "/attachments/x"]) await refuses(eve, "GET", path);
  }));

test("ids in capitals are the same ids: no second discussion, no event astray", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const upper = (text: string) => text.toUpperCase();
    const direct = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    const same = await ann.call("POST", "/discussions", { kind: "direct", user_id: upper(bob.user.id) });
    if (same.status < 300) assert.deepEqual([same.status, same.body.id], [200, direct.id]);
    else assertRefused(same, [400]);
    const stream = await openReady("ws", bob, { discussionId: id });
    const sent = await ann.call("POST", `/discussions/${upper(id)}/messages`, { content: "in capitals" });
    if (sent.status < 300) assert.equal(sent.body.discussion_id, id);
    else assertRefused(sent, [400, 404]);
    const { seq } = await settle(carl, id, stream);
    const heard = stream.received.filter(({ type }) => type === "message.new");
    assert.equal(heard.length, seq, "all that was stored is heard");
    for (const event of heard) assert.equal(event.discussion_id, id);
    for (const [method, path, body] of [
      ["PATCH", `/messages/${seq}`, { content: "edited" }],
      ["PUT", `/messages/${seq}/reactions/%F0%9F%91%8D`],
      ["PUT", "/read", { seq }],
      ["PUT", "/mute", { until: null }],
      ["DELETE", `/messages/${seq}`],
    ] as [string, string, unknown?][])
      await survives(carl, method, `/discussions/${upper(id)}${path}`, body);
    const blocking = await ann.call("PUT", `/users/${upper(carl.user.id)}/block`);
    if (blocking.status === 204)
      assert.ok(JSON.stringify(await ann.ok("GET", "/users/me/blocks")).includes(carl.user.id));
    await survives(ann, "POST", `/discussions/${id}/members`, {
      user_ids: [upper(bob.user.id), bob.user.id],
    });
    assert.equal((await ann.ok("GET", `/discussions/${id}`)).member_count, 3);
    stream.cut();
  }, env));

test("attachments are for the uploader until sent, and then for the members of that discussion", () =>
  withServer(async (t) => {
    const { ann, bob, eve, id } = await createRoom(t.url, "public");
    const form = new FormData();
    form.set("file", new Blob(["the text"], { type: "text/plain" }), "a.txt");
    const uploaded = await fetchText(ann, "POST", "/attachments", form);
    assert.equal(uploaded.status, 201, uploaded.text);
    const attachment = JSON.parse(uploaded.text);
    const path = `/attachments/${attachment.id}`;
    assert.equal((await fetchText(ann, "GET", path)).text, "the text");
    for (const client of [bob, eve]) await refuses(client, "GET", path);
    const attachment_ids = [attachment.id];
    await refuses(bob, "POST", `/discussions/${id}/messages`, { content: "mine", attachment_ids });
    const message = await ann.send(id, "", { attachment_ids });
    assert.equal(message.attachments[0].id, attachment.id);
    assert.equal((await fetchText(bob, "GET", path)).text, "the text");
    await refuses(eve, "GET", path);
    await refuses(bob, "POST", `/discussions/${id}/messages`, { content: "mine", attachment_ids });
    await ann.ok("DELETE", `/discussions/${id}/members/${bob.user.id}`);
    await refuses(bob, "GET", path);
  }, env));

test("presence and typing are for those who share a discussion", () =>
  withServer(async (t) => {
    const { ann, bob, eve, id, path } = await createRoom(t.url);
    await refuses(eve, "GET", `${path}/presence`);
    await refuses(eve, "POST", `${path}/typing`);
    const { items } = await bob.ok("GET", `${path}/presence`);
    assert.equal(items.length, 3);
    assert.ok(items.some(({ user_id }: Json) => user_id === ann.user.id));
    assert.equal((await ann.call("POST", `${path}/typing`)).status, 204);
    // To a stranger: not found, or nothing of what is so.
    const stream = await openReady("ws", ann);
    const seen = await eve.call("GET", `/users/${ann.user.id}/presence`);
    if (seen.status === 200) assert.deepEqual([seen.body.status, seen.body.last_seen_at], ["offline", null]);
    else assertRefused(seen, [403, 404]);
    await settle(bob, id, stream);
    stream.cut();
  }, env));

test.run();
