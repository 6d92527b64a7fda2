import pg from "pg";
import { createTokens } from "../../server/commands/tokens.ts";
import { Client, type Json } from "./client.ts";
import { query } from "./postgres.ts";
import { eventually, testSecret } from "./server.ts";
import type { TestStream } from "./streams.ts";

/** What a listener of the test's own hears on the channel of signals. */
export interface Overheard {
  /** One for each NOTIFY, with when it came (as of performance.now()). */
  readonly payloads: { at: number; lines: string[] }[];
  lines(): string[];
  /** Resolves when all that was NOTIFYed before has come. */
  settled(): Promise<void>;
}

/** Runs a test that overhears the signals of a database. */
export async function overhear(databaseUrl: string, act: (heard: Overheard) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  const payloads: { at: number; lines: string[] }[] = [];
  let marks = 0;
  client.on("error", () => {});
  client.on("notification", ({ channel, payload = "" }) => {
    if (channel === "signals") payloads.push({ at: performance.now(), lines: payload.split("\n") });
    else marks++;
  });
  await client.connect();
  try {
    await client.query("LISTEN signals");
    await client.query("LISTEN marks");
    const settled = async () => {
      const before = marks;
      await client.query("NOTIFY marks");
      await eventually(() => {
        if (marks === before) throw new Error("the mark has not come");
      });
    };
    await act({ payloads, lines: () => payloads.flatMap(({ lines }) => lines), settled });
  } finally {
    await client.end();
  }
}

/** The most NOTIFYs that came within any second. */
export function mostInASecond({ payloads }: Overheard): number {
  const counts = payloads.map(({ at }) => payloads.filter((p) => p.at >= at && p.at < at + 1_000).length);
  return Math.max(0, ...counts);
}

export function notify(databaseUrl: string, payload: string): Promise<unknown> {
  return query(databaseUrl, "SELECT pg_notify('signals', $1)", [payload]);
}

/** The presences, of all people or one, that a stream was told of, in order: "online" or "offline". */
export function statuses(stream: TestStream, who?: Client): string[] {
  return presences(stream, who).map(({ status }) => status);
}

export function presences(stream: TestStream, who?: Client): Json[] {
  return stream.received.filter(
    ({ type, user_id }) => type === "presence" && (!who || user_id === who.user.id),
  );
}

/** Many people without passwords, straight into the database, each with a session. */
export async function enrol(url: string, databaseUrl: string, names: string[]): Promise<Client[]> {
  const tokens = createTokens(testSecret);
  const rows = await query(
    databaseUrl,
    `WITH added AS (
       INSERT INTO users (username, display_name, password_hash)
       SELECT name, name, '-' FROM unnest($1::text[]) AS name RETURNING id, username
     ), begun AS (
       INSERT INTO sessions (user_id, expires_at) SELECT id, now() + interval '1 day' FROM added
       RETURNING id, user_id
     )
     SELECT a.id AS user_id, a.username, b.id AS session_id
     FROM added AS a JOIN begun AS b ON b.user_id = a.id ORDER BY a.username`,
    [names],
  );
  return Promise.all(
    rows.map(async ({ user_id, username, session_id }) => {
      const client = new Client(url);
      client.user = { id: user_id, username };
      client.token = await tokens.sign(user_id, session_id);
      return client;
    }),
  );
}
