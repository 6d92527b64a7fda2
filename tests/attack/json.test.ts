// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, type Client, type Json, password, register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { cutAll, first, frame, openSocket, readFrames } from "../support/wire.ts";
import { all, createTarget } from "./target.ts";

// JSON that means something else to the language than to its sender, and text that cannot be stored.

test.after.each(cutAll);

const env = { RATE_LIMITS: "off" };
const unknownId = "0198c0de-0000-7000-8000-000000000000";

/** Every route with a body, one that would do, and the texts in it. */
function routes(id: string, own: string): [method: string, path: string, body: Json, texts: string[]][] {
  return [
    [
      "POST",
      "/auth/register",
      { username: "new", password },
      ["username", "password", "email", "display_name"],
    ],
    ["POST", "/auth/login", { username: "ann", password }, ["username", "password"]],
    ["POST", "/auth/refresh", { refresh_token: "x" }, ["refresh_token"]],
    ["PATCH", "/users/me", { status_text: "x" }, ["display_name", "email", "status_text", "password"]],
    ["DELETE", "/users/me", { password: "not it" }, ["password"]],
    ["POST", "/discussions", { kind: "direct", user_id: own }, ["kind", "user_id"]],
    ["POST", "/discussions", { kind: "group", member_ids: [] }, ["name", "visibility"]],
    ["PATCH", `/discussions/${id}`, { name: "x" }, ["name", "visibility"]],
    ["POST", `/discussions/${id}/members`, { user_ids: [own] }, []],
    ["PATCH", `/discussions/${id}/members/${own}`, { role: "owner" }, ["role"]],
    ["PUT", `/discussions/${id}/read`, { seq: 1 }, []],
    ["PUT", `/discussions/${id}/mute`, { until: null }, ["until"]],
    ["POST", `/discussions/${id}/messages`, { content: "x" }, ["content", "client_id"]],
    ["PATCH", `/discussions/${id}/messages/1`, { content: "x" }, ["content"]],
  ];
}

/** Every frame, one that would do, and the texts in it. */
function frames(id: string): [frame: Json, texts: string[]][] {
  const discussion_id = id;
  return [
    [{ type: "message.send", discussion_id, content: "x" }, ["content", "client_id", "discussion_id"]],
    [{ type: "message.edit", discussion_id, seq: 1, content: "x" }, ["content", "discussion_id"]],
    [{ type: "message.delete", discussion_id, seq: 1 }, ["discussion_id"]],
    [{ type: "reaction.add", discussion_id, seq: 1, emoji: "👍" }, ["emoji", "discussion_id"]],
    [{ type: "reaction.remove", discussion_id, seq: 1, emoji: "👍" }, ["emoji", "discussion_id"]],
    [{ type: "read", discussion_id, seq: 1 }, ["discussion_id"]],
    [{ type: "typing", discussion_id }, ["discussion_id"]],
    [{ type: "ping" }, []],
  ];
}

interface Room {
  ann: Client;
  id: string;
  own: string;
}

/** A room of ann's with one message; whatever is tried, prototypes stay as they are and so does the room. */
function withRoom(act: (room: Room) => Promise<void>): Promise<void> {
  return withServer(async (t) => {
    const { ann, discussionId } = await createTarget(t.url);
    const { id } = await ann.ok("POST", "/discussions", { kind: "group", name: "room", member_ids: [] });
    await ann.send(id, "one");
    const before = await ann.ok("GET", `/discussions/${id}`);
    await act({ ann, id, own: ann.user.id });
    for (const probe of [{}, [], "", 0, () => {}] as Json[])
      for (const name of ["polluted", "admin", "type", "content", "username", "kind", "seq"])
        if (name in Object(probe) && !Object.hasOwn(Object(probe), name)) assert.fail(`${name} is inherited`);
    assert.deepEqual(await ann.ok("GET", `/discussions/${id}`), before);
    const { items } = await ann.ok("GET", `/discussions/${id}/messages`);
    assert.deepEqual(
      items.map(({ content }: Json) => content),
      ["one"],
    );
    assert.deepEqual((await ann.ok("GET", `/discussions/${discussionId}/messages`)).items, []);
  }, env);
}

/** Sends text as a frame; gives the answer to it, which refuses it, and sees that the socket goes on. */
async function refusedFrames(client: Client, texts: readonly (string | Buffer)[]): Promise<void> {
  const wire = await openSocket(client);
  for (const text of texts) wire.write(frame(first.text, text));
  wire.write(frame(first.text, { type: "ping", ref: "after" }));
  await eventually(() => {
    assert.ok(readFrames(wire).events.some(({ type, ref }) => type === "pong" && ref === "after"));
  }, 20_000);
  const errors = readFrames(wire).events.filter(({ type }) => type === "error");
  assert.equal(errors.length, texts.length, "each is refused");
  for (const [index, { code }] of errors.entries())
    assert.equal(code, "invalid_request", String(texts[index]).slice(0, 200));
  wire.cut();
}

/** JSON of an object with more members, as text: what JSON.stringify would not write. */
const withMembers = (body: Json, members: string) => `${JSON.stringify(body).slice(0, -1)},${members}}`;

const pollution = [
  '"__proto__":{"polluted":true,"admin":true}',
  '"__proto__":null',
  '"__proto__":[]',
  '"\\u005f_proto__":{"polluted":true}',
  '"constructor":{"prototype":{"polluted":true}}',
  '"prototype":{"polluted":true}',
  '"toString":null',
  '"hasOwnProperty":1',
  '"valueOf":{"__proto__":{"polluted":true}}',
  '"toJSON":"x"',
  '"then":"x"',
];

test("members that are names of prototypes are refused by every route and frame, and change none", () =>
  withRoom(async ({ ann, id, own }) => {
    await all(routes(id, own), async ([method, path, body]) => {
      for (const members of pollution) {
        const answer = await ann.call(method, path, withMembers(body, members));
        assertProblem(answer, 400, "invalid_request");
        const inherited = await ann.call(method, path, `{"__proto__":${JSON.stringify(body)}}`);
        assertProblem(inherited, 400, "invalid_request");
      }
    });
    await refusedFrames(
      ann,
      frames(id).flatMap(([one]) => pollution.map((members) => withMembers(one, members))),
    );
    await refusedFrames(
      ann,
      frames(id).map(([one]) => `{"__proto__":${JSON.stringify(one)}}`),
    );
  }));

test("queries, parameters and cursors with names of prototypes find nothing else than without", () =>
  withRoom(async ({ ann }) => {
    const names = [
      "__proto__",
      "__proto__[polluted]",
      "__proto__.polluted",
      "constructor[prototype][polluted]",
    ];
    names.push("constructor.prototype.polluted", "toString", "hasOwnProperty", "limit[]", "limit[__proto__]");
    for (const path of ["/users?", "/discussions?", "/messages?", "/search?q=one&", "/auth/sessions?"]) {
      const plain = await ann.ok("GET", path);
      await all(names, async (name) => {
        const { items, next_cursor } = await ann.ok("GET", `${path}${encodeURIComponent(name)}=1`);
        assert.deepEqual([items.length, next_cursor], [plain.items.length, plain.next_cursor], name);
      });
      for (const key of [
        '{"__proto__":["a","b"]}',
        '{"length":2,"0":"a","1":"b"}',
        '["__proto__","constructor"]',
      ]) {
        const cursor = Buffer.from(key).toString("base64url");
        const answer = await ann.call("GET", `${path}cursor=${cursor}`);
        assert.ok([200, 400].includes(answer.status), `${path} ${key} → ${answer.status}`);
      }
    }
    for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      assertProblem(await ann.call("GET", `/users/${name}`), 400, "invalid_request");
      assertProblem(await ann.call("GET", `/discussions/${name}`), 400, "invalid_request");
      assertProblem(await ann.call("GET", `/${name}`), 404, "not_found");
      await ann.ok("GET", `/users?query=${name}`);
      await ann.ok("GET", `/search?q=${name}`);
    }
    await refusedFrames(
      ann,
      ["__proto__", "constructor", "toString"].map((type) => JSON.stringify({ type })),
    );
  }));

/** As deep as a body may be long: 100,000 levels. */
const deep = (open: string, close: string, levels: number) =>
  `${open.repeat(levels)}1${close.repeat(levels)}`;

test("nesting as deep as there is room is refused as any mistake, and costs as little", () =>
  withRoom(async ({ ann, id, own }) => {
    await all(routes(id, own), async ([method, path, body]) => {
      for (const nested of [
        deep("[", "]", 100_000),
        deep('{"a":', "}", 40_000),
        deep('[{"":', "}]", 30_000),
      ]) {
        assertProblem(await ann.call(method, path, nested), 400, "invalid_request");
        assertProblem(
          await ann.call(method, path, withMembers(body, `"x":${nested}`)),
          400,
          "invalid_request",
        );
        for (const field of Object.keys(body).slice(0, 1)) {
          const within = `{${JSON.stringify(field)}:${nested}}`;
          assertProblem(await ann.call(method, path, within), 400, "invalid_request");
        }
        // Never closed: no JSON.
        assertProblem(await ann.call(method, path, nested.slice(0, 90_000)), 400, "invalid_request");
      }
    });
    const nested = deep("[", "]", 32_000);
    await refusedFrames(ann, [nested, ...frames(id).map(([one]) => withMembers(one, `"x":${nested}`))]);
    await refusedFrames(
      ann,
      frames(id).map(([{ type }]) => `{"type":"${type}","ref":${nested}}`),
    );
    for (const cursor of [deep("[", "]", 180), "[".repeat(380)]) {
      const encoded = Buffer.from(cursor).toString("base64url");
      assertProblem(await ann.call("GET", `/messages?cursor=${encoded}`), 400, "invalid_request");
    }
  }));

test("numbers that no number is for are refused, in bodies, frames and addresses", () =>
  withRoom(async ({ ann, id }) => {
    const numbers = [
      "1e400",
      "-1e400",
      "1e-400",
      "1.5",
      "-0.1",
      "9".repeat(100_000),
      `0.${"1".repeat(100_000)}`,
    ];
    numbers.push(
      "9007199254740993",
      "18446744073709551616",
      "-1",
      "true",
      '"1"',
      "[1]",
      "{}",
      "NaN",
      "0x1",
      "01",
    );
    await all(numbers, async (number) => {
      const read = await ann.call("PUT", `/discussions/${id}/read`, `{"seq":${number}}`);
      // Too small to be told from 0, which is a mark at the beginning; what is past the end is moved to it.
      if (number === "1e-400") assert.equal(read.status, 200);
      else assertProblem(read, 400, "invalid_request");
      const reply = `{"content":"x","reply_to_seq":${number}}`;
      assertProblem(await ann.call("POST", `/discussions/${id}/messages`, reply), 400, "invalid_request");
    });
    const short = numbers.filter((number) => number.length < 60_000 && !/^(NaN|0x1|01)$/.test(number));
    await refusedFrames(
      ann,
      short.flatMap((number) => [
        `{"type":"message.edit","discussion_id":"${id}","seq":${number},"content":"x"}`,
        `{"type":"message.send","discussion_id":"${id}","content":"x","reply_to_seq":${number}}`,
      ]),
    );
    await all(["1e400", "1e1", "+1", "0x1", "9".repeat(10_000), "1_0", "١"], async (number) => {
      const path = `/discussions/${id}/messages/${encodeURIComponent(number)}/edits`;
      assertProblem(await ann.call("GET", path), 400, "invalid_request");
      const page = `/users?limit=${encodeURIComponent(number)}`;
      assertProblem(await ann.call("GET", page), 400, "invalid_request");
    });
  }));

test("text that cannot be stored as it is, is refused in every field: NUL, halves of surrogate pairs", () =>
  withRoom(async ({ ann, id, own }) => {
    const impossible = ["a\0b", "\0", "\ud800", "x\udc00y", "\udc00\ud800", `${"x".repeat(40)}\ud83d`];
    await all(routes(id, own), async ([method, path, body, texts]) => {
      for (const text of texts)
        for (const value of impossible) {
          const answer = await ann.call(method, path, { ...body, [text]: value });
          if (text === "refresh_token") assert.ok([400, 401].includes(answer.status), `${answer.status}`);
          else assertProblem(answer, 400, "invalid_request");
        }
    });
    const wrong = frames(id).flatMap(([one, texts]) =>
      texts.flatMap((text) => impossible.map((value) => JSON.stringify({ ...one, [text]: value }))),
    );
    await refusedFrames(ann, wrong);
    for (const query of ["/users?query=%00", "/users?email=a%00@b.c", "/search?q=%00", "/search?q=a%00b"])
      assertProblem(await ann.call("GET", query), 400, "invalid_request");
    // A ref is only given back: whatever it is, as it was.
    const wire = await openSocket(ann);
    for (const ref of impossible) wire.write(frame(first.text, { type: "ping", ref }));
    await eventually(() => {
      const pongs = readFrames(wire).events.filter(({ type }) => type === "pong");
      assert.deepEqual(
        pongs.map(({ ref }) => ref),
        impossible,
      );
    });
  }));

test("a body is UTF-8 without a byte order mark, and not said to be anything else", () =>
  withRoom(async ({ ann, id }) => {
    const path = `${ann.url}/api/v1/discussions/${id}/messages`;
    const text = '{"content":"é"}';
    const utf16 = Buffer.from(text, "utf16le");
    const wrong: [what: string, body: Buffer, type?: string][] = [
      ["latin1", Buffer.from(text, "latin1")],
      [
        "half of a character",
        Buffer.concat([Buffer.from('{"content":"'), Buffer.from([0xc3]), Buffer.from('"}')]),
      ],
      [
        "an overlong form",
        Buffer.concat([Buffer.from('{"content":"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"}')]),
      ],
      [
        "a surrogate in UTF-8",
        Buffer.concat([Buffer.from('{"content":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')]),
      ],
      ["a byte order mark", Buffer.from(`\ufeff${text}`)],
      ["UTF-16", utf16],
      ["UTF-16 with its mark", Buffer.concat([Buffer.from([0xff, 0xfe]), utf16])],
      ["UTF-16 told", utf16, "application/json; charset=utf-16"],
      ["latin1 told", Buffer.from(text, "latin1"), "application/json; charset=iso-8859-1"],
      ["UTF-8 told to be latin1", Buffer.from(text), 'application/json;charset="ISO-8859-1"'],
      ["UTF-8 told to be UTF-7", Buffer.from(text), "application/json; x=y; charset=utf-7"],
    ];
    for (const [what, body, type = "application/json"] of wrong) {
      const headers = { authorization: `Bearer ${ann.token}`, "content-type": type };
      const response = await fetch(path, { method: "POST", headers, body: new Uint8Array(body) });
      assert.equal(response.status, type === "application/json" ? 400 : 415, what);
      const problem: Json = await response.json();
      assert.match(problem.code, /^(invalid_request|unsupported_media_type)$/);
    }
  }));

test("of a member that is there twice the last counts, for everybody alike", () =>
  withServer(async (t) => {
    const { ann, discussionId: id } = await createTarget(t.url);
    await ann.call("POST", `/discussions/${id}/messages`, '{"content":"first","content":"last"}');
    const wire = await openSocket(ann);
    wire.write(
      frame(
        first.text,
        `{"type":"ping","type":"message.send","discussion_id":"${unknownId}",
      "discussion_id":"${id}","content":"first","content":"last","ref":"a","ref":"b"}`,
      ),
    );
    await eventually(() =>
      assert.equal(readFrames(wire).events.find(({ type }) => type === "ack")?.ref, "b"),
    );
    const { items } = await ann.ok("GET", `/discussions/${id}/messages`);
    assert.deepEqual(
      items.map(({ content }: Json) => content),
      ["last", "last"],
    );
    for (const query of ["limit=200&limit=1", "limit=x&limit=1"])
      assert.equal((await ann.ok("GET", `/discussions/${id}/messages?${query}`)).items.length, 1);
    assertProblem(await ann.call("GET", "/users?limit=1&limit=x"), 400, "invalid_request");
  }, env));

test("very many members, items and mistakes are told of in an answer of bounded length", () =>
  withRoom(async ({ ann, id, own }) => {
    const many = Array.from({ length: 20_000 }, (_, index) => `"x${index}":1`).join(",");
    const longName = `"${"y".repeat(100_000)}":1`;
    await all(routes(id, own), async ([method, path, body]) => {
      for (const members of [many, longName]) {
        const answer = await ann.call(method, path, withMembers(body, members));
        assertProblem(answer, 400, "invalid_request");
        assert.ok(answer.body.errors.length <= 20);
        assert.ok(
          JSON.stringify(answer.body).length < 10_000,
          `${JSON.stringify(answer.body).length} characters`,
        );
      }
      const answer = await ann.call(method, path, `[${Array(50_000).fill("{}").join(",")}]`);
      assertProblem(answer, 400, "invalid_request");
    });
    for (const field of ["user_ids", "member_ids", "attachment_ids"]) {
      const target =
        field === "member_ids"
          ? "/discussions"
          : `/discussions/${id}/${field === "user_ids" ? "members" : "messages"}`;
      const answer = await ann.call("POST", target, {
        kind: "group",
        content: "x",
        [field]: Array(80_000).fill(0),
      });
      assertProblem(answer, 400, "invalid_request");
      assert.ok(answer.body.errors.length <= 20);
    }
    const wire = await openSocket(ann);
    wire.write(frame(first.text, `{"type":"ping",${many.slice(0, 60_000).replace(/,[^,]*$/, "")}}`));
    wire.write(frame(first.text, `{"type":"ping","${"y".repeat(60_000)}":1}`));
    await eventually(() =>
      assert.equal(readFrames(wire).events.filter(({ type }) => type === "error").length, 2),
    );
    assert.ok(wire.bytes().length < 20_000, `${wire.bytes().length} bytes of refusals`);
    const bob = await register(ann.url, "bob");
    await bob.ok("GET", "/users/me");
  }));

test.run();
