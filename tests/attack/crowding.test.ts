import assert from "node:assert/strict";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { withSql } from "../delivery/help.ts";
import { openRaw, type RawStream, streamPath } from "../delivery/raw.ts";
import { type Client, register } from "../support/client.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";

// One person may have so many streams open at one process, however they come.

const extra = 30;
/** With all that a person may have open, few enough for the bound on how often one may ask. */
const early = 80;

for (const kind of ["sse", "ws"] as const) {
  test(`${kind}: of streams that one person opens all at once no more are open than may be`, () =>
    withServer(async (t) => {
      const ann = await register(t.url, "ann");
      const answers = await openAtOnce(t, ann, kind, limits.streamsPerUser + extra);
      const open = answers.filter(({ status }) => status < 300);
      assert.equal(open.length, limits.streamsPerUser);
      for (const answer of answers.filter((answer) => !open.includes(answer)))
        assert.deepEqual([answer.status, answer.body.code], [429, "rate_limited"]);
      for (const { cut } of open) cut();
      // All places are free again, and were not lost.
      await eventually(async () => {
        const again = await openRaw(kind, t.url, streamPath(kind), { headers: by(ann) });
        again.cut();
        assert.ok(again.status < 300, `${again.status}`);
      });
    }));

  test(`${kind}: who goes away while the right to a stream is being checked leaves no place taken`, () =>
    withServer(async (t) => {
      const ann = await register(t.url, "ann");
      await withOpeningsHeld(t, async (waiting) => {
        const asked = Array.from({ length: early }, () => leaveEarly(t, ann, kind));
        await eventually(async () => assert.ok((await waiting()) > 0));
        for (const leave of asked) leave();
      });
      // This one is looked up after them; and when it has gone, so have they.
      (await openRaw(kind, t.url, streamPath(kind), { headers: by(ann) })).cut();
      await eventually(() => assertNoneOpen(t.url));
      const answers = await openAtOnce(t, ann, kind, limits.streamsPerUser);
      const refused = answers.filter(({ status }) => status >= 300).length;
      for (const { cut } of answers) cut();
      assert.equal(refused, 0);
    }));
}

test.run();

function by(client: Client): Record<string, string> {
  return { authorization: `Bearer ${client.token}` };
}

function openAtOnce(t: TestServer, client: Client, kind: "sse" | "ws", count: number): Promise<RawStream[]> {
  const open = () => openRaw(kind, t.url, streamPath(kind), { headers: by(client) });
  return Promise.all(Array.from({ length: count }, open));
}

async function assertNoneOpen(url: string): Promise<void> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const counts = [...text.matchAll(/^parley_streams_open\{.*\} (\d+)$/gm)].map(([, count]) => Number(count));
  assert.equal(counts.length, 2);
  assert.deepEqual(counts, [0, 0]);
}

/** Asks for a stream; what is given back breaks the connection off. */
function leaveEarly(t: TestServer, client: Client, kind: "sse" | "ws"): () => void {
  const leaving = new AbortController();
  const options = { headers: by(client), signal: leaving.signal };
  openRaw(kind, t.url, streamPath(kind), options).catch(() => {});
  return () => leaving.abort();
}

/** Holds up the look-up of every session while `act` runs. */
async function withOpeningsHeld(
  t: TestServer,
  act: (waiting: () => Promise<number>) => Promise<void>,
): Promise<void> {
  await withSql(t.databaseUrl, async (db) => {
    await db.query("BEGIN");
    await db.query("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE");
    await act(async () => {
      const { rows } = await db.query(
        `SELECT count(*)::int AS waiting FROM pg_locks JOIN pg_database AS d ON d.oid = database
         WHERE NOT granted AND d.datname = current_database()`,
      );
      return rows[0].waiting;
    });
    await db.query("COMMIT");
  });
}
