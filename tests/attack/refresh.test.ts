import assert from "node:assert/strict";
import { test } from "uvu";
import { login, openReady, viaInstance } from "../delivery/help.ts";
import { type Answer, assertProblem, Client, type Json, register } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";
import type { StreamKind } from "../support/streams.ts";
import { claimsOf } from "./forging.ts";

// A refresh token is good once. One that comes again is in two hands, and nobody can tell whose are the right
// ones: its session ends, with all that hangs on it, everywhere.

const env = { RATE_LIMITS: "off" };
const kinds: StreamKind[] = ["sse", "ws"];

test("of fifty who refresh by one token at once one wins, and the session is over for all of them", () =>
  withServer(async (t) => {
    const urls = [t.url, (await t.another()).url];
    await register(t.url, "ann");
    for (let round = 0; round < 3; round++) {
      const ann = await login(t.url, "ann");
      const far = viaInstance(ann, urls[1] ?? "");
      const streams = await Promise.all(
        [ann, far].flatMap((client) => kinds.map((kind) => openReady(kind, client))),
      );
      const { ticket } = await ann.ok("POST", "/auth/tickets");
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, n) => refresh(urls[n % 2] ?? "", ann.refreshToken)),
      );
      const winners = answers.filter(({ status }) => status === 200);
      assert.equal(winners.length, 1, `${answers.map(({ status }) => status)}`);
      for (const answer of answers.filter((answer) => !winners.includes(answer)))
        assertProblem(answer, 401, "refresh_token_reused");
      for (const stream of streams) await eventually(() => assert.equal(stream.ended(), 4502));
      await assertOver(t, ann, winners[0]?.body);
      const stream = await new Client(t.url).call("GET", `/events?ticket=${ticket}`);
      assertProblem(stream, 401, "unauthenticated");
    }
  }, env));

test("the thief who comes second ends the session, and so does the owner who comes second", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const other = await login(t.url, "ann");
    for (const order of ["thief first", "owner first"]) {
      const owner = await login(t.url, "ann");
      const stolen = owner.refreshToken;
      const first = await refresh(t.url, stolen);
      assert.equal(first.status, 200, order);
      // Whoever came first may have gone on; that does not save the session.
      const next = await refresh(t.url, first.body.refresh_token);
      assert.equal(next.status, 200);
      assertProblem(await refresh(t.url, stolen), 401, "refresh_token_reused");
      await assertOver(t, owner, first.body);
      await assertOver(t, owner, next.body);
    }
    for (const client of [ann, other]) assert.equal((await client.call("GET", "/users/me")).status, 200);
    assert.equal((await refresh(t.url, other.refreshToken)).status, 200, "other sessions go on");
  }, env));

test("a used token is recognised also by what follows it: each of a chain ends it when it comes again", () =>
  withServer(async (t) => {
    await register(t.url, "ann");
    for (let place = 0; place < 4; place++) {
      const ann = await login(t.url, "ann");
      const chain = [ann.refreshToken];
      for (let n = 0; n < 4; n++) {
        const { body, status } = await refresh(t.url, chain.at(-1) ?? "");
        assert.equal(status, 200);
        chain.push(body.refresh_token);
      }
      assert.equal(new Set(chain).size, chain.length);
      assertProblem(await refresh(t.url, chain[place] ?? ""), 401, "refresh_token_reused");
      const newest = await refresh(t.url, chain.at(-1) ?? "");
      assertProblem(newest, 401, "session_revoked");
      assertProblem(await refresh(t.url, chain.at(-1) ?? ""), 401, "refresh_token_reused");
    }
  }, env));

test("a refresh that meets the end of its session gives nothing that lives", () =>
  withServer(async (t) => {
    const keeper = await register(t.url, "ann");
    const far = (await t.another()).url;
    for (let round = 0; round < 15; round++) {
      const ann = await login(t.url, "ann");
      const { sid } = claimsOf(ann.token);
      const [answer] = await Promise.all([
        refresh(far, ann.refreshToken),
        keeper.ok("DELETE", `/auth/sessions/${sid}`),
      ]);
      assert.ok([200, 401].includes(answer.status), `${answer.status}`);
      const tokens = answer.status === 200 ? answer.body : null;
      await assertOver(t, ann, tokens);
      assert.equal((await query(t.databaseUrl, liveSql, [sid])).length, 0);
    }
  }, env));

test("a refresh token outlives its session by nothing: neither by its own time nor by the session's", () =>
  withServer(async (t) => {
    await register(t.url, "ann");
    const sid = (client: Client) => [claimsOf(client.token).sid];
    const late = await login(t.url, "ann");
    await query(t.databaseUrl, "UPDATE sessions SET expires_at = now() WHERE id = $1", sid(late));
    assertProblem(await refresh(t.url, late.refreshToken), 401, "session_revoked");
    assertProblem(await late.call("GET", "/users/me"), 401, "session_revoked");
    const old = await login(t.url, "ann");
    await query(
      t.databaseUrl,
      "UPDATE refresh_tokens SET expires_at = now() WHERE session_id = $1",
      sid(old),
    );
    assertProblem(await refresh(t.url, old.refreshToken), 401, "session_revoked");
    const renewed = await query(t.databaseUrl, liveSql, sid(late));
    assert.equal(renewed.length, 0, "what was refused renews nothing");
  }, env));

test("a refresh moves the end of its session and of no other", () =>
  withServer(async (t) => {
    await register(t.url, "ann");
    const [one, other] = [await login(t.url, "ann"), await login(t.url, "ann")];
    await query(t.databaseUrl, "UPDATE sessions SET expires_at = now() + interval '1 hour'");
    assert.equal((await refresh(t.url, one.refreshToken)).status, 200);
    const soon = await query(
      t.databaseUrl,
      "SELECT id FROM sessions WHERE expires_at < now() + interval '1 day'",
    );
    const ids = soon.map(({ id }) => id);
    assert.ok(ids.includes(claimsOf(other.token).sid));
    assert.ok(!ids.includes(claimsOf(one.token).sid));
  }, env));

test("neither a refresh token nor a cookie can be read in the database", () =>
  withServer(async (t) => {
    const ann = new Client(t.url);
    const body = { username: "ann", password: "correct horse battery", cookie: true };
    const answer = await ann.call("POST", "/auth/register", body);
    const cookie = /parley_session=([^;]+)/.exec(answer.headers.get("set-cookie") ?? "")?.[1] ?? "";
    const secrets = [answer.body.refresh_token, cookie];
    const rows = await query(
      t.databaseUrl,
      `SELECT s::text AS session, r::text AS token
       FROM sessions AS s JOIN refresh_tokens AS r ON r.session_id = s.id`,
    );
    assert.equal(rows.length, 1);
    for (const secret of secrets) {
      assert.equal(Buffer.from(secret, "base64url").length, 32);
      for (const form of [secret, Buffer.from(secret, "base64url").toString("hex")])
        assert.ok(!JSON.stringify(rows).includes(form));
    }
    const hashes = await query(t.databaseUrl, "SELECT token_hash FROM refresh_tokens");
    for (const form of ["base64url", "hex"] as const)
      assertProblem(
        await refresh(t.url, Buffer.from(hashes[0].token_hash).toString(form)),
        401,
        "invalid_refresh_token",
      );
  }, env));

test.run();

const liveSql = "SELECT FROM sessions WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()";

function refresh(url: string, token: string): Promise<Answer> {
  return new Client(url).call("POST", "/auth/refresh", { refresh_token: token });
}

/** Nothing works any more that the session ever gave out, or that a refresh of it did. */
async function assertOver(t: TestServer, client: Client, tokens: Json): Promise<void> {
  for (const token of [client.token, tokens?.access_token]) {
    if (token === undefined) continue;
    const holder = Object.assign(new Client(t.url), { token });
    assertProblem(await holder.call("GET", "/users/me"), 401, "session_revoked");
    assertProblem(await holder.call("POST", "/auth/tickets"), 401, "session_revoked");
    assertProblem(await holder.call("GET", "/events"), 401, "session_revoked");
  }
  for (const token of [client.refreshToken, tokens?.refresh_token]) {
    if (token === undefined) continue;
    assert.equal((await refresh(t.url, token)).status, 401);
  }
}
