/** The real side: two instances on one database, and for each run new people who know nobody else. */
import pg from "pg";
import { createTokens, type Tokens } from "../../server/commands/tokens.ts";
import { limits } from "../../server/limits.ts";
import { openDatabase, type Pool } from "../../sql/database.ts";
import { type LogEvent, readEvents, readLogEnd } from "../../sql/log.ts";
import { env } from "../chat/help.ts";
import { Client, register } from "../support/client.ts";
import { type TestServer, testSecret, withServer } from "../support/server.ts";
import { timeToken } from "./match.ts";
import type { Person } from "./model.ts";

/** What all runs share. */
export interface Ground {
  urls: readonly [string, string];
  db: pg.Client;
  pool: Pool;
  tokens: Tokens;
  runs: number;
  /** How often what came, to see what the runs were about. */
  tally: Map<string, number>;
}

const names = ["Ann", "Bob", "Carl", "Dora"];

/** Several of them, to run as many worlds at a time. */
export function withGrounds(
  count: number,
  act: (grounds: readonly Ground[]) => Promise<void>,
  grounds: readonly Ground[] = [],
): Promise<void> {
  if (grounds.length === count) return act(grounds);
  return withServer((t) => withGround(t, (ground) => withGrounds(count, act, [...grounds, ground])), env);
}

async function withGround(t: TestServer, act: (ground: Ground) => Promise<void>): Promise<void> {
  // Everybody has the password of the first, as hashing four of them takes longer than the rest of a run.
  await register(t.url, "first");
  const second = await withFewInMemory(() => t.another());
  const db = new pg.Client({ connectionString: t.databaseUrl });
  await db.connect();
  const pool = await openDatabase({ url: t.databaseUrl, maxConnections: 1 });
  try {
    await act({
      urls: [t.url, second.url],
      db,
      pool,
      tokens: createTokens(testSecret),
      runs: 0,
      tally: new Map(),
    });
  } finally {
    await pool.end();
    await db.end();
  }
}

/**
 * Replays come from memory or from the table, in pages. So that short runs meet all of that, the second
 * instance remembers few events, and the pages are small.
 */
async function withFewInMemory<T>(start: () => Promise<T>): Promise<T> {
  const bounds: { recentEvents: number; logPage: { limit: number; maxBytes: number } } = limits;
  const { recentEvents } = bounds;
  bounds.logPage = { ...bounds.logPage, limit: 5 };
  bounds.recentEvents = 8;
  try {
    return await start();
  } finally {
    bounds.recentEvents = recentEvents;
  }
}

export interface Crowd {
  people: Person[];
  /** Of each person, one per instance. */
  clients: Map<string, readonly [Client, Client]>;
}

/** New people, signed in. By hand, which takes a hundredth of the time. */
export async function createCrowd(ground: Ground): Promise<Crowd> {
  const run = ++ground.runs;
  const { rows } = await ground.db.query(
    `WITH crowd AS (
      INSERT INTO users (username, display_name, password_hash)
      SELECT lower(name) || '-' || $2, name, (SELECT password_hash FROM users WHERE username = 'first')
      FROM unnest($1::text[]) AS name RETURNING id, username, display_name
    ), begun AS (
      INSERT INTO sessions (user_id, expires_at) SELECT id, now() + interval '1 day' FROM crowd
      RETURNING id, user_id
    )
    SELECT crowd.*, begun.id AS session_id FROM crowd JOIN begun ON user_id = crowd.id ORDER BY username`,
    [names, String(run)],
  );
  const clients = new Map<string, readonly [Client, Client]>();
  for (const { id, username, display_name, session_id } of rows) {
    const token = await ground.tokens.sign(id, session_id);
    const at = (url: string) =>
      Object.assign(new Client(url), { token, user: { id, username, display_name } });
    clients.set(id, [at(ground.urls[0]), at(ground.urls[1])]);
  }
  const people = rows.map(({ id, username, display_name }) => {
    const created_at = timeToken(id);
    return { id, username, name: display_name, display_name, created_at, isErased: false };
  });
  return { people, clients };
}

export function readEnd(ground: Ground): Promise<{ epoch: string; newest: number }> {
  return readLogEnd(ground.pool, 0);
}

/** What the log got after a position. */
export async function readRows(ground: Ground, after: number): Promise<readonly LogEvent[]> {
  const { events } = await readEvents(ground.pool, after, { limit: 1_000, maxBytes: 64 * 1024 * 1024 });
  return events;
}

export function count({ tally }: Ground, what: string, more = 1): void {
  tally.set(what, (tally.get(what) ?? 0) + more);
}
