import assert from "node:assert/strict";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { createGroup, login, viaInstance } from "../delivery/help.ts";
import { openRaw, type RawStream, streamPath } from "../delivery/raw.ts";
import { assertProblem, type Client, password, register } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";
import type { StreamKind } from "../support/streams.ts";
import { claimsOf } from "./forging.ts";

// Tickets stand in URLs, and so in logs: each opens one stream, once, soon, with its owner's rights.

const env = { RATE_LIMITS: "off" };
const kinds: StreamKind[] = ["sse", "ws"];
const attempts = 50;

for (const [one, other] of [
  ["sse", "ws"],
  ["ws", "sse"],
] as const) {
  test(`${one}: a ticket that was used opens nothing more, on no instance, by no kind of stream`, () =>
    withServer(async (t) => {
      const ann = await register(t.url, "ann");
      const second = await t.another();
      const ticket = await take(ann);
      const stream = await open(t.url, one, ticket);
      assertOpen(stream);
      for (const url of [t.url, second.url])
        for (const kind of [one, other]) refused(await open(url, kind, ticket));
      stream.cut();
      await eventually(async () => refused(await open(t.url, other, ticket)));
      const rows = await query(t.databaseUrl, "SELECT FROM tickets");
      assert.equal(rows.length, 0);
    }, env));
}

test(`of ${attempts} who try one ticket at once exactly one gets in, over all instances and both kinds`, () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const urls = [t.url, (await t.another()).url];
    for (let round = 0; round < 4; round++) {
      const ticket = await take(ann);
      const answers = await Promise.all(
        Array.from({ length: attempts }, (_, n) =>
          open(urls[n % 2] ?? t.url, kinds[(n >> 1) % 2] ?? "sse", ticket),
        ),
      );
      const opened = answers.filter(({ status }) => status < 300);
      assert.equal(opened.length, 1, `${answers.map(({ status }) => status)}`);
      for (const answer of answers.filter((answer) => !opened.includes(answer))) refused(answer);
      for (const { cut } of opened) cut();
    }
  }, env));

test("a ticket opens nothing once its time is over", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    for (const kind of kinds) {
      const late = await take(ann);
      const { rows } = await age(t, `${limits.ticketSeconds} seconds`);
      assert.equal(rows, 1);
      refused(await open(t.url, kind, late));
      const timely = await take(ann);
      await age(t, `${limits.ticketSeconds - 10} seconds`);
      const stream = await open(t.url, kind, timely);
      assertOpen(stream);
      stream.cut();
    }
  }, env));

const ends: Record<string, (ann: Client, phone: Client, t: TestServer) => Promise<unknown>> = {
  "logging out": (_ann, phone) => phone.ok("POST", "/auth/logout"),
  "a revocation": (ann, phone) => ann.ok("DELETE", `/auth/sessions/${claimsOf(phone.token).sid}`),
  "a new password": (ann) =>
    ann.ok("PATCH", "/users/me", { password: "another password", current_password: password }),
  "a refresh token that came twice": async (_ann, phone) => {
    for (const status of [200, 401]) {
      const body = { refresh_token: phone.refreshToken };
      assert.equal((await phone.call("POST", "/auth/refresh", body)).status, status);
    }
  },
  "the end of its time": (_ann, phone, t) =>
    query(t.databaseUrl, "UPDATE sessions SET expires_at = now() WHERE id = $1", [claimsOf(phone.token).sid]),
  erasing: (ann) => ann.ok("DELETE", "/users/me", { password }),
};

for (const [what, end] of Object.entries(ends)) {
  test(`a ticket ends with its session: by ${what}`, () =>
    withServer(async (t) => {
      const ann = await register(t.url, "ann");
      const phone = await login(t.url, "ann");
      const tickets = [await take(phone), await take(phone)];
      await end(ann, phone, t);
      for (const [index, kind] of kinds.entries()) refused(await open(t.url, kind, tickets[index] ?? ""));
    }, env));
}

test("a ticket that meets the end of its session opens nothing that stays open", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const far = (await t.another()).url;
    for (let round = 0; round < 12; round++) {
      const phone = await login(t.url, "ann");
      const tickets = await Promise.all([take(phone), take(phone)]);
      const [first, second] = await Promise.all([
        open(far, "sse", tickets[0] ?? ""),
        open(far, "ws", tickets[1] ?? ""),
        ann.ok("DELETE", `/auth/sessions/${claimsOf(phone.token).sid}`),
      ]);
      for (const stream of [first, second]) if (stream.status >= 300) assert.equal(stream.status, 401);
      for (const stream of [first, second]) if (stream.status < 300) await stream.until(stream.hasEnded);
    }
  }, env));

test("with a ticket one is its owner and nobody else, and another credential does not add to it", () =>
  withServer(async (t) => {
    const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
    const group = await createGroup(ann, "G", []);
    for (const kind of kinds) {
      const path = streamPath(kind, group.id);
      assertProblem(await open(t.url, kind, await take(bob), path), 404, "discussion_not_found");
      // The Bearer token comes first; the ticket is not even used up.
      const spare = await take(ann);
      const asBob = { authorization: `Bearer ${bob.token}` };
      assertProblem(await open(t.url, kind, spare, path, asBob), 404, "discussion_not_found");
      const stream = await open(t.url, kind, spare, path);
      assertOpen(stream);
      stream.cut();
      // A ticket comes before a cookie, and a bad one is not made up for by a good cookie.
      const cookie = await cookieOf(ann);
      const withCookie = { cookie, origin: t.url };
      refused(await open(t.url, kind, "nonsense", path, withCookie));
      assertProblem(await open(t.url, kind, await take(bob), path, withCookie), 404, "discussion_not_found");
    }
  }, env));

test("a ticket hears what its owner hears, of one discussion or all, and ends as those streams do", () =>
  withServer(async (t) => {
    const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
    const far = (await t.another()).url;
    const group = await createGroup(ann, "G", [bob]);
    const streams: RawStream[] = [];
    for (const kind of kinds) {
      streams.push(await open(far, kind, await take(viaInstance(bob, far)), streamPath(kind)));
      streams.push(await open(far, kind, await take(bob), streamPath(kind, group.id)));
    }
    for (const stream of streams) await stream.until((text) => text.includes('"type":"ready"'));
    await ann.send(group.id, "for both");
    for (const stream of streams) await stream.until((text) => text.includes("for both"));
    await bob.ok("POST", "/auth/logout");
    for (const stream of streams) await stream.until(stream.hasEnded);
  }, env));

test("a session keeps a bounded number of tickets: the oldest go", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const first = await take(ann);
    for (let n = 1; n < limits.ticketsPerSession; n++) await take(ann);
    const last = await take(ann);
    assert.equal((await query(t.databaseUrl, "SELECT FROM tickets")).length, limits.ticketsPerSession);
    refused(await open(t.url, "sse", first));
    const stream = await open(t.url, "sse", last);
    assertOpen(stream);
    stream.cut();
  }, env));

test("a ticket cannot be read in the database, nor guessed from another", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const tickets = await Promise.all(Array.from({ length: 10 }, () => take(ann)));
    const rows = await query(t.databaseUrl, "SELECT ticket_hash FROM tickets");
    for (const { ticket_hash } of rows) {
      for (const form of ["base64url", "hex", "base64"] as const)
        refused(await open(t.url, "sse", Buffer.from(ticket_hash).toString(form)));
      for (const ticket of tickets) assert.ok(!Buffer.from(ticket, "base64url").equals(ticket_hash));
    }
    for (const ticket of tickets) assert.equal(Buffer.from(ticket, "base64url").length, 32);
    const prefixes = new Set(tickets.map((ticket) => ticket.slice(0, 6)));
    assert.equal(prefixes.size, tickets.length);
    const [one = ""] = tickets;
    for (const other of [one.slice(0, -1), `${one}A`, one.toLowerCase(), ` ${one}`, `${one} `, `${one}\0`])
      refused(await open(t.url, "ws", other));
  }, env));

test.run();

async function take(client: Client): Promise<string> {
  return (await client.ok("POST", "/auth/tickets")).ticket;
}

function open(
  url: string,
  kind: StreamKind,
  ticket: string,
  path: string = streamPath(kind),
  headers: Record<string, string> = {},
): Promise<RawStream> {
  return openRaw(kind, url, `${path}?ticket=${encodeURIComponent(ticket)}`, { headers });
}

function assertOpen({ status, body }: RawStream): void {
  assert.ok(status === 200 || status === 101, `${status} ${JSON.stringify(body)}`);
}

function refused(answer: RawStream): void {
  answer.cut();
  assertProblem(answer, 401, "unauthenticated");
}

/** Makes all tickets older than they are. */
async function age(t: TestServer, by: string): Promise<{ rows: number }> {
  const rows = await query(
    t.databaseUrl,
    "UPDATE tickets SET expires_at = expires_at - $1::interval RETURNING 1",
    [by],
  );
  return { rows: rows.length };
}

async function cookieOf({ url, user }: Client): Promise<string> {
  const response = await fetch(`${url}/api/v1/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: user.username, password, cookie: true }),
  });
  return response.headers.get("set-cookie")?.split(";")[0] ?? "";
}
