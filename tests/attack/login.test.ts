// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { createPasswords } from "../../server/commands/passwords.ts";
import { login, withSql } from "../delivery/help.ts";
import { type Answer, assertProblem, Client, password, register } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { createRandom } from "../support/random.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";

// Whoever tries names must not learn which of them exist: neither by what is answered, nor by how long it
// takes, nor by what it costs.

const wrong = "wrong password";

/** How many times as long as the shortest the longest may take, by their medians; without the hash: ten. */
const widest = 3;
/** So long, and on a slow machine so often, each name is tried. */
const sample = { ms: 10_000, rounds: 15 };

/** Names of people that there are, and of those that there are not. */
const names: Readonly<Record<string, string>> = {
  "a username": "ann",
  "a username in capitals": "ANN",
  "an e-mail address": "ann@example.org",
  "nobody's username": "nobody",
  "nobody's e-mail address": "nobody@example.org",
  "an erased user's name": "erased",
  "an erased user's e-mail address": "erased@example.org",
  "what can be no name": "' OR true --",
};

test("no name is told apart from another by the time that a wrong password takes", () =>
  withPeople(async (t) => {
    const random = createRandom();
    const times = new Map(Object.keys(names).map((what) => [what, [] as number[]]));
    // All of them in each round, in another order: what slows the machine down meets all alike.
    const end = performance.now() + sample.ms;
    for (let round = 0; round < sample.rounds || performance.now() < end; round++) {
      const order = Object.keys(names).sort(() => random.between(-1, 1));
      for (const what of order) {
        const started = performance.now();
        const answer = await attempt(t.url, names[what] ?? "", wrong);
        times.get(what)?.push(performance.now() - started);
        assertProblem(answer, 401, "invalid_credentials");
      }
    }
    const medians = Object.fromEntries([...times].map(([what, all]) => [what, median(all)]));
    const all = Object.values(medians);
    console.log(`${times.get("a username")?.length} rounds`);
    assert.ok(Math.max(...all) <= widest * Math.min(...all), JSON.stringify(medians));
  }));

test("no name is told apart from another by the answer to a wrong password", () =>
  withPeople(async (t) => {
    const seen = new Set<string>();
    for (const name of Object.values(names)) {
      const { body, headers, status } = await attempt(t.url, name, wrong);
      const { request_id: _, ...problem } = body;
      const told = [...headers].filter(([header]) => !["date", "x-request-id"].includes(header));
      seen.add(JSON.stringify([status, problem, told]));
    }
    assert.equal(seen.size, 1, [...seen].join("\n"));
  }));

test("a password is hashed whether or not there is somebody whose it could be", async () => {
  const passwords = await createPasswords(1);
  const known = await passwords.hash(password);
  const time = async (hash: string | null) => {
    const started = process.cpuUsage();
    assert.equal(await passwords.verify(hash, wrong), false);
    const { user, system } = process.cpuUsage(started);
    return user + system;
  };
  const costs = { known: [] as number[], unknown: [] as number[] };
  for (let round = 0; round < 15; round++) {
    costs.known.push(await time(known));
    costs.unknown.push(await time(null));
  }
  // Of processor time, so that it does not matter what else the machine does.
  const [one, other] = [median(costs.known), median(costs.unknown)];
  assert.ok(Math.max(one, other) <= widest * Math.min(one, other), `${one} µs, ${other} µs`);
  assert.equal(await passwords.verify(null, "the password of nobody"), false, "not even by the right one");
  assert.equal(await passwords.verify(known, password), true);
});

test("wrong passwords leave the same behind whether or not the name exists", () =>
  withServer(async (t) => {
    await register(t.url, "ann");
    const counts: number[] = [];
    for (const name of ["ann", "nobody"]) {
      await query(t.databaseUrl, "DELETE FROM rate_limits");
      for (let n = 0; n < 3; n++)
        assertProblem(await attempt(t.url, name, wrong), 401, "invalid_credentials");
      counts.push((await query(t.databaseUrl, "SELECT FROM rate_limits")).length);
    }
    assert.equal(counts[0], counts[1]);
    assert.ok((counts[0] ?? 0) > 0);
  }));

test("too many wrong passwords are refused alike, and then also the right one", () =>
  withServer(async (t) => {
    await register(t.url, "ann");
    const outcomes: string[] = [];
    for (const name of ["ann", "nobody"]) {
      const statuses: (string | number)[] = [];
      for (let n = 0; n < 12; n++) {
        const { status, body } = await attempt(t.url, name, wrong);
        statuses.push(status, body.code);
      }
      statuses.push((await attempt(t.url, name, password)).status);
      outcomes.push(statuses.join(" "));
    }
    assert.equal(outcomes[0], outcomes[1]);
    assert.match(outcomes[0] ?? "", /401 invalid_credentials .* 429 rate_limited 429$/);
  }));

test("no session begins for who was erased, whatever password is given", () =>
  withPeople(async (t) => {
    for (const name of ["erased", "erased@example.org"]) {
      for (const given of [password, wrong, "\u0001", "the password of nobody"])
        assertProblem(await attempt(t.url, name, given), 401, "invalid_credentials");
    }
    const [row] = await query(t.databaseUrl, "SELECT username FROM users WHERE erased_at IS NOT NULL");
    assertProblem(await attempt(t.url, row.username, password), 401, "invalid_credentials");
    // A hash that is empty is no hash that anything matches.
    assertProblem(await attempt(t.url, row.username, " "), 401, "invalid_credentials");
  }));

test("a login that meets the erasing of its account begins no session that lives", () =>
  withServer(
    async (t) => {
      for (let round = 0; round < 6; round++) {
        const ann = await register(t.url, `ann-${round}`);
        const [, ...answers] = await Promise.all([
          ann.ok("DELETE", "/users/me", { password }),
          ...[1, 2, 3].map(() => attempt(t.url, `ann-${round}`, password)),
        ]);
        for (const { status, body } of answers) {
          assert.ok([200, 401].includes(status), `${status}`);
          if (status !== 200) continue;
          const one = Object.assign(new Client(t.url), { token: body.access_token });
          await eventually(async () =>
            assertProblem(await one.call("GET", "/users/me"), 401, "session_revoked"),
          );
        }
      }
      await withSql(t.databaseUrl, async (db) => {
        const { rows } = await db.query(
          `SELECT FROM sessions JOIN users AS u ON u.id = user_id
           WHERE u.erased_at IS NOT NULL AND revoked_at IS NULL`,
        );
        assert.equal(rows.length, 0);
      });
    },
    { RATE_LIMITS: "off" },
  ));

test("nobody learns who has an account by registering, but for the name and the address themselves", () =>
  withPeople(async (t) => {
    const ask = (body: object) => new Client(t.url).call("POST", "/auth/register", { password, ...body });
    assertProblem(await ask({ username: "ANN" }), 409, "username_taken");
    const taken = await ask({ username: "other", email: "ANN@example.org" });
    assertProblem(taken, 409, "email_taken");
    for (const secret of ["ann@example.org", "display_name", "created_at"])
      assert.ok(!JSON.stringify(taken.body).includes(secret), "whose it is is not told");
    assert.equal((await ask({ username: "erased", email: "erased@example.org" })).status, 201);
    const heir = await login(t.url, "erased");
    const { items } = await heir.ok("GET", "/auth/sessions");
    assert.equal(items.length, 2, "who takes the name of somebody erased inherits no session");
  }));

test.run();

/** Ann, and somebody who was erased. */
function withPeople(act: (t: TestServer) => Promise<void>): Promise<void> {
  return withServer(
    async (t) => {
      await register(t.url, "ann", { email: "ann@example.org" });
      const erased = await register(t.url, "erased", { email: "erased@example.org" });
      await erased.ok("DELETE", "/users/me", { password });
      await act(t);
    },
    { RATE_LIMITS: "off" },
  );
}

function attempt(url: string, username: string, given: string): Promise<Answer> {
  return new Client(url).call("POST", "/auth/login", { username, password: given });
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
