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
import { withServer } from "../support/server.ts";
import { openTestStream } from "../support/streams.ts";

const env = { RATE_LIMITS: "off" };
const unknownId = "0198c0de-0000-7000-8000-000000000000";
const fields = [
  "attachments",
  "client_id",
  "content",
  "created_at",
  "deleted_at",
  "discussion_id",
  "edited_at",
  "mentions",
  "reactions",
  "reply_to_seq",
  "sender_id",
  "seq",
];

test("a message has the content that was sent, to the character", () =>
  withServer(async (t) => {
    const { ann, bob, path, id } = await pair(t.url);
    const contents = [
      "Hello",
      " ",
      "\n\ttabs, spaces and lines \r\n ",
      "ÄÖÜ ẞ, Ελληνικά, עברית, 中文, 日本語",
      "e\u0301 stays two, é one",
      "👩‍👩‍👧‍👦 🏳️‍🌈 \u200f\u202e\ufeff",
      '"\\"</script><img src=x onerror=alert(1)>$1{{1}}%s%n',
      "'; DELETE FROM messages; --",
      "\u0001\u001f\u007f\u2028\u2029\uffff",
      "null",
    ];
    for (const [index, content] of contents.entries()) {
      const answer = await ann.call("POST", path, { content });
      assert.equal(answer.status, 201, JSON.stringify(content));
      const { created_at, ...rest } = answer.body;
      assert.deepEqual(rest, {
        discussion_id: id,
        seq: index + 1,
        sender_id: ann.user.id,
        content,
        client_id: null,
        reply_to_seq: null,
        mentions: [],
        attachments: [],
        reactions: [],
        edited_at: null,
        deleted_at: null,
      });
      assert.deepEqual(Object.keys(answer.body).sort(), fields);
      assert.match(created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      assert.deepEqual((await bob.ok("GET", `/discussions/${id}`)).last_message, answer.body);
    }
    const { items } = await bob.ok("GET", path);
    assert.deepEqual(
      items.map(({ content }: Json) => content),
      contents,
    );
  }, env));

test("a content has 1 to 16,000 characters, however many bytes they take", () =>
  withServer(async (t) => {
    const { ann, path } = await pair(t.url);
    for (const content of ["x", "x".repeat(16_000), "🙂".repeat(16_000), "\u0001".repeat(16_000)]) {
      const answer = await ann.call("POST", path, { content });
      assert.equal(answer.status, 201, `${content.slice(0, 2)} × ${content.length}`);
      assert.equal(answer.body.content, content);
    }
    const escaped = `{"content":"${"\\ud83d\\ude42".repeat(16_000)}"}`;
    const answer = await ann.call("POST", path, escaped);
    assert.equal(answer.status, 201, "escapes make a body long, not a content");
    assert.equal(answer.body.content, "🙂".repeat(16_000));
    const wrong = [
      "",
      "x".repeat(16_001),
      "🙂".repeat(16_001),
      "a\u0000b",
      "\ud83d",
      "\ude42\ud83d",
      "x\udfff",
    ];
    for (const content of [...wrong, null, 5, true, ["x"], { text: "x" }, undefined]) {
      const refusal = await ann.call("POST", path, { content });
      assert.equal(refusal.status, 400, JSON.stringify(content)?.slice(0, 20));
      assertProblem(refusal, 400, "invalid_request");
      assert.deepEqual([...new Set(refusal.body.errors.map((error: Json) => error.path))], ["content"]);
    }
    for (const more of [{ sender_id: unknownId }, { seq: 1 }, { mentions: [] }, { Content: "x" }])
      assertProblem(await ann.call("POST", path, { content: "x", ...more }), 400, "invalid_request");
    assert.equal((await ann.send(path.split("/")[2] ?? "", "next")).seq, 6, "a refusal leaves no hole");
  }, env));

test("the same client_id again gives the stored message, other content a conflict", () =>
  withServer(async (t) => {
    const { ann, bob, path, id } = await pair(t.url);
    const send = (client: Client, body: unknown) => client.call("POST", path, body);
    for (const client_id of ["a", "🙂".repeat(64), "x".repeat(64), "with space", "0"]) {
      const first = await send(ann, { content: client_id, client_id });
      assert.equal(first.status, 201, client_id);
      assert.equal(first.body.client_id, client_id);
      await ann.send(id, "in between");
      const again = await send(ann, { content: client_id, client_id });
      assert.equal(again.status, 200);
      assert.deepEqual(again.body, first.body);
      const other = await send(ann, { content: `${client_id} `, client_id });
      assertProblem(other, 409, "client_id_reused");
    }
    for (const client_id of ["", "x".repeat(65), "🙂".repeat(65), 1, {}, ["a"], "a\u0000", "\ud800"]) {
      const answer = await send(ann, { content: "x", client_id });
      assert.equal(answer.status, 400, JSON.stringify(client_id));
      assertProblem(answer, 400, "invalid_request");
    }
    const upper = await send(ann, { content: "another", client_id: "A" });
    assert.equal(upper.status, 201, "a is not A");
    const bobs = await send(bob, { content: "bob's own", client_id: "a" });
    assert.equal(bobs.status, 201, "nobody takes another's client_id away");
    assert.equal(bobs.body.sender_id, bob.user.id);
    const { last_seq } = await ann.ok("GET", `/discussions/${id}`);
    assert.equal(last_seq, 12);
  }, env));

test("fifty sends at once with one client_id store one message", () =>
  withServer(async (t) => {
    const { ann, path, id } = await pair(t.url);
    const far = new Client((await t.another()).url);
    far.token = ann.token;
    for (const client_id of ["one", "two"]) {
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, n) =>
          (n % 2 ? ann : far).call("POST", path, { content: "once", client_id }),
        ),
      );
      const statuses = answers.map(({ status }) => status);
      assert.equal(statuses.filter((status) => status === 201).length, 1, `${statuses}`);
      assert.equal(statuses.filter((status) => status === 200).length, 49, `${statuses}`);
      assert.equal(new Set(answers.map(({ body }) => JSON.stringify(body))).size, 1);
    }
    const mixed = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        (n % 2 ? ann : far).call("POST", path, { content: `content ${n % 4}`, client_id: "three" }),
      ),
    );
    const stored = mixed.find(({ status }) => status === 201);
    assert.ok(stored);
    for (const [n, answer] of mixed.entries()) {
      if (answer === stored) continue;
      if (`content ${n % 4}` !== stored.body.content) assertProblem(answer, 409, "client_id_reused");
      else assert.deepEqual([answer.status, answer.body], [200, stored.body]);
    }
    const { items } = await ann.ok("GET", path);
    assert.deepEqual(
      items.map(({ seq, client_id }: Json) => [seq, client_id]),
      [
        [1, "one"],
        [2, "two"],
        [3, "three"],
      ],
    );
    assert.equal((await ann.send(id, "after")).seq, 4);
  }, env));

test("messages sent at the same time are numbered without holes, also beside refused ones", () =>
  withServer(async (t) => {
    const { ann, bob, path, id } = await pair(t.url);
    const far = new Client((await t.another()).url);
    far.token = bob.token;
    const bodies = Array.from({ length: 150 }, (_, n) => {
      if (n % 5 === 3) return { content: "x", reply_to_seq: 1_000_000 };
      if (n % 5 === 4) return { content: "x".repeat(16_001) };
      return { content: `${n}`, client_id: `c${n}` };
    });
    const answers = await Promise.all(
      bodies.map((body, n) => [ann, bob, far][n % 3]?.call("POST", path, body) as Promise<Answer>),
    );
    const stored = answers.filter(({ status }) => status === 201).map(({ body }) => body);
    assert.equal(stored.length, 90);
    for (const { status } of answers) assert.ok(status === 201 || (status >= 400 && status < 500));
    assert.deepEqual(
      stored.map(({ seq }) => seq).sort((a, b) => a - b),
      Array.from({ length: 90 }, (_, n) => n + 1),
    );
    const { items } = await ann.ok("GET", `${path}?limit=200`);
    const bySeq = [...stored].sort((a, b) => a.seq - b.seq);
    assert.deepEqual(items, bySeq);
    assert.equal((await ann.ok("GET", `/discussions/${id}`)).last_seq, 90);
  }, env));

test("a reply names a message that is there", () =>
  withServer(async (t) => {
    const { ann, bob, path, id } = await pair(t.url);
    await ann.send(id, "question");
    const reply = await bob.send(id, "answer", { reply_to_seq: 1 });
    assert.equal(reply.reply_to_seq, 1);
    for (const reply_to_seq of [3, 1_000, 2 ** 31, 2 ** 53 - 1])
      assertRefused(await bob.call("POST", path, { content: "x", reply_to_seq }), [400, 404, 409, 422]);
    for (const reply_to_seq of [-1, 0, 1.5, "1", [1], true, 1e300])
      assertRefused(await bob.call("POST", path, { content: "x", reply_to_seq }), [400, 404, 409, 422]);
    const other = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const elsewhere = { content: "x", reply_to_seq: 1 };
    assertRefused(
      await ann.call("POST", `/discussions/${other.id}/messages`, elsewhere),
      [400, 404, 409, 422],
    );
    assert.equal((await bob.ok("GET", `/discussions/${id}`)).last_seq, 2);
  }, env));

test("the @username of a member makes a mention, once", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await pair(t.url);
    await register(t.url, "outsider");
    await register(t.url, "bobby");
    const mentions = async (content: string) => (await ann.send(id, content)).mentions;
    for (const content of ["@bob", "Hi @bob!", "(@bob)", "@bob\n@bob, @bob"])
      assert.deepEqual(await mentions(content), [bob.user.id], content);
    for (const content of ["bob", "@outsider", "@bobby", "@nobody", "@", "@ bob"])
      assert.deepEqual(await mentions(content), [], content);
  }, env));

test("history is read from its end, before, after and around a message", () =>
  withServer(async (t) => {
    const { ann, bob, path, id } = await pair(t.url);
    const all: Json[] = [];
    for (let n = 1; n <= 60; n++) all.push(await (n % 2 ? ann : bob).send(id, `message ${n}`));
    const get = async (query: string) => {
      const page = await ann.ok("GET", `${path}?${query}`);
      assert.deepEqual(Object.keys(page).sort(), ["cursor", "has_after", "has_before", "items"]);
      const seqs: number[] = page.items.map(({ seq }: Json) => seq);
      assert.deepEqual(page.items, all.slice((seqs[0] ?? 1) - 1, seqs.at(-1) ?? 0), query);
      return { from: seqs[0], to: seqs.at(-1), before: page.has_before, after: page.has_after };
    };
    const newest = await get("");
    assert.deepEqual([newest.to, newest.after], [60, false]);
    assert.equal(newest.before, newest.from !== 1);
    assert.deepEqual(await get("limit=60"), { from: 1, to: 60, before: false, after: false });
    assert.deepEqual(await get("limit=59"), { from: 2, to: 60, before: true, after: false });
    assert.deepEqual(await get("limit=200"), { from: 1, to: 60, before: false, after: false });
    assert.deepEqual(await get("limit=1"), { from: 60, to: 60, before: true, after: false });
    assert.deepEqual(await get("before=51&limit=10"), { from: 41, to: 50, before: true, after: true });
    assert.deepEqual(await get("before=11&limit=10"), { from: 1, to: 10, before: false, after: true });
    assert.deepEqual(await get("before=12&limit=10"), { from: 2, to: 11, before: true, after: true });
    assert.deepEqual(await get("after=5&limit=3"), { from: 6, to: 8, before: true, after: true });
    assert.deepEqual(await get("after=57&limit=3"), { from: 58, to: 60, before: true, after: false });
    assert.deepEqual(await get("after=56&limit=3"), { from: 57, to: 59, before: true, after: true });
    assert.deepEqual((await get("around=1&limit=5")).from, 1);
    assert.deepEqual((await get("around=60&limit=5")).to, 60);
    const around = await get("around=30&limit=11");
    assert.deepEqual([around.before, around.after], [true, true]);
    const [from, to] = [around.from ?? 0, around.to ?? 0];
    assert.ok(from < 30 && to > 30 && to - from <= 10, `${from} to ${to}`);
    assert.deepEqual((await get("before=1&limit=10")).from, undefined);
    assert.deepEqual((await get("after=60&limit=10")).from, undefined);

    const wrong = [
      "limit=0",
      "limit=-1",
      "limit=x",
      "limit=1.5",
      "before=x",
      "after=1.5",
      "around=",
      "before=[]",
    ];
    for (const query of wrong) {
      const answer = await ann.call("GET", `${path}?${query}`);
      assert.equal(answer.status, 400, query);
      assertProblem(answer, 400, "invalid_request");
    }
    for (const name of ["before", "after", "around"])
      for (const value of ["2147483648", "9223372036854775808", "1e400", "-9007199254740993"]) {
        const { status } = await ann.call("GET", `${path}?${name}=${value}&limit=2`);
        assert.ok(status < 500, `${name}=${value} → ${status}`);
      }
  }, env));

test("whoever walks through history either way meets every message once", () =>
  withServer(async (t) => {
    const { ann, path, id } = await pair(t.url);
    await Promise.all(Array.from({ length: 45 }, (_, n) => ann.send(id, `message ${n}`)));
    const all = Array.from({ length: 45 }, (_, n) => n + 1);
    for (const limit of [1, 7, 44, 45]) {
      const back: number[] = [];
      let page = await ann.ok("GET", `${path}?limit=${limit}`);
      for (;;) {
        back.unshift(...page.items.map(({ seq }: Json) => seq));
        if (!page.has_before) break;
        page = await ann.ok("GET", `${path}?limit=${limit}&before=${back[0]}`);
      }
      assert.deepEqual(back, all, `back by ${limit}`);
      const on: number[] = [1];
      do {
        page = await ann.ok("GET", `${path}?limit=${limit}&after=${on.at(-1)}`);
        on.push(...page.items.map(({ seq }: Json) => seq));
      } while (page.has_after);
      assert.deepEqual(on, all, `on by ${limit}`);
    }
    const empty = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const none = await ann.ok("GET", `/discussions/${empty.id}/messages`);
    assert.deepEqual([none.items, none.has_before, none.has_after], [[], false, false]);
  }, env));

test("history and a stream from its cursor give every message once, while others send", () =>
  withServer(async (t) => {
    const { ann, bob, path, id } = await pair(t.url);
    const far = (await t.another()).url;
    const reader = new Client(far);
    reader.token = bob.token;
    const total = 160;
    const sending = Promise.all(
      Array.from({ length: 4 }, async (_, k) => {
        for (let n = 0; n < total / 4; n++) await ann.send(id, `${k}.${n}`);
      }),
    );
    const readings = [];
    for (let round = 0; round < 6; round++) {
      const { items, cursor } = await reader.ok("GET", `${path}?limit=200`);
      const stream = await openTestStream(round % 2 ? "ws" : "sse", reader, { since: cursor });
      readings.push({ items, stream });
    }
    await sending;
    for (const [round, { items, stream }] of readings.entries()) {
      const heard = () => stream.received.filter(({ type }) => type === "message.new");
      await stream.until(() => items.length + heard().length >= total);
      const seqs = [...items, ...heard().map(({ message }) => message)].map(({ seq }) => seq);
      assert.deepEqual(
        seqs,
        Array.from({ length: total }, (_, n) => n + 1),
        `reading ${round}`,
      );
      stream.cut();
    }
    assert.ok(
      readings.some(({ items }) => items.length < total),
      "some reading began while others sent",
    );
  }, env));

test("unread counts are exact up to a thousand, and reading never moves back", () =>
  withServer(async (t) => {
    const { ann, bob, path, id } = await pair(t.url);
    const unread = async (client: Client) => {
      const { unread_count } = await client.ok("GET", `/discussions/${id}`);
      assert.equal((await client.ok("GET", "/discussions")).items[0].unread_count, unread_count);
      return unread_count;
    };
    const read = (client: Client, seq: unknown) => client.call("PUT", `/discussions/${id}/read`, { seq });
    for (let n = 0; n < 6; n++) await ann.send(id, "from ann");
    assert.deepEqual([await unread(ann), await unread(bob)], [0, 6]);
    const answer = await read(bob, 4);
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, { last_read_seq: 4, unread_count: 2 });
    for (const seq of [1, 4]) assert.deepEqual((await read(bob, seq)).body, answer.body, "never back");
    for (const seq of [-1, 1.5, "5", null, undefined, [5]])
      assertProblem(await read(bob, seq), 400, "invalid_request");
    assertRefused(await read(new Client(t.url), 5), [401]);
    await bob.send(id, "seen all");
    assert.deepEqual([await unread(ann), await unread(bob)], [1, 0], "sending reads");
    const racing = await Promise.all([7, 1, 5, 3, 7, 2].map((seq) => read(ann, seq)));
    for (const { status } of racing) assert.equal(status, 200);
    const { members } = await bob.ok("GET", `/discussions/${id}`);
    const mine = members.find(({ user_id }: Json) => user_id === ann.user.id);
    assert.equal(mine.last_read_seq, 7);

    const count = 997;
    let sent = 0;
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        while (sent++ < count) await ann.call("POST", path, { content: "one of many" });
      }),
    );
    assert.equal(await unread(bob), count);
    for (const expected of [998, 999, 1_000, 1_000, 1_000]) {
      await ann.send(id, "one more");
      assert.equal(await unread(bob), expected);
    }
    assert.deepEqual((await read(bob, 1_000)).body, { last_read_seq: 1_000, unread_count: 9 });
  }, env));

test("messages across one's discussions come newest first, filtered and in pages, and only one's own", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await pair(t.url);
    const eve = await register(t.url, "eve");
    const second = await eve.ok("POST", "/discussions", {
      kind: "group",
      name: "E",
      member_ids: [ann.user.id],
    });
    const secret = await eve.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    const sent: Json[] = [];
    for (let n = 0; n < 20; n++) {
      sent.unshift(await (n % 3 ? ann : bob).send(id, `first ${n}`));
      sent.unshift(await (n % 2 ? ann : eve).send(second.id, `second ${n}`));
      await eve.send(secret.id, "not for ann");
    }
    const list = async (query: string) => (await ann.ok("GET", `/messages?${query}`)).items;
    assert.deepEqual(await list(""), sent);
    const ofFirst = sent.filter(({ discussion_id }) => discussion_id === id);
    const ofEve = sent.filter(({ sender_id }) => sender_id === eve.user.id);
    assert.deepEqual(await list(`discussion_id=${id}`), ofFirst);
    assert.deepEqual(await list(`sender_id=${eve.user.id}`), ofEve);
    assert.deepEqual(await list(`sender_id=${eve.user.id}&discussion_id=${id}`), []);
    const hidden = await ann.call("GET", `/messages?discussion_id=${secret.id}`);
    assert.ok(hidden.status === 404 || hidden.body.items.length === 0);
    for (const limit of [1, 7, 40, 41]) assert.deepEqual(await pages(ann, "/messages?", limit), sent);
    assert.deepEqual(await pages(ann, `/messages?sender_id=${eve.user.id}&`, 3), ofEve);

    const crowd = Array.from({ length: 40 }, (_, n) => [ann, bob][n % 2]?.send(id, "at once"));
    sent.unshift(...((await Promise.all(crowd)) as Json[]).sort((a, b) => b.seq - a.seq));
    assert.deepEqual(await pages(ann, "/messages?", 3), sent);
    const start = await ann.ok("GET", "/messages?limit=5");
    for (let n = 0; n < 3; n++) await bob.send(id, "while paging");
    const rest = await ann.ok("GET", `/messages?limit=200&cursor=${encodeURIComponent(start.next_cursor)}`);
    assert.deepEqual([...start.items, ...rest.items], sent, "what comes in moves no page");
    for (const query of [
      "cursor=x",
      `cursor=${btoa('["a"]')}`,
      "limit=0",
      "limit=201",
      "sender_id=eve",
      "discussion_id=1",
    ])
      assertProblem(await ann.call("GET", `/messages?${query}`), 400, "invalid_request");
    await ann.ok("DELETE", `/discussions/${second.id}/members/${ann.user.id}`);
    for (const { discussion_id } of await list("")) assert.equal(discussion_id, id, "left is left");
  }, env));

test("who is not a member neither reads nor writes", () =>
  withServer(async (t) => {
    const { ann, path, id } = await pair(t.url);
    await ann.send(id, "between us");
    const eve = await register(t.url, "eve");
    for (const target of [path, `/discussions/${unknownId}/messages`]) {
      assertProblem(await eve.call("GET", target), 404, "discussion_not_found");
      assertProblem(await eve.call("POST", target, { content: "x" }), 404, "discussion_not_found");
      const read = await eve.call("PUT", target.replace("messages", "read"), { seq: 1 });
      assertProblem(read, 404, "discussion_not_found");
    }
    const stranger = new Client(t.url);
    assertRefused(await stranger.call("GET", path), [401]);
    assertRefused(await stranger.call("POST", path, { content: "x" }), [401]);
    assert.equal((await ann.ok("GET", path)).items.length, 1);
  }, env));

/** Two people and their direct discussion. */
async function pair(url: string) {
  const [ann, bob] = [await register(url, "ann"), await register(url, "bob")];
  const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
  return { ann, bob, id: id as string, path: `/discussions/${id}/messages` };
}

test.run();
