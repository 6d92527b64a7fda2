import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, type Client, password, register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { createDirect, createGroup, createRandom, login, seed, withSql } from "./help.ts";
import { openRaw, type RawStream, streamPath } from "./raw.ts";

/** One way to ask for a stream, and what must come of it. */
interface Asking {
  query: string;
  discussionId?: string;
  headers: Record<string, string>;
  /** The contents of its replay, or the status and code of its refusal. */
  expected: string[] | [number, string];
}

for (const kind of ["sse", "ws"] as const) {
  test(`${kind}: of streams that open at once each gets its own session, start and discussions`, () =>
    withServer(async (t) => {
      const askings = await prepare(t.url, kind);
      console.log(`      SEED=${seed}`);
      const random = createRandom(seed);
      const mixed = [...askings, ...askings, ...askings, ...askings].sort(() => random() - 0.5);
      const answers = await withSessionsLocked(t.databaseUrl, async (waiting) => {
        const asked = mixed.map(({ query, discussionId, headers }) =>
          openRaw(kind, t.url, `${streamPath(kind, discussionId)}${query}`, { headers }),
        );
        await eventually(async () => assert.ok((await waiting()) > 0, "openings wait for the database"));
        // However many wait, the pool is there for others.
        for (let i = 0; i < 5; i++) assert.equal((await fetch(`${t.url}/readyz`)).status, 200);
        assert.ok((await waiting()) <= 2, "they wait in two statements at most");
        return asked;
      });
      for (const [index, answer] of (await Promise.all(answers)).entries())
        await assertExpected(answer, mixed[index]?.expected ?? []);
    }));
}

/** Holds up the look-up of every session while `act` runs. */
async function withSessionsLocked<T>(
  databaseUrl: string,
  act: (waiting: () => Promise<number>) => Promise<T>,
): Promise<T> {
  return withSql(databaseUrl, async (db) => {
    await db.query("BEGIN");
    await db.query("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE");
    const result = await act(async () => {
      const { rows } = await db.query(
        `SELECT count(*)::int AS waiting FROM pg_locks JOIN pg_database AS d ON d.oid = database
         WHERE NOT granted AND d.datname = current_database()`,
      );
      return rows[0].waiting;
    });
    await db.query("COMMIT");
    return result;
  });
}

/** People with a message for each pair of them, and every way to ask for a stream of theirs. */
async function prepare(url: string, kind: "sse" | "ws"): Promise<Asking[]> {
  const [ann, bob, eve] = [
    await register(url, "ann"),
    await register(url, "bob"),
    await register(url, "eve"),
  ];
  const group = await createGroup(ann, "both", [eve]);
  const direct = await createDirect(ann, bob);
  const all = `?since=${direct.cursor}`;
  await ann.send(direct.id, "one");
  const { cursor } = await ann.ok("GET", "/discussions");
  await ann.send(group.id, "two");
  const over = await login(url, "ann");
  await over.ok("POST", "/auth/logout");
  const by = (client: Client) => ({ authorization: `Bearer ${client.token}` });
  return [
    { query: all, headers: by(ann), expected: ["one", "two"] },
    { query: `?since=${cursor}`, headers: by(ann), expected: ["two"] },
    { query: "", headers: by(ann), expected: [] },
    { query: all, discussionId: direct.id, headers: by(ann), expected: ["one"] },
    { query: all, headers: await cookieOf(url, kind, "ann"), expected: ["one", "two"] },
    { query: all, headers: by(bob), expected: ["one"] },
    { query: all, headers: by(eve), expected: ["two"] },
    { query: all, headers: await cookieOf(url, kind, "eve"), expected: ["two"] },
    { query: all, discussionId: group.id, headers: by(eve), expected: ["two"] },
    { query: all, discussionId: group.id, headers: by(bob), expected: [404, "discussion_not_found"] },
    { query: all, headers: by(over), expected: [401, "session_revoked"] },
    { query: all, headers: { cookie: "parley_session=x", origin: url }, expected: [401, "unauthenticated"] },
  ];
}

/** Headers with a new session cookie. */
async function cookieOf(url: string, kind: "sse" | "ws", username: string): Promise<Record<string, string>> {
  const response = await fetch(`${url}/api/v1/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username, password, cookie: true }),
  });
  const cookie = response.headers.get("set-cookie")?.split(";")[0] ?? "";
  return { cookie, ...(kind === "ws" && { origin: url }) };
}

async function assertExpected(answer: RawStream, expected: Asking["expected"]): Promise<void> {
  if (typeof expected[0] === "number") return assertProblem(answer, expected[0], String(expected[1]));
  await answer.until((text) => text.includes('"type":"ready"'));
  const contents = [...answer.text().matchAll(/"content":"(\w+)"/g)].map(([, content]) => content);
  assert.deepEqual(contents, expected);
  answer.cut();
}

test.run();
