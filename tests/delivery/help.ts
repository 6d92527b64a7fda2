import assert from "node:assert/strict";
import pg from "pg";
import { Client, type Json, password } from "../support/client.ts";
import { openTestStream, type StreamKind, type StreamOptions, type TestStream } from "../support/streams.ts";

/** What a test of the contract's list is given: a server, and the kind of stream that it is about. */
export interface Behaviour {
  name: string;
  act(kind: StreamKind, t: { url: string; databaseUrl: string; another: Another }): Promise<void>;
}

type Another = (env?: NodeJS.ProcessEnv) => Promise<{ url: string }>;

const control = new Set(["ready", "reset", "closed", "ack", "error", "pong"]);

/** The durable events of what a stream received. */
export function eventsOf(stream: TestStream): Json[] {
  return stream.received.filter(({ type, cursor }) => cursor !== undefined && !control.has(type));
}

/** The contents of the new messages that a stream received. */
export function contentsOf(stream: TestStream): string[] {
  return ofType(stream, "message.new").map(({ message }) => message.content);
}

export function ofType(stream: TestStream, type: string): Json[] {
  return stream.received.filter((event) => event.type === type);
}

/** Opens a stream and waits until its replay is over. */
export async function openReady(
  kind: StreamKind,
  client: Client,
  options: StreamOptions = {},
): Promise<TestStream> {
  const stream = await openTestStream(kind, client, options);
  await heard(stream, "ready");
  return stream;
}

/** Waits until a stream received `count` events of a type. */
export function heard(stream: TestStream, type: string, count = 1): Promise<void> {
  return stream.until(() => ofType(stream, type).length >= count);
}

/** Waits until a stream received a new message with this content. */
export function heardMessage(stream: TestStream, content: string): Promise<void> {
  return stream.until((received) => received.some(({ message }) => message?.content === content));
}

/** Waits until a stream was ended by the server, with this code. */
export async function endedWith(stream: TestStream, code: number): Promise<void> {
  await stream.until(() => stream.ended() !== undefined);
  assert.equal(stream.ended(), code);
}

export function createDirect(client: Client, other: Client): Promise<Json> {
  return client.ok("POST", "/discussions", { kind: "direct", user_id: other.user.id });
}

export function createGroup(
  client: Client,
  name: string,
  members: readonly Client[],
  more: Record<string, unknown> = {},
): Promise<Json> {
  const member_ids = members.map((member) => member.user.id);
  return client.ok("POST", "/discussions", { kind: "group", name, member_ids, ...more });
}

/** The same session, talking to another instance. */
export function viaInstance(client: Client, url: string): Client {
  return Object.assign(new Client(url), {
    token: client.token,
    refreshToken: client.refreshToken,
    user: client.user,
  });
}

/** Another session of the same user. */
export async function login(url: string, username: string): Promise<Client> {
  const client = new Client(url);
  const body = await client.ok("POST", "/auth/login", { username, password });
  return Object.assign(client, {
    token: body.access_token,
    refreshToken: body.refresh_token,
    user: body.user,
  });
}

/** Runs statements by hand, as an import or psql would. */
export async function withSql<T>(databaseUrl: string, act: (db: pg.Client) => Promise<T>): Promise<T> {
  const db = new pg.Client({ connectionString: databaseUrl });
  await db.connect();
  try {
    return await act(db);
  } finally {
    await db.end();
  }
}

/** A discussion as events tell it: without what depends on the reader. */
export function withoutReader(discussion: Json): Json {
  const { title, unread_count, my_role, muted_until, last_message, cursor, ...rest } = discussion;
  for (const field of [title, unread_count, my_role, muted_until, last_message, cursor])
    assert.notEqual(field, undefined, "a discussion by REST has all fields of its reader");
  return rest;
}

/** What random tests choose by; printed, so that a failure can be tried again. */
export const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);

/** Random numbers from 0 to 1, the same for the same seed (mulberry32). */
export function createRandom(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Something that grows, and on which others wait. */
export class Progress {
  #count = 0;
  #waiting = new Set<() => void>();

  get count(): number {
    return this.#count;
  }

  add(more: number): void {
    this.#count += more;
    for (const check of this.#waiting) check();
  }

  /** Resolves once the condition holds; it is looked at after each step. */
  until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((resolve) => {
      const check = () => {
        if (!holds()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
    });
  }
}
