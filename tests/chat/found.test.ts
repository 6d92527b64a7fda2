import assert from "node:assert/strict";
import { test } from "uvu";
import { createDirect, createGroup, viaInstance, withSql } from "../delivery/help.ts";
import { type Client, type Json, pages, password } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { assertDone, byRest, createPair, createRoom, env, findInDatabase, messageAt, range } from "./help.ts";

// Who finds what by a search, and when no more; how it finds is tested elsewhere.

async function find(client: Client, query: string, more = ""): Promise<Json[]> {
  return (await client.ok("GET", `/search?q=${encodeURIComponent(query)}&limit=200${more}`)).items;
}

const seqsOf = (items: readonly Json[]) => items.map(({ seq }) => seq).sort((a, b) => a - b);

test("only members find the messages of a discussion, from their joining to their leaving", () =>
  withServer(async (t) => {
    const { ann, carl, eve, id, path } = await createRoom(t.url, "public");
    await ann.send(id, "a walrus in the garden");
    const hidden = await createDirect(ann, ann);
    await ann.send(hidden.id, "a private walrus");
    assert.equal((await find(ann, "walrus")).length, 2);
    assert.deepEqual(seqsOf(await find(carl, "walrus")), [1]);
    for (const [query, more] of [
      ["walrus", ""],
      ["alru", ""],
      ["walrus", `&discussion_id=${id}`],
      ["walrus", `&sender_id=${ann.user.id}`],
    ] as const) {
      // A filter by what one may not see finds nothing, or is told as not found.
      const answer = await eve.call("GET", `/search?q=${query}${more}`);
      assert.ok(answer.status === 404 || answer.status === 403 || answer.body.items.length === 0, more);
    }
    await eve.ok("POST", `${path}/join`);
    assert.deepEqual(seqsOf(await find(eve, "walrus")), [1], "with all of its history");
    await eve.ok("DELETE", `${path}/members/${eve.user.id}`);
    await ann.ok("DELETE", `${path}/members/${carl.user.id}`);
    for (const client of [eve, carl]) assert.deepEqual(await find(client, "walrus"), []);
    await ann.ok("DELETE", path);
    assert.equal((await find(ann, "walrus")).length, 1);
  }, env));

test("the cursor of one person's search gives another person nothing of it", () =>
  withServer(async (t) => {
    const { ann, eve, id } = await createRoom(t.url);
    for (const n of range(1, 5)) await ann.send(id, `walrus ${n}`);
    const own = await createDirect(eve, eve);
    await eve.send(own.id, "eve's walrus");
    const { next_cursor } = await ann.ok("GET", "/search?q=walrus&limit=2");
    const answer = await eve.call("GET", `/search?q=walrus&cursor=${encodeURIComponent(next_cursor)}`);
    for (const item of answer.body.items ?? []) assert.equal(item.discussion_id, own.id);
    const other = await ann.call("GET", `/search?q=other&cursor=${encodeURIComponent(next_cursor)}`);
    assert.ok(other.status === 400 || other.body.items.length === 0, "nor for another question");
  }, env));

test("what is found is the message as it is everywhere, and a snippet with no markup but its marks", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const contents = [
      "walrus <script>alert(1)</script>",
      "<img src=x onerror=alert(1)> walrus",
      "walrus <mark>forged</mark>",
      "&lt;b&gt; walrus &amp;",
      "walrus \u0001\u0002\u0003 </mark><b> \ue000\ue001",
      `<b ${"x ".repeat(2_000)}walrus <i ${"y ".repeat(2_000)}`,
      "<walrus>",
    ];
    for (const content of contents) await ann.send(id, content);
    assertDone(await byRest(bob).react(id, 1, "👍"));
    const items = await find(bob, "walrus");
    assert.equal(items.length, contents.length);
    for (const { snippet, rank: _, ...message } of items) {
      const { snippet: __, rank: ___, ...fresh } = await messageAt(ann, id, message.seq);
      assert.deepEqual(message, fresh);
      assert.ok(snippet.length < 2_000, "a snippet is short");
      assert.doesNotMatch(snippet.replaceAll(/<\/?mark>/g, ""), /[<>]/, snippet);
      const marks = snippet.match(/<\/?mark>/g) ?? [];
      assert.ok(
        marks.every((mark: string, index: number) => mark === (index % 2 ? "</mark>" : "<mark>")),
        snippet,
      );
    }
  }, env));

test("once a deletion or an edit is answered, no instance finds the old text", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const far = viaInstance(bob, (await t.another()).url);
    for (const n of range(1, 30)) await ann.send(id, `walrus${n}x here`);
    await Promise.all(
      range(1, 30).map(async (seq) => {
        if (seq % 2) assertDone(await byRest(ann).remove(id, seq));
        else assertDone(await byRest(ann).edit(id, seq, `penguin${seq}x there`));
        for (const client of [bob, far])
          for (const query of [`walrus${seq}x`, `alrus${seq}x`])
            assert.deepEqual(await find(client, query), [], query);
        if (seq % 2 === 0) assert.deepEqual(seqsOf(await find(far, `penguin${seq}x`)), [seq]);
      }),
    );
    assert.deepEqual(await find(bob, "walrus"), []);
  }, env));

test("an index that is made beside the writing brings no deleted or replaced text back", () =>
  withServer(async (t) => {
    const marker = "zqxsecret";
    const { ann, bob, id } = await createPair(t.url);
    const far = viaInstance(ann, (await t.another()).url);
    const write = async (client: Client, n: number) => {
      for (let round = 0; round < 40; round++) {
        const { seq } = await client.send(id, `${marker} ${n} ${round}`);
        // From at once to a little later, so that all stages of the indexing are met.
        for (let look = 0; look < round % 5; look++) await find(bob, "nothing");
        const way = byRest(client);
        assertDone(round % 3 ? await way.remove(id, seq) : await way.edit(id, seq, "replaced"));
      }
    };
    await Promise.all(range(1, 6).map((n) => write(n % 2 ? ann : far, n)));
    await ann.send(id, "sentinelzqy");
    const isIndexed = async () => {
      const tables = await findInDatabase(t.databaseUrl, "sentinelzqy");
      assert.ok(tables.includes("search_documents"), `${tables}`);
    };
    await eventually(isIndexed, 30_000);
    assert.deepEqual(await findInDatabase(t.databaseUrl, marker), ["message_edits"]);
    assert.deepEqual(await find(bob, marker), []);
  }, env));

test("pages have each message once, while others are written, changed and deleted", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await createPair(t.url);
    const other = await createGroup(ann, "Other", [bob]);
    for (const target of [id, other.id])
      await withSql(t.databaseUrl, (db) =>
        db.query(
          `insert into messages (discussion_id, sender_id, content)
           select $1, $2, 'walrus number ' || i from generate_series(1, 60) as i`,
          [target, ann.user.id],
        ),
      );
    let isOver = false;
    const change = async () => {
      for (let n = 1; !isOver && n < 60; n++) {
        await ann.send(id, `walrus new ${n}`);
        assertDone(await byRest(ann).edit(other.id, n, `penguin ${n}`));
        assertDone(await byRest(ann).remove(id, 61 - n));
      }
    };
    const changing = change();
    const walked = [];
    for (const limit of [7, 50]) walked.push(await pages(bob, "/search?q=walrus&", limit));
    isOver = true;
    await changing;
    for (const items of walked) {
      const keys = items.map(({ discussion_id, seq }) => `${discussion_id} ${seq}`);
      assert.equal(new Set(keys).size, keys.length, "none twice");
      for (const { content, deleted_at } of items)
        assert.ok(content.includes("walrus") && deleted_at === null);
    }
    const settled = await pages(bob, "/search?q=walrus&", 7);
    const histories = [];
    for (const target of [id, other.id])
      histories.push(...(await bob.ok("GET", `/discussions/${target}/messages?limit=200`)).items);
    const expected = histories.filter(({ content }: Json) => content.includes("walrus"));
    assert.equal(settled.length, expected.length, "and none is missing");
  }, env));

test("messages of an erased user are found by their members, and by nobody else", () =>
  withServer(async (t) => {
    const { ann, bob, carl, eve, id } = await createRoom(t.url);
    await carl.send(id, "carl's walrus");
    const own = await createDirect(carl, carl);
    await carl.send(own.id, "carl's own walrus");
    assert.equal((await carl.call("DELETE", "/users/me", { password })).status, 204);
    for (const client of [ann, bob]) assert.equal((await find(client, "walrus")).length, 1);
    assert.equal((await find(ann, "walrus", `&sender_id=${carl.user.id}`)).length, 1);
    assert.deepEqual(await find(eve, "walrus"), []);
  }, env));

test.run();
