import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, type Client, type Json, pages, register } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";

const env = { RATE_LIMITS: "off" };
const unknownId = "0198c0de-0000-7000-8000-000000000000";

test("words are found in any case, with and without accents, as parts of words, and all of them", () =>
  withSearch(async ({ ann, find, say }) => {
    await say(
      "Prices are Skyrocketing, they say",
      "Le café est déjà fermé",
      "Große STRASSE, İstanbul, Łódź",
      "Привет, Ёлка! ΣΟΦΟΣ",
      "release 2.14.3 of the_new_parser",
      "OK, see you at five",
      "a book of plan B",
    );
    const cases: [string, number[]][] = [
      ["skyrocketing", [1]],
      ["SKYROCKETING", [1]],
      ["rocke", [1]],
      ["rocke pric", [1]],
      ["rocke five", []],
      ["cafe", [2]],
      ["CAFÉ deja", [2]],
      ["grosse", [3]],
      ["straße", [3]],
      ["istanbul lodz", [3]],
      ["привет елка", [4]],
      ["σοφός", [4]],
      ["вет", [4]],
      ["2.14.3", [5]],
      ["2.14", [5]],
      ["14.2", []],
      ["new_parser", [5]],
      ["parser new", [5]],
      ["ok", [6]],
      ["bo", [7]],
      ["b", [7]],
      ["B plan", [7]],
      ["e", []],
      ["absent", []],
      ["skyrocketingly", []],
    ];
    for (const [q, seqs] of cases) assert.deepEqual(await find(ann, q), seqs, q);
  }));

test("Chinese, Japanese, Thai, Korean and emoji are found without spaces between words", () =>
  withSearch(async ({ ann, find, say }) => {
    await say(
      "我们明天在北京开会，请准时参加。",
      "明日は東京タワーで会いましょう。ｶﾀｶﾅも",
      "สวัสดีครับ พรุ่งนี้เจอกันที่กรุงเทพ",
      "내일 서울에서 만나요",
      "iPhone手机 很贵 👍🏽",
    );
    const cases: [string, number[]][] = [
      ["北京", [1]],
      ["京", [2, 1]],
      ["开会", [1]],
      ["会开", []],
      ["明天 参加", [1]],
      ["東京", [2]],
      ["タワー", [2]],
      ["カタカナ", [2]],
      ["พรุ่งนี้", [3]],
      ["กรุงเทพ", [3]],
      ["서울", [4]],
      ["手机", [5]],
      ["iphone手机", [5]],
      ["phone", [5]],
      ["手机 贵", [5]],
      ["👍", [5]],
      ["👍🏽", [5]],
      ["👎", []],
    ];
    for (const [q, seqs] of cases) assert.deepEqual((await find(ann, q)).sort().reverse(), seqs, q);
  }));

test("a quoted phrase is found as whole words, one after the other", () =>
  withSearch(async ({ ann, find, say }) => {
    await say(
      "a kernel panic, again",
      "panic in the kernel",
      "kernel panics",
      "the kernel: panic!",
      "北京开会",
    );
    const found = async (q: string) => (await find(ann, q)).sort();
    assert.deepEqual(await found("kernel panic"), [1, 2, 3, 4]);
    assert.deepEqual(await found('"kernel panic"'), [1, 4]);
    assert.deepEqual(await found("“Kernel Panic”"), [1, 4]);
    assert.deepEqual(await found('"kernel panic" again'), [1]);
    assert.deepEqual(await found('"kernel"'), [1, 2, 3, 4]);
    assert.deepEqual(await found('"ernel"'), []);
    assert.deepEqual(await found('"panic'), [1, 2, 3, 4], "without its other half a mark says nothing");
    assert.deepEqual(await found('"京开"'), [5]);
    assert.deepEqual(await found('"" again'), [1]);
  }));

test("an item is the message with a snippet and its rank, whole words first", () =>
  withSearch(async ({ ann, id, say, settle }) => {
    const [part, start, word, , dense] = await say(
      "all about skyrocketing and other things",
      "a rocketry club",
      "the rocket and other things that are said about it",
      "nothing",
      "Rocket, rocket!",
    );
    await settle();
    const { items, next_cursor } = await ann.ok("GET", "/search?q=rocket");
    assert.equal(next_cursor, null);
    assert.deepEqual(
      items.map(({ snippet, rank, ...message }: Json) => message),
      [dense, word, start, part],
    );
    const ranks = items.map(({ rank }: Json) => rank);
    assert.deepEqual(
      ranks,
      [...ranks].sort((a, b) => b - a),
    );
    assert.deepEqual(items[0].snippet, "<mark>Rocket</mark>, <mark>rocket</mark>!");
    assert.deepEqual(items[3].snippet, "all about sky<mark>rocket</mark>ing and other things");
    assert.equal(items[0].discussion_id, id);
  }));

test("a snippet is the part around the match, and brings no tag but mark", () =>
  withSearch(async ({ ann, say }) => {
    const evil = `<img src=x onerror=alert(1)> & "needle" </mark><script>'x'</script>`;
    await say(evil, `${"ж".repeat(500)} <b> Nadel é ${"<".repeat(500)}`);
    const [first] = (await ann.ok("GET", "/search?q=needle")).items;
    assert.equal(
      first.snippet,
      "&lt;img src=x onerror=alert(1)&gt; &amp; &quot;<mark>needle</mark>&quot; " +
        "&lt;/mark&gt;&lt;script&gt;&#39;x&#39;&lt;/script&gt;",
    );
    assert.equal(first.content, evil);
    const [second] = (await ann.ok("GET", "/search?q=NADEL")).items;
    assert.match(second.snippet, /^…ж{35} &lt;b&gt; <mark>Nadel<\/mark> é (&lt;)+…$/);
    const [img] = (await ann.ok("GET", `/search?q=${encodeURIComponent("<img script>")}`)).items;
    assert.match(img.snippet, /^&lt;<mark>img<\/mark> src=x .*&lt;<mark>script<\/mark>&gt;/);
  }));

test("only members find what is said in a discussion, from joining to leaving", () =>
  withServer(async (t) => {
    const [ann, bob, eve] = await people(t, "ann", "bob", "eve");
    const open = await ann.ok("POST", "/discussions", {
      kind: "group",
      name: "open",
      member_ids: [bob.user.id],
      visibility: "public",
    });
    const closed = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    await ann.send(open.id, "a needle in the open");
    await ann.send(closed.id, "a needle in private");
    const count = async (client: Client, more = "") =>
      (await client.ok("GET", `/search?q=needle${more}`)).items.length;
    for (const indexed of [false, true]) {
      if (indexed) await index(t);
      assert.deepEqual([await count(ann), await count(bob), await count(eve)], [2, 2, 0]);
      assert.equal(await count(bob, `&discussion_id=${closed.id}`), 1);
      assert.equal(await count(bob, `&sender_id=${ann.user.id}`), 2);
      assert.equal(await count(ann, `&sender_id=${bob.user.id}`), 0);
      assert.equal(await count(ann, `&sender_id=${unknownId}`), 0);
      const ask = (id: string) => eve.call("GET", `/search?q=needle&discussion_id=${id}`);
      assertProblem(await ask(open.id), 403, "not_a_member");
      assertProblem(await ask(closed.id), 404, "discussion_not_found");
      assertProblem(await ask(unknownId), 404, "discussion_not_found");
    }
    await eve.ok("POST", `/discussions/${open.id}/join`);
    assert.equal(await count(eve), 1);
    await eve.ok("DELETE", `/discussions/${open.id}/members/${eve.user.id}`);
    assert.equal(await count(eve), 0);
    assert.equal((await eve.call("GET", "/search?q=needle", undefined, { authorization: "" })).status, 401);
  }, env));

test("an edited message is found by what it says now, a deleted one not at all", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t, "ann", "bob");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    for (const moment of ["before", "after"]) {
      const edited = await ann.send(id, `apple ${moment}`);
      const deleted = await ann.send(id, `cherry ${moment}`);
      const removed = await ann.send(id, `plum ${moment}`);
      if (moment === "after") await index(t);
      const change = (set: string, { seq }: Json) =>
        query(t.databaseUrl, `UPDATE messages SET ${set} WHERE discussion_id = $1 AND seq = $2`, [id, seq]);
      await change(`content = 'banana ${moment}', edited_at = now()`, edited);
      await change("content = '', deleted_at = now()", deleted);
      await query(t.databaseUrl, "DELETE FROM messages WHERE discussion_id = $1 AND seq = $2", [
        id,
        removed.seq,
      ]);
      if (moment === "before") await index(t);
      for (const word of ["apple", "cherry", "plum"]) {
        assert.deepEqual((await bob.ok("GET", `/search?q=${word}`)).items, [], `${word} ${moment}`);
        assert.deepEqual(await documentsWith(t, word), [], "the text is nowhere");
      }
      const { items } = await bob.ok("GET", `/search?q=banana+${moment}`);
      assert.deepEqual(
        items.map(({ seq }: Json) => seq),
        [edited.seq],
      );
      // A delete that only marks, and leaves the text to somebody else to erase.
      await change("deleted_at = now()", edited);
      assert.deepEqual((await bob.ok("GET", `/search?q=banana+${moment}`)).items, []);
      assert.deepEqual(await documentsWith(t, "banana"), []);
    }
    const group = await ann.ok("POST", "/discussions", {
      kind: "group",
      name: "g",
      member_ids: [bob.user.id],
    });
    await ann.send(group.id, "walnut");
    await index(t);
    await ann.send(group.id, "walnut too");
    assert.equal((await bob.ok("GET", "/search?q=walnut")).items.length, 2);
    await ann.ok("DELETE", `/discussions/${group.id}`);
    assert.deepEqual((await bob.ok("GET", "/search?q=walnut")).items, []);
    await index(t);
    assert.deepEqual(await documentsWith(t, "walnut"), []);
  }, env));

test("pages give every match once, while others send and delete", () =>
  withServer(async (t) => {
    const [ann, bob] = await people(t, "ann", "bob");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    for (let n = 1; n <= 30; n++) await ann.send(id, n % 3 === 0 ? `x needle${n}` : `needle ${n}`);
    for (const limit of [1, 7, 30, 31]) {
      const items = await pages(bob, "/search?q=needle&", limit);
      assert.equal(items.length, 30);
      assert.equal(new Set(items.map(({ seq }) => seq)).size, 30);
      const order = items.map(({ rank, seq }) => [rank, seq]);
      assert.deepEqual(
        order,
        [...order].sort((a, b) => b[0] - a[0] || b[1] - a[1]),
      );
    }
    const first = await bob.ok("GET", "/search?q=needle&limit=10");
    const [last] = first.items.slice(-1);
    await ann.send(id, "needle needle needle");
    await query(t.databaseUrl, "UPDATE messages SET content = '', deleted_at = now() WHERE seq = $1", [
      last.seq,
    ]);
    const rest = await bob.ok("GET", `/search?q=needle&limit=200&cursor=${first.next_cursor}`);
    assert.equal(rest.next_cursor, null);
    const seqs = [...first.items, ...rest.items].map(({ seq }) => seq);
    assert.deepEqual(
      seqs.sort((a, b) => a - b),
      Array.from({ length: 30 }, (_, n) => n + 1),
    );
  }, env));

test("what asks for nothing finds nothing, and what is wrong is told", () =>
  withSearch(async ({ ann, say }) => {
    await say("something % _ \\ ' \" here", "':* & | ! <-> ()");
    const ask = (parameters: Record<string, string>) =>
      ann.call("GET", `/search?${new URLSearchParams(parameters)}`);
    for (const q of [
      "...",
      " ",
      '"',
      '""',
      "%",
      "_",
      "\\",
      "'",
      "?!",
      "、。",
      "\u0001",
      "%%%",
      "::*",
      "$1",
      "((",
    ]) {
      const answer = await ask({ q });
      if (q === "$1") continue;
      assert.deepEqual([answer.status, answer.body], [200, { items: [], next_cursor: null }], q);
    }
    const harmless = [
      "'; DROP TABLE messages; --",
      "some%ing",
      "some_ing",
      "{some}",
      "some:*",
      "some & !here",
    ];
    for (const q of [...harmless, "\\", "{", "}", '{"', "a,b", "NULL", "x".repeat(256), "中".repeat(256)]) {
      const { status, body } = await ask({ q });
      assert.equal(status, 200, q);
      for (const item of body.items) assert.match(item.content, /^something/);
    }
    const limits: [Record<string, string>, string][] = [
      [{}, "q"],
      [{ q: "" }, "q"],
      [{ q: "x".repeat(257) }, "q"],
      [{ q: "a\u0000" }, "q"],
      [{ q: "x", limit: "0" }, "limit"],
      [{ q: "x", limit: "201" }, "limit"],
      [{ q: "x", discussion_id: "1" }, "discussion_id"],
      [{ q: "x", sender_id: "me" }, "sender_id"],
      ...[[], [1, 2], ["1"], [1.5], [1, 2, 3, 4, 5], [1e300], null, "x", [1, 2, -1, 4]].map(
        (key): [Record<string, string>, string] => [
          { q: "x", cursor: Buffer.from(JSON.stringify(key)).toString("base64url") },
          "cursor",
        ],
      ),
      [{ q: "x", cursor: "%" }, "cursor"],
    ];
    for (const [parameters, path] of limits) {
      const answer = await ask(parameters);
      assertProblem(answer, 400, "invalid_request");
      assert.equal(answer.body.errors[0].path.split(".")[0], path, JSON.stringify(parameters));
    }
    const far = [2 ** 53 - 1, -(2 ** 53 - 1), 1_000, 2 ** 53 - 1];
    for (const key of [far, [-(2 ** 53 - 1)], [5, 9, 0, 0]]) {
      const cursor = Buffer.from(JSON.stringify(key)).toString("base64url");
      assert.equal((await ask({ q: "some", cursor })).status, 200);
    }
  }));

test("the server makes documents of what is sent by itself", () =>
  withSearch(async ({ t, say }) => {
    await say("one", "two", "...");
    await eventually(async () => {
      const [row] = await query(t.databaseUrl, "SELECT count(*) FROM search_documents");
      assert.equal(Number(row.count), 3);
    });
  }));

interface Search {
  t: TestServer;
  ann: Client;
  id: string;
  /** Sends messages, one after the other. */
  say(...contents: string[]): Promise<Json[]>;
  /** The seqs of what is found: the same by reading what was said and by its documents. */
  find(client: Client, q: string): Promise<number[]>;
  settle(): Promise<void>;
}

/** Runs a test in a discussion with oneself, and asks its questions again when everything is indexed. */
function withSearch(act: (search: Search) => Promise<void>): Promise<void> {
  return withServer(async (t) => {
    const [ann] = await people(t, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const ask = async (client: Client, q: string) =>
      (await client.ok("GET", `/search?q=${encodeURIComponent(q)}`)).items.map(({ seq }: Json) => seq);
    const earlier = new Map<string, number[]>();
    await act({
      t,
      ann,
      id,
      say: async (...contents) => {
        const sent = [];
        for (const content of contents) sent.push(await ann.send(id, content));
        return sent;
      },
      find: async (client, q) => {
        const seqs = await ask(client, q);
        earlier.set(q, [...seqs]);
        return seqs;
      },
      settle: () => index(t),
    });
    await index(t);
    for (const [q, seqs] of earlier) assert.deepEqual(await ask(ann, q), seqs, `${q}, indexed`);
  }, env);
}

function people(t: TestServer, ...names: string[]): Promise<Client[]> & Promise<[Client, Client, Client]> {
  return Promise.all(names.map((name) => register(t.url, name))) as never;
}

/** Makes all documents that are to be made. */
async function index(t: TestServer): Promise<void> {
  await eventually(async () => {
    const [row] = await query(t.databaseUrl, "SELECT index_messages(1000, 1000000) AS made");
    assert.equal(row.made, 0);
  });
}

async function documentsWith(t: TestServer, word: string): Promise<Json[]> {
  return query(t.databaseUrl, "SELECT * FROM search_documents WHERE words LIKE $1", [`%${word}%`]);
}

test.run();
