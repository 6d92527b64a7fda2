/**
 * The limit for durable writes: prepared multi-row INSERTs into a plain table, one after the other on one
 * connection. BATCH rows each, for WINDOW_MS after WARM_UP_MS. Prints its figures as JSON.
 */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { cpuSince, readCpu } from "../usage.ts";

const batch = Number(process.env.BATCH);
const insert = {
  name: "insert",
  text: `INSERT INTO messages (room, sender, content)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])`,
};
const groups = { server: [process.pid], postgres: [Number(process.env.POSTGRES_PID)].filter(Boolean) };
const rooms = Array.from({ length: 500 }, () => randomUUID());
let stored = 0;

const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
await runFor(Number(process.env.WARM_UP_MS));
const [before, started, cpuBefore] = [stored, performance.now(), readCpu(groups)];
await runFor(Number(process.env.WINDOW_MS));
const seconds = (performance.now() - started) / 1_000;
const cpu = cpuSince(cpuBefore, groups);
await client.end();
console.log(JSON.stringify({ messages: stored - before, seconds, ...cpu }));

async function runFor(ms: number): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end; ) {
    const chosen = Array.from({ length: batch }, (_, index) => rooms[(stored + index) % rooms.length]);
    const contents = chosen.map((_, index) => `${stored + index} `.padEnd(100, "x"));
    await client.query({ ...insert, values: [chosen, chosen, contents] });
    stored += batch;
  }
}
