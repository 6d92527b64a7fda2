// time limit: 300 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { fetchText, people, unknownId } from "../chat/help.ts";
import { openRaw } from "../delivery/raw.ts";
import { type Answer, Client, type Json, pages, password, register } from "../support/client.ts";
import { checkAnswer } from "../support/documents.ts";
import { query } from "../support/postgres.ts";
import { type TestServer, withServer } from "../support/server.ts";
import { type Target, targetsOf } from "./targets.ts";
import { refusedTexts, sqlTexts, wireTexts } from "./texts.ts";

// Every text that anybody can write in any request, by the API's own document: nothing of it is ever taken
// for a piece of a statement, a pattern or a literal.

const everything = [...sqlTexts, ...wireTexts, ...refusedTexts, "'".repeat(300), "x".repeat(17_000)];
/** Where only few texts get past the schema. */
const few = everything.filter((_, index) => index % 6 === 0 || index > everything.length - 4);
const atOnce = 4;
/** People and a discussion that no request names: whatever happens, nothing happens to them. */
const bystander = "the words of a bystander";

interface Room {
  t: TestServer;
  document: Json;
  ann: Client;
  ids: Record<string, string>;
  /** As many rows as there should be, of these tables. */
  count: Record<string, number>;
}

for (const place of ["path", "query", "header", "body"] as const)
  test(`no text in a ${place} is more than text to Postgres, and what is stored comes back as it was`, () =>
    withRoom(async (room) => {
      const targets = targetsOf(room.document, bodiesFor(room)).filter((target) => target.place === place);
      assert.ok(targets.length > 7, `${targets.length}`);
      for (const target of targets) {
        const values = attacksOn(target);
        // Changes of one thing one by one: each answer is to tell of its own.
        const step = target.method === "PATCH" ? 1 : atOnce;
        for (let index = 0; index < values.length; index += step)
          await Promise.all(values.slice(index, index + step).map((value) => attack(room, target, value)));
      }
    }));

test("the trap notices whoever puts such a text into a statement", () =>
  withServer(async ({ databaseUrl }) => {
    await query(databaseUrl, "CREATE SEQUENCE trap");
    for (const text of sqlTexts) await query(databaseUrl, `SELECT '${text}' AS x`).catch(() => {});
    assert.equal((await query(databaseUrl, "SELECT is_called FROM trap"))[0].is_called, true);
  }));

test("a search for the wildcards of LIKE finds them and nothing else", () =>
  withServer(
    async ({ url }) => {
      const [ann, bob] = await people(url, "ann", "bob");
      const names = [
        "100% sure",
        "% of all",
        "un_der",
        "_x",
        "back\\slash",
        "\\",
        "plain",
        "'quoted'",
        "＿％",
      ];
      for (const [index, display_name] of names.entries())
        await register(url, `person-${index}`, { display_name });
      for (const name of names) await groupOf(ann, name, bob);
      const found = async (path: string, key: string) =>
        (await pages(ann, path, 200)).map((item: Json) => item[key]).sort();
      for (const asked of ["%", "_", "\\", "\\%", "%%", "%_", "'", "*", "[a-z]", "＿", "％"]) {
        const query = encodeURIComponent(asked);
        const begins = names.filter((name) => name.split(" ").some((word) => word.startsWith(asked)));
        assert.deepEqual(await found(`/users?query=${query}&`, "display_name"), begins.sort(), asked);
        const inside = names.filter((name) => name.includes(asked)).sort();
        const groups = await found(`/discussions?visibility=public&query=${query}&`, "name");
        assert.deepEqual(groups, inside, asked);
      }
      const { id } = await groupOf(ann, "talk", bob);
      for (const content of ["fifty % off", "snake_case", "a\\b", "plain words", "＿ and ％"])
        await ann.send(id, content);
      for (const asked of ["%", "_", "\\", "%%%", "＿", "％", "﹪", "p%n", "p_ain", "sn%case", "pl.in"]) {
        const { items } = await ann.ok("GET", `/search?q=${encodeURIComponent(asked)}`);
        const contents = items.map(({ content }: Json) => content);
        assert.ok(!contents.includes("plain words"), `${asked} → ${contents}`);
      }
      assert.equal((await ann.ok("GET", "/search?q=plain")).items.length, 1);
    },
    { RATE_LIMITS: "off" },
  ));

test("what every client sends in its headers is stored as text or not at all", () =>
  withRoom(async ({ t, ann, ids }) => {
    for (const text of everything.filter(fitsHeader)) {
      for (const name of [
        "x-request-id",
        "user-agent",
        "cookie",
        "origin",
        "accept-language",
        "x-forwarded-for",
      ]) {
        const answer = await ann.call("GET", `/users/${ids.bob}`, undefined, { [name]: text });
        assert.equal(answer.status, 200, `${name}: ${text}`);
      }
      for (const authorization of [text, `Bearer ${text}`]) {
        const { status } = await new Client(t.url).call("GET", "/users/me", undefined, { authorization });
        assert.equal(status, 401, authorization);
      }
    }
    const body = { username: "bob", password };
    const sent = sqlTexts.filter(fitsHeader).slice(0, 50);
    for (const text of sent) await ann.call("POST", "/auth/login", body, { "user-agent": `agent ${text}` });
    const bob = new Client(t.url);
    bob.token = (await bob.ok("POST", "/auth/login", body)).access_token;
    const agents = (await pages(bob, "/auth/sessions?", 200)).map(({ user_agent }: Json) => user_agent);
    for (const text of sent) assert.ok(agents.includes(`agent ${text}`), text);
  }));

test.run();

async function withRoom(act: (room: Room) => Promise<void>): Promise<void> {
  await withServer(
    async (t) => {
      const [ann, bob, zoe] = await people(t.url, "ann", "bob", "zoe");
      const room = await groupOf(ann, "Room", bob);
      await ann.send(room.id, "one");
      const own = await zoe.ok("POST", "/discussions", { kind: "direct", user_id: zoe.user.id });
      await zoe.send(own.id, bystander);
      await query(t.databaseUrl, "CREATE SEQUENCE trap");
      const document = await (await fetch(`${t.url}/openapi.json`)).json();
      const ids = { id: room.id, bob: bob.user.id, own: own.id, zoe: zoe.user.id };
      const count = await countRows(t);
      const before = await digest(t, ids);
      await act({ t, document, ann, ids, count });
      assert.equal((await query(t.databaseUrl, "SELECT is_called FROM trap"))[0].is_called, false);
      assert.deepEqual(await digest(t, ids), before, "nothing happened to those whom nobody named");
      assert.deepEqual(await countRows(t), count, "as many rows as were answered for");
      assert.equal((await ann.ok("GET", `/discussions/${room.id}`)).my_role, "owner");
    },
    { RATE_LIMITS: "off" },
  );
}

function groupOf(ann: Client, name: string, bob: Client): Promise<Json> {
  const member_ids = [bob.user.id];
  return ann.ok("POST", "/discussions", { kind: "group", name, member_ids, visibility: "public" });
}

async function countRows({ databaseUrl }: TestServer): Promise<Record<string, number>> {
  const [row] = await query(
    databaseUrl,
    `SELECT (SELECT count(*) FROM users)::int AS users,
       (SELECT count(*) FROM discussions)::int AS discussions,
       (SELECT count(*) FROM messages)::int AS messages, (SELECT count(*) FROM members)::int AS members,
       (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace)::int AS relations`,
  );
  return row;
}

async function digest({ databaseUrl }: TestServer, { zoe, own }: Record<string, string>): Promise<Json> {
  const [row] = await query(
    databaseUrl,
    `SELECT (SELECT md5(u::text) FROM users AS u WHERE id = $1) AS user,
       (SELECT md5(string_agg(m::text, ' ')) FROM members AS m WHERE discussion_id = $2) AS members,
       (SELECT md5(string_agg(m::text, ' ')) FROM messages AS m WHERE discussion_id = $2) AS said`,
    [zoe, own],
  );
  return row;
}

/** Of each JSON body, one that would do; passwords are wrong, so that nobody's changes. */
function bodiesFor({ ids }: Room): Record<string, Record<string, unknown>[]> {
  return {
    register: [{ username: "mallory", password }],
    login: [{ username: "ann", password: "not the password" }],
    refresh: [{ refresh_token: "x" }],
    updateMe: [{}],
    eraseMe: [{ password: "not the password" }],
    createDiscussion: [
      { kind: "direct", user_id: ids.bob },
      { kind: "group", name: "New", member_ids: [] },
    ],
    updateDiscussion: [{}],
    addMembers: [{ user_ids: [ids.bob] }],
    changeRole: [{ role: "member" }],
    markRead: [{ seq: 1 }],
    mute: [{ until: null }],
    sendMessage: [{ content: "a message" }],
    editMessage: [{ content: "one" }],
  };
}

function attacksOn({ place, name, isNarrow }: Target): string[] {
  // Each password costs a hash.
  const values = isNarrow || name.includes("password") ? few : everything;
  if (place === "header") return values.filter(fitsHeader);
  // Half of a pair cannot be written in an address, and Node takes 16 kB of head.
  const fits = (value: string) => value.isWellFormed() && value.length < 9_000;
  const writable = place === "body" ? values : values.filter(fits);
  if (name === "until") return [...writable, ...moments];
  return name === "cursor"
    ? [...writable, ...few.filter((text) => text.length < 99).flatMap(cursorsWith)]
    : writable;
}

/** Right by RFC 3339, and at the edges of what Postgres and JavaScript take. */
const moments = [
  "2031-05-06T12:00:00+23:59",
  "2031-05-06T12:00:00-23:59",
  "9999-12-31T23:59:59.999999-23:59",
  "1970-01-01T00:00:00+23:59",
  "2031-05-06T12:00:00.123456789012Z",
  "2031-02-29T12:00:00Z",
];

/** Pages of lists go on at a key that clients are not to look into. */
function cursorsWith(text: string): string[] {
  const moment = "2026-01-02 03:04:05.678901+00";
  const keys: unknown[][] = [
    [text],
    [text, unknownId],
    [moment, text],
    [moment, unknownId, text],
    [5, 5, 5, text],
  ];
  keys.push([1e300], [-(2 ** 53)], [2 ** 53, 0, 1e9, 0], [moment, unknownId, 2 ** 53], [text, text, text]);
  return keys.map((key) => Buffer.from(JSON.stringify(key)).toString("base64url"));
}

function fitsHeader(text: string): boolean {
  return (
    /^[\x21-\x7e\xa0-\xff]+([\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?$/.test(text) && text.length < 9_000
  );
}

async function attack(room: Room, target: Target, value: string): Promise<void> {
  const { method, place, name, isList } = target;
  const put = place === "body" ? { ...target.body, [name]: isList ? [value] : value } : target.body;
  const body =
    target.path.endsWith("/register") && name !== "username" ? { ...put, username: newName() } : put;
  const path = target.path.replaceAll(/\{(\w+)\}/g, (_, key) =>
    place === "path" && key === name ? encodeURIComponent(value) : valueFor(room, target.path, key),
  );
  // A segment of dots, or none, is another address.
  if (/\/\.{0,2}(\/|$)/.test(path.slice(1))) return;
  const search = place === "query" ? `?${new URLSearchParams({ ...needed(target), [name]: value })}` : "";
  const headers: Record<string, string> = place === "header" ? { [name]: value } : {};
  const answer = await send(room, method, path + search, body, headers);
  const hint = `${method} ${target.path} ${name}=${JSON.stringify(value).slice(0, 100)} → ${answer.status}`;
  assert.ok(answer.status < 500, hint);
  assert.ok(!JSON.stringify(answer.body).includes(bystander), `${hint} tells what nobody may know`);
  countUp(room, target, answer);
  if (answer.status < 300 && place === "body") await assertStored(room, path, name, value, answer);
}

/** As clients send it; files and streams are looked at only as far as their heads. */
async function send(
  { ann }: Room,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
) {
  if (/\/ws$/.test(path.split("?")[0] ?? "")) {
    const authorization = { authorization: `Bearer ${ann.token}` };
    const raw = await openRaw("ws", ann.url, path.replace("/api/v1", ""), {
      headers: { ...authorization, ...headers },
    });
    raw.cut();
    return raw;
  }
  const isFile = /\/(events|avatar|attachments\/[^/]+)$/.test(path.split("?")[0] ?? "");
  if (method === "GET" && isFile) return head(ann, path, headers);
  if (path.startsWith("/api/v1")) return ann.call(method, path.replace("/api/v1", ""), body, headers);
  const { status, text, headers: answered } = await fetchText(ann, method, `/../..${path}`);
  return { status, headers: answered, body: text };
}

async function head(ann: Client, path: string, headers: Record<string, string>): Promise<Answer> {
  const given = new AbortController();
  const response = await fetch(ann.url + path, {
    headers: { authorization: `Bearer ${ann.token}`, ...headers },
    signal: given.signal,
  });
  const isProblem = response.headers.get("content-type")?.includes("problem");
  const answer = {
    status: response.status,
    headers: response.headers,
    body: isProblem ? await response.json() : "",
  };
  given.abort();
  if (isProblem) await checkAnswer(ann.url, "GET", path, answer);
  return answer;
}

function needed({ path }: Target): Record<string, string> {
  if (path.endsWith("/search")) return { q: "one" };
  return path.endsWith("/discussions") ? { visibility: "public" } : {};
}

function valueFor({ ids }: Room, path: string, key: string): string {
  if (key === "seq") return "1";
  if (key === "emoji") return "%F0%9F%91%8D";
  return (path.includes("/discussions/{id}") && key === "id" ? ids.id : ids.bob) ?? "";
}

let names = 0;
function newName(): string {
  return `mallory-${++names}`;
}

function countUp({ count }: Room, { path, method }: Target, { status, body }: Answer): void {
  const add = (table: string, rows = 1) => {
    count[table] = (count[table] ?? 0) + rows;
  };
  if (status !== 201) return;
  if (path.endsWith("/register")) add("users");
  if (path.endsWith("/messages")) add("messages");
  if (path.endsWith("/discussions") && method === "POST") {
    add("discussions");
    add("members", body.member_count);
  }
}

/** In the answer, and when it is read again. */
async function assertStored(
  { ann }: Room,
  path: string,
  name: string,
  value: string,
  { body }: Answer,
): Promise<void> {
  const hint = `${path} ${name} ${JSON.stringify(value).slice(0, 100)}`;
  const told = name === "username" ? body.user?.username : (body?.user?.[name] ?? body?.[name]);
  if (["password", "current_password", "until", "kind", "email", "role"].includes(name)) return;
  assert.equal(told, name === "username" ? value.toLowerCase() : value, hint);
  if (path.endsWith("/messages")) {
    const { items } = await ann.ok("GET", `${path.replace("/api/v1", "")}?around=${body.seq}&limit=1`);
    assert.deepEqual(items, [body], hint);
  } else if (path.endsWith("/discussions")) {
    assert.equal((await ann.ok("GET", `/discussions/${body.id}`)).name, value, hint);
  }
}
