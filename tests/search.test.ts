import assert from "node:assert/strict";
import pg from "pg";
import { test } from "uvu";
import { nextPlace, readPlace } from "../server/api/search.ts";
import { openDatabase, type Pool } from "../sql/database.ts";
import { indexMessages, type SearchQuestion, searchMessages } from "../sql/search.ts";
import { createTestDatabase } from "./support/database.ts";
import { countLockWaits, query } from "./support/postgres.ts";
import { createRandom, type Random } from "./support/random.ts";
import { eventually } from "./support/server.ts";

const everything = { messages: 10_000, bytes: 10_000_000 };

interface Message {
  discussion_id: string;
  seq: number;
  sender_id: string;
  content: string;
}

test("whatever is asked, all pages together are what a look at every message finds", () =>
  withDatabase(async (url, pool) => {
    const random = createRandom();
    const { users, messages } = await fill(url, random);
    const half = Math.floor(messages.length / 2);
    for (const stage of ["read", "partly indexed", "indexed"]) {
      if (stage !== "read") {
        const made = await indexMessages(pool, {
          ...everything,
          messages: stage === "indexed" ? 10_000 : half,
        });
        assert.ok(made !== null && made > 0);
        // As if each had come after thousands of others: in many segments.
        await query(url, "UPDATE search_documents SET place = position * 5000");
      }
      for (let round = 0; round < 60; round++) {
        const reader = pick(random, users);
        const question = ask(random, messages, reader.id);
        const label = `${stage} ${JSON.stringify(question)}`;
        const seen = messages.filter((message) => reader.discussion_ids.includes(message.discussion_id));
        const expected = seen.filter((message) => isMatch(message, question)).map(nameOf);
        const bounds = {
          candidates: Math.floor(random.between(1, 40)),
          read: random.chance(0.5) ? 0 : 10_000,
          unindexed: 10_000,
        };
        assert.deepEqual((await readPages(pool, question, bounds)).sort(), expected.sort(), label);
      }
    }
  }));

test("a message that is edited while its document is made is found by what it says now", () =>
  withDatabase(async (url, pool) => {
    await fill(url, createRandom(), 20);
    const [indexer, editor] = [
      new pg.Client({ connectionString: url }),
      new pg.Client({ connectionString: url }),
    ];
    await Promise.all([indexer.connect(), editor.connect()]);
    try {
      await indexer.query("BEGIN");
      assert.equal((await indexer.query("SELECT index_messages(7, 1000000) AS made")).rows[0].made, 7);
      const edit = editor.query(
        "UPDATE messages SET content = 'edited meanwhile' WHERE position IS NOT NULL",
      );
      await eventually(async () => {
        assert.equal(await countLockWaits(url), 1, "the edit waits");
      });
      await indexer.query("COMMIT");
      await edit;

      await editor.query("BEGIN");
      await editor.query("UPDATE messages SET content = 'edited again'");
      assert.equal(await indexMessages(pool, everything), null, "an edit of what has no document goes first");
      await editor.query("COMMIT");
      assert.equal(await indexMessages(pool, everything), 13);
      const documents = await query(url, "SELECT DISTINCT words FROM search_documents");
      assert.deepEqual(documents, [{ words: " edited again " }]);
    } finally {
      await Promise.all([indexer.end(), editor.end()]);
    }
  }));

test("an edit of what has its document does not hold up indexing", () =>
  withDatabase(async (url, pool) => {
    await fill(url, createRandom(), 20);
    assert.equal(await indexMessages(pool, { messages: 10, bytes: 1_000_000 }), 10);
    const editor = new pg.Client({ connectionString: url });
    await editor.connect();
    try {
      await editor.query("BEGIN");
      await editor.query(
        `UPDATE messages SET content = 'edited' WHERE position =
           (SELECT min(position) FROM search_documents)`,
      );
      assert.equal(await indexMessages(pool, { messages: 10, bytes: 1_000_000 }), 10);
      await editor.query("COMMIT");
    } finally {
      await editor.end();
    }
  }));

test("a step is bounded by messages and by bytes, and none is too long to be indexed", () =>
  withDatabase(async (url, pool) => {
    await fill(url, createRandom(), 20);
    await query(url, "UPDATE messages SET content = repeat('wort ', 3200)");
    assert.equal(await indexMessages(pool, { messages: 20, bytes: 40_000 }), 3);
    assert.equal(await indexMessages(pool, { messages: 2, bytes: 40_000 }), 2);
    assert.equal(await indexMessages(pool, { messages: 20, bytes: 0 }), 1);
    assert.equal(await indexMessages(pool, { messages: 100, bytes: 1_000_000 }), 14);
    assert.equal(await indexMessages(pool, { messages: 100, bytes: 1_000_000 }), 0);
  }));

test("of what has no document yet a search reads the newest megabyte, and finds the rest once it has", () =>
  withDatabase(async (url, pool) => {
    const { users } = await fill(url, createRandom(), 0);
    const readerId = users[0]?.id ?? "";
    await query(
      url,
      `INSERT INTO messages (discussion_id, seq, sender_id, content)
       SELECT $1, n, $2, 'Findling ' || repeat('x', 15991) FROM generate_series(1, 120) AS n`,
      [users[0]?.discussion_ids[0], readerId],
    );
    const question = { reader_id: readerId, words: ["findling"], phrases: [] };
    const find = async () => {
      const asked = { ...question, discussion_id: undefined, sender_id: undefined, limit: 200 };
      const bounds = { candidates: 1_000, read: 5_000, unindexed: 10_000 };
      const { items } = await searchMessages(pool, { ...asked, ...readPlace(undefined) }, bounds);
      return items.map(({ position }) => position).sort((one, other) => one - other);
    };
    const all = await query(url, "SELECT position FROM messages ORDER BY position");
    const positions = all.map(({ position }) => Number(position));
    assert.equal(positions.length, 120);
    const newest = Math.floor((1024 * 1024) / 16_000);
    assert.deepEqual(await find(), positions.slice(-newest));
    while (((await indexMessages(pool, everything)) ?? 0) > 0);
    assert.deepEqual(await find(), positions);
  }));

const letters = ["a", "b", "c", "D", "é", "中", "国", "京", "ท"];

/** Three people in six discussions, and messages of few letters, mixed. */
async function fill(url: string, random: Random, count = 400) {
  const made = await query(
    url,
    `WITH people AS (
       INSERT INTO users (username, display_name, password_hash)
       SELECT 'person' || i, 'Person', '-' FROM generate_series(1, 3) AS i RETURNING id
     ), groups AS (
       INSERT INTO discussions (kind, name) SELECT 'group', 'g' || i FROM generate_series(1, 6) AS i
       RETURNING id
     )
     SELECT array(SELECT id FROM people)::text[] AS user_ids,
       array(SELECT id FROM groups)::text[] AS group_ids`,
  );
  const { user_ids, group_ids } = made[0] as { user_ids: string[]; group_ids: string[] };
  const users = user_ids.map((id, index) => ({ id, discussion_ids: group_ids.slice(index * 2) }));
  for (const { id, discussion_ids } of users) {
    await query(url, "INSERT INTO members (discussion_id, user_id) SELECT unnest($1::uuid[]), $2", [
      discussion_ids,
      id,
    ]);
  }
  const word = () => Array.from({ length: random.between(1, 5) }, () => pick(random, letters)).join("");
  const messages: Message[] = [];
  for (let n = 0; n < count; n++) {
    const discussion_id = pick(random, group_ids);
    const seq = messages.filter((message) => message.discussion_id === discussion_id).length + 1;
    const content = Array.from({ length: random.between(1, 6) }, word).join(pick(random, [" ", ", ", " - "]));
    messages.push({ discussion_id, seq, sender_id: pick(random, user_ids), content });
  }
  await query(
    url,
    `INSERT INTO messages (discussion_id, seq, sender_id, content)
     SELECT discussion_id, seq, sender_id, content
     FROM json_to_recordset($1) AS m (discussion_id uuid, seq bigint, sender_id uuid, content text)`,
    [JSON.stringify(messages)],
  );
  return { users, messages };
}

/** Parts of a message, so that something is found, and sometimes more conditions. */
function ask(random: Random, messages: Message[], readerId: string): SearchQuestion {
  const { discussion_id, sender_id, content } = pick(random, messages);
  const words = content.split(/[^\p{L}]+/u).filter(Boolean);
  const part = () => {
    const word = [...pick(random, words)];
    const from = Math.floor(random.between(0, word.length));
    return word.slice(from, from + random.between(1, 5)).join("");
  };
  const phrase = () => words.slice(random.between(0, words.length)).slice(0, 2).join(" ");
  const isPhrase = random.chance(0.2);
  return {
    reader_id: readerId,
    words: isPhrase ? [] : Array.from({ length: random.between(1, 4) }, part),
    phrases: isPhrase ? [phrase()] : [],
    discussion_id: random.chance(0.2) ? discussion_id : undefined,
    sender_id: random.chance(0.2) ? sender_id : undefined,
    ...readPlace(undefined),
    limit: Math.floor(random.between(1, 20)),
  };
}

/** The same, said once more and as simply as can be. */
function isMatch(message: Message, { words, phrases, discussion_id, sender_id }: SearchQuestion): boolean {
  const fold = (text: string) =>
    ` ${text
      .normalize("NFKD")
      .replace(/\p{Mn}/gu, "")
      .toLowerCase()} `;
  const said = fold(message.content).replace(/[^a-z中国京ท]+/g, " ");
  const isSaid = (word: string) => {
    const bare = fold(word).trim();
    if (/^[a-z]$/.test(bare)) return said.includes(` ${bare} `);
    return said.includes(/^[a-z]{2}$/.test(bare) ? ` ${bare}` : bare);
  };
  const isPhraseSaid = (phrase: string) => {
    const bare = fold(phrase).trim();
    const before = /^[a-z]/.test(bare) ? " " : "";
    return said.includes(before + bare + (/[a-z]$/.test(bare) ? " " : ""));
  };
  return (
    words.every(isSaid) &&
    phrases.every(isPhraseSaid) &&
    (discussion_id === undefined || message.discussion_id === discussion_id) &&
    (sender_id === undefined || message.sender_id === sender_id)
  );
}

/** Page by page, as a client walks, but with ranges of a few candidates. */
async function readPages(pool: Pool, question: SearchQuestion, bounds: Parameters<typeof searchMessages>[2]) {
  const names: string[] = [];
  let cursor: Parameters<typeof readPlace>[0];
  for (let page = 0; page < 1_000; page++) {
    const place = readPlace(cursor);
    const found = await searchMessages(pool, { ...question, ...place }, bounds);
    const items = found.items.slice(0, question.limit);
    names.push(...items.map(({ message }) => nameOf(message as unknown as Message)));
    const next = nextPlace(found, question.limit, place.range);
    if (!next) return names;
    cursor = next;
  }
  throw new Error("the pages do not end");
}

function nameOf({ discussion_id, seq }: Message): string {
  return `${discussion_id}:${seq}`;
}

function pick<T>(random: Random, values: readonly T[]): T {
  return values[Math.floor(random.between(0, values.length))] as T;
}

async function withDatabase(act: (url: string, pool: Pool) => Promise<void>): Promise<void> {
  const database = await createTestDatabase();
  const pool = await openDatabase({ url: database.url, maxConnections: 2 });
  try {
    await act(database.url, pool);
  } finally {
    await pool.end();
    await database.drop();
  }
}

test.run();
