import assert from "node:assert/strict";
import pg from "pg";
import { test } from "uvu";
import { readRange } from "../server/delivery/announcement.ts";
import { createTestDatabase } from "./support/database.ts";

const newest = 1_000;
/** What fits into one NOTIFY, and how many of them a transaction may send: see announce_events(). */
const chunkBytes = 7_858;
const mostNotifications = 16;

const line = (bytes: number, index: number) => `${index}`.padEnd(bytes - 1, "x");

/** All payloads that announcing these lines brings to a listener. */
async function announce(client: pg.Client, lines: string[]): Promise<string[]> {
  const payloads: string[] = [];
  const hear = ({ payload }: pg.Notification) => payloads.push(payload ?? "");
  client.on("notification", hear);
  const { rows } = await client.query("SELECT announce_events($1, $2) AS sent", [newest, lines]);
  await client.query("SELECT"); // Notifications come before the next answer.
  client.off("notification", hear);
  assert.equal(payloads.length, rows[0].sent);
  return payloads;
}

/** The payloads cover all positions in order, and those that bring lines bring the right ones. */
function assertCovers(payloads: string[], lines: string[]): void {
  assert.ok(payloads.length <= mostNotifications);
  let next = newest + 1;
  for (const [index, payload] of payloads.entries()) {
    const { from, to } = readRange(payload);
    assert.equal(from, next);
    next = to + 1;
    const expected = lines.slice(from - newest - 1, to - newest);
    const bytes = expected.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
    const isLast = index === mostNotifications - 1;
    assert.ok(bytes <= chunkBytes || expected.length === 1 || isLast);
    assert.deepEqual(payload.split("\n").slice(1), bytes <= chunkBytes ? expected : []);
  }
  assert.equal(next, newest + lines.length + 1);
}

async function withListener(act: (client: pg.Client) => Promise<void>): Promise<void> {
  const database = await createTestDatabase();
  const client = new pg.Client(database.url);
  await client.connect();
  try {
    await client.query("LISTEN events");
    await act(client);
  } finally {
    await client.end();
    await database.drop();
  }
}

test("announcements cover all events within the bounds of NOTIFY, however many lines there are", () =>
  withListener(async (client) => {
    const perChunk = 10;
    const bytes = Math.floor(chunkBytes / perChunk);
    const counts = [1, 2, perChunk, perChunk + 1, perChunk * 15, perChunk * 15 + 1, perChunk * 16];
    for (const count of [...counts, perChunk * 16 + 1, perChunk * 16 + 2, perChunk * 17 + 1, 400]) {
      const lines = Array.from({ length: count }, (_, index) => line(bytes, index));
      const payloads = await announce(client, lines);
      assert.equal(payloads.length, Math.min(Math.ceil(count / perChunk), mostNotifications));
      assertCovers(payloads, lines);
    }
  }));

test("announcements of lines of all sizes, also larger than a NOTIFY, cover all events", () =>
  withListener(async (client) => {
    const sizes = [10, 500, 2_000, chunkBytes - 1, chunkBytes, chunkBytes + 1, 30_000];
    for (let round = 0; round < 300; round++) {
      const count = 1 + ((round * 7) % 60);
      const lines = Array.from({ length: count }, (_, index) =>
        line(sizes[(index * index + round * (index + 3)) % sizes.length] ?? 10, index),
      );
      assertCovers(await announce(client, lines), lines);
    }
  }));

test.run();
