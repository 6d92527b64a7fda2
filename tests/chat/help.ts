import assert from "node:assert/strict";
import { eventsOf, heardMessage, openReady, viaInstance, withSql } from "../delivery/help.ts";
import { type Answer, assertRefused, type Client, type Json, register } from "../support/client.ts";
import type { TestServer } from "../support/server.ts";
import type { StreamKind, TestStream } from "../support/streams.ts";

export const env = { RATE_LIMITS: "off" };
export const unknownId = "0198c0de-0000-7000-8000-000000000000";
export const kinds: StreamKind[] = ["sse", "ws"];
/** RFC 3339, UTC, with milliseconds. */
export const timestamp = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Registers people whose display names are their usernames with a capital. */
export async function people<Names extends string[]>(url: string, ...names: Names) {
  const title = (name: string) => name.slice(0, 1).toUpperCase() + name.slice(1);
  const crowd = await Promise.all(names.map((name) => register(url, name, { display_name: title(name) })));
  return crowd as { [Index in keyof Names]: Client };
}

/** A group: ann owns it, bob is admin, carl a member; eve is nobody there. */
export async function createRoom(url: string, visibility: "public" | "private" = "private") {
  const [ann, bob, carl, eve] = await people(url, "ann", "bob", "carl", "eve");
  const member_ids = [bob.user.id, carl.user.id];
  const body = { kind: "group", name: "Room", member_ids, visibility };
  const { id, cursor } = await ann.ok("POST", "/discussions", body);
  const path = `/discussions/${id}`;
  await ann.ok("PATCH", `${path}/members/${bob.user.id}`, { role: "admin" });
  return { ann, bob, carl, eve, id: id as string, path, cursor: cursor as string };
}

/** Ann, bob and their direct discussion. */
export async function createPair(url: string) {
  const [ann, bob] = await people(url, "ann", "bob");
  const { id, cursor } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
  return { ann, bob, id: id as string, path: `/discussions/${id}`, cursor: cursor as string };
}

/** All messages of a discussion of at most 200. */
export async function history(client: Client, id: string): Promise<Json[]> {
  const { items, has_before } = await client.ok("GET", `/discussions/${id}/messages?limit=200`);
  assert.equal(has_before, false);
  return items;
}

export async function messageAt(client: Client, id: string, seq: number): Promise<Json> {
  return (await history(client, id)).find((message) => message.seq === seq);
}

/** What came of a command: the code of its refusal, or null, and the answer. */
export interface Outcome {
  code: string | null;
  answer: Json;
}

/** The commands that are both a route and a frame. */
export interface Way {
  send(id: string, content: unknown, more?: object): Promise<Outcome>;
  edit(id: string, seq: unknown, content: unknown, more?: object): Promise<Outcome>;
  remove(id: string, seq: unknown): Promise<Outcome>;
  react(id: string, seq: unknown, emoji: string): Promise<Outcome>;
  unreact(id: string, seq: unknown, emoji: string): Promise<Outcome>;
  read(id: string, seq: unknown): Promise<Outcome>;
}

export function byRest(client: Client): Way {
  const act = async (method: string, path: string, body?: unknown): Promise<Outcome> => {
    const answer = await client.call(method, `/discussions/${path}`, body);
    if (answer.status < 300) return { code: null, answer: answer.body };
    assertRefused(answer, clientErrors);
    return { code: answer.body.code, answer: answer.body };
  };
  const reaction = (id: string, seq: unknown, emoji: string) =>
    `${id}/messages/${seq}/reactions/${encodeURIComponent(emoji)}`;
  return {
    send: (id, content, more = {}) => act("POST", `${id}/messages`, { content, ...more }),
    edit: (id, seq, content, more = {}) => act("PATCH", `${id}/messages/${seq}`, { content, ...more }),
    remove: (id, seq) => act("DELETE", `${id}/messages/${seq}`),
    react: (id, seq, emoji) => act("PUT", reaction(id, seq, emoji)),
    unreact: (id, seq, emoji) => act("DELETE", reaction(id, seq, emoji)),
    read: (id, seq) => act("PUT", `${id}/read`, { seq }),
  };
}

/** The same by the frames of a socket. */
export function bySocket(socket: TestStream): Way {
  const act = async (frame: object): Promise<Outcome> => {
    const answer = await ask(socket, frame);
    if (answer.type === "ack") return { code: null, answer };
    assert.equal(answer.type, "error", JSON.stringify(answer));
    assert.equal(typeof answer.detail, "string");
    assert.doesNotMatch(answer.code, /internal/);
    return { code: answer.code, answer };
  };
  return {
    send: (discussion_id, content, more = {}) =>
      act({ type: "message.send", discussion_id, content, ...more }),
    edit: (discussion_id, seq, content, more = {}) =>
      act({ type: "message.edit", discussion_id, seq, content, ...more }),
    remove: (discussion_id, seq) => act({ type: "message.delete", discussion_id, seq }),
    react: (discussion_id, seq, emoji) => act({ type: "reaction.add", discussion_id, seq, emoji }),
    unreact: (discussion_id, seq, emoji) => act({ type: "reaction.remove", discussion_id, seq, emoji }),
    read: (discussion_id, seq) => act({ type: "read", discussion_id, seq }),
  };
}

/** Runs an act twice: by REST and by a socket of all of one's discussions. */
export async function byBoth(client: Client, act: (way: Way, name: string) => Promise<void>): Promise<void> {
  await act(byRest(client), "rest");
  const socket = await openReady("ws", client);
  await act(bySocket(socket), "frame");
  assert.equal(socket.ended(), undefined, "the socket stays open");
  socket.cut();
}

export function assertDone({ code, answer }: Outcome, hint = ""): Json {
  assert.equal(code, null, `${hint} ${JSON.stringify(answer)}`);
  return answer;
}

export function assertCode({ code, answer }: Outcome, expected: string | RegExp, hint = ""): void {
  const text = `${hint} ${JSON.stringify(answer)}`;
  if (typeof expected === "string") assert.equal(code, expected, text);
  else assert.match(code ?? "carried out", expected, text);
}

let refs = 0;

/** Sends a frame with a ref of its own and gives the answer that has it. */
export async function ask(socket: TestStream, frame: object): Promise<Json> {
  const ref = `ref ${++refs}`;
  socket.send({ ...frame, ref });
  const find = () => socket.received.find((answer) => answer.ref === ref);
  await socket.until(() => find() || socket.ended() !== undefined);
  assert.ok(find(), `no answer to ${JSON.stringify(frame)}: closed with ${socket.ended()}`);
  return find();
}

/** What may answer a mistake of the caller, where the contract names no status. */
export const clientErrors = [400, 401, 403, 404, 405, 409, 410, 413, 415, 422];

/** Sends one more message and waits until the streams have it: so they have all that came before. */
export async function settle(by: Client, id: string, ...streams: TestStream[]): Promise<Json> {
  const message = await by.send(id, `mark ${++refs}`);
  for (const stream of streams) await heardMessage(stream, message.content);
  return message;
}

export interface Replay {
  name: string;
  events: Json[];
}

/**
 * What hears who comes back with an old cursor: on either kind of stream, on an instance that has kept the
 * newest events in memory, and on one that started later and has to read the table.
 */
export async function replays(
  t: TestServer,
  client: Client,
  since: string,
  discussionId?: string,
): Promise<Replay[]> {
  const later = await t.another();
  const places = { memory: t.url, table: later.url };
  const result: Replay[] = [];
  for (const [place, url] of Object.entries(places))
    for (const kind of kinds) {
      const stream = await openReady(kind, viaInstance(client, url), { since, discussionId });
      assert.ok(!stream.received.some(({ type }) => type === "reset"));
      result.push({ name: `${kind}, from the ${place}`, events: eventsOf(stream) });
      stream.cut();
    }
  return result;
}

/** The tables and views that have a text somewhere in a row, written out or as bytes. */
export function findInDatabase(databaseUrl: string, text: string): Promise<string[]> {
  return withSql(databaseUrl, async (db) => {
    const { rows } = await db.query(
      `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
       where table_schema not in ('pg_catalog', 'information_schema') order by 1`,
    );
    const found: string[] = [];
    for (const { name } of rows) {
      const { rows: hits } = await db.query(
        `select count(*)::int as count from ${name} as line where position(lower($1) in lower(line::text)) > 0
         or position(encode(convert_to($1, 'UTF8'), 'hex') in line::text) > 0`,
        [text],
      );
      if (hits[0].count > 0) found.push(name.replace(/^public\./, ""));
    }
    return found;
  });
}

/** An answer that need not be JSON. */
export async function fetchText(
  client: Client,
  method: string,
  path: string,
  body?: string | Uint8Array<ArrayBuffer> | FormData,
  headers: Record<string, string> = {},
) {
  const response = await fetch(`${client.url}/api/v1${path}`, {
    method,
    headers: { ...(client.token && { authorization: `Bearer ${client.token}` }), ...headers },
    ...(body !== undefined && { body }),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

export async function upload(client: Client, name: string, text: string): Promise<Answer> {
  const form = new FormData();
  form.set("file", new Blob([text], { type: "text/plain" }), name);
  const answer = await fetchText(client, "POST", "/attachments", form);
  return { ...answer, body: answer.text === "" ? null : JSON.parse(answer.text) };
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
}

export function assertFields(value: Json, ...fields: string[]): void {
  assert.deepEqual(Object.keys(value).sort(), fields.sort());
}
