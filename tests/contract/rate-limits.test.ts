// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { rates } from "../../server/rates.ts";
import { type Answer, assertProblem, Client, type Json, password, register } from "../support/client.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";
import { openTestStream, type TestStream } from "../support/streams.ts";

// Through a real server with the numbers it really has; with smaller ones: tests/rate-limits.test.ts.

test("ten wrong passwords, then 429, for that account from that address alone", () =>
  withServer(
    async (t) => {
      await register(t.url, "ann");
      await register(t.url, "bob");
      const other = (await t.another()).url;
      for (let i = 0; i < 10; i++) {
        // Which instance is asked makes no difference.
        const answer = await login(i % 2 ? t.url : other, "ann", "wrong", "192.0.2.1");
        assertProblem(answer, 401, "invalid_credentials");
      }
      for (const url of [t.url, other]) {
        assertLimited(await login(url, "ann", password, "192.0.2.1"), 15 * 60);
      }
      assert.equal((await login(t.url, "ann", password, "192.0.2.2")).status, 200);
      assert.equal((await login(t.url, "bob", password, "192.0.2.1")).status, 200);
      // An account that does not exist is refused in the same way.
      for (let i = 0; i < 10; i++) await login(t.url, "nobody", "wrong", "192.0.2.1");
      assertLimited(await login(t.url, "nobody", "wrong", "192.0.2.1"), 15 * 60);
    },
    { TRUST_PROXY: "on" },
  ));

test("who has a session cannot guess its owner's password by changing it or erasing the account", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const change = (current_password: string) =>
      ann.call("PATCH", "/users/me", { password: "another password", current_password });
    const erase = (secret: string) => ann.call("DELETE", "/users/me", { password: secret });
    for (let i = 0; i < 10; i++) {
      assertProblem(await (i % 2 ? change : erase)("wrong"), 401, "invalid_credentials");
    }
    assertLimited(await change(password), 15 * 60);
    assertLimited(await erase(password), 15 * 60);
    assert.equal((await ann.call("PATCH", "/users/me", { display_name: "Ann" })).status, 200);
    // The account is one, however it is named.
    assertLimited(await login(t.url, "ann", password), 15 * 60);
  }));

test("wrong passwords count for the account, whether it is named by username or by e-mail address", () =>
  withServer(async (t) => {
    await register(t.url, "ann", { email: "ann@example.com" });
    const names = ["ann", "ANN", "ann@example.com", "Ann@Example.com"];
    for (let i = 0; i < 10; i++) {
      const answer = await login(t.url, names[i % names.length] as string, "wrong password");
      assertProblem(answer, 401, "invalid_credentials");
    }
    for (const name of names) assertLimited(await login(t.url, name, password), 15 * 60);
  }));

test("many good sign-ins and registrations from one address pass", () =>
  withServer(async (t) => {
    const names = Array.from({ length: 60 }, (_, i) => `user${i}`);
    await Promise.all(names.map((name) => register(t.url, name)));
    const answers = await Promise.all(names.map((name) => login(t.url, name, password)));
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  }));

for (const proxies of ["off", "on"]) {
  test(`an address is bounded, and no made-up one helps, with TRUST_PROXY=${proxies}`, () =>
    withServer(
      async (t) => {
        const trusted = proxies === "on";
        // Refused for its body, but counted before that is read.
        const ask = (forwarded: string) =>
          new Client(t.url).call("POST", "/auth/register", {}, { "x-forwarded-for": forwarded });
        const most = rates.address.register.points + rates.address.register.burst;
        const statuses: number[] = [];
        for (let i = 0; i < most; i++) statuses.push((await ask(`10.0.0.${i % 256}, 192.0.2.1`)).status);
        assert.ok(statuses.every((status) => status === 400));
        const left = await refusedAfter(rates.address.register.points, () => ask("10.1.1.1, 192.0.2.1"));
        assertLimited(left, 60);
        const elsewhere = await ask("192.0.2.1, 192.0.2.2");
        assert.equal(elsewhere.status, trusted ? 400 : 429);
        // Other classes have counts of their own.
        assert.equal((await login(t.url, "ann", password, "192.0.2.1")).status, 401);
      },
      { TRUST_PROXY: proxies },
    ));
}

test("one person's flood of messages is refused by REST and on sockets, and leaves others alone", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await pair(t);
    const socket = await openTestStream("ws", ann, { discussionId: id });
    const sent = await flood(socket, rates.send.most + 300);
    const acks = sent.filter(({ type }) => type === "ack");
    const errors = sent.filter(({ type }) => type === "error");
    assert.ok(acks.length >= rates.send.most, `${acks.length} acks`);
    assert.ok(errors.length > 0, "some are refused");
    assert.deepEqual(
      sent.map(({ ref }) => Number(ref)),
      sent.map((_, i) => i),
      "answers come in the order of their frames",
    );
    for (const error of errors) assert.equal(error.code, "rate_limited");
    const byRest = () => ann.call("POST", `/discussions/${id}/messages`, { content: "by REST" });
    const refused = await refusedAfter(rates.send.perSecond * 5, byRest);
    assertLimited(refused, 1);
    await bob.send(id, "undisturbed");
    assert.equal(socket.ended(), undefined);
    // Retry-After says one second.
    await eventually(async () => assert.equal((await byRest()).status, 201), 2_000);
    await eventually(async () => {
      socket.send({ type: "message.send", ref: "later", content: "by socket" });
      await socket.until((received) => received.at(-1)?.ref === "later" || received.at(-2)?.ref === "later");
      assert.ok(socket.received.some(({ type, ref }) => type === "ack" && ref === "later"));
    }, 2_000);
    socket.cut();
  }));

test("only a socket that goes on and on is closed with 4002, after the answers to what came before", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await pair(t);
    const socket = await openTestStream("ws", ann, { discussionId: id });
    const other = await openTestStream("ws", bob, { discussionId: id });
    const errors = () => socket.received.filter(({ type }) => type === "error");
    const count = rates.refusedFrames.most;
    for (let i = 0; i < count; i += 500) {
      for (let j = i; j < i + 500; j++) socket.send({ type: "message.send", ref: `${j}` });
      await socket.until(() => errors().length === i + 500);
    }
    assert.deepEqual([...new Set(errors().map(({ code }) => code))], ["invalid_request"]);
    assert.equal(socket.ended(), undefined);
    // Not all at once: the bound on frames that wait is another one.
    for (let sent = count; socket.ended() === undefined && sent < 2 * count; sent += 500) {
      for (let i = 0; i < 500; i++) socket.send({ type: "message.send" });
      await socket.until(() => errors().length === sent + 500 || socket.ended() !== undefined);
    }
    assert.equal(socket.ended(), 4002);
    assert.ok(errors().length >= count);
    other.send({ type: "ping", ref: "alive" });
    await other.until((received) => received.some(({ ref }) => ref === "alive"));
    other.cut();
  }));

test("reads, and other frames than messages, are bounded too", () =>
  withServer(async (t) => {
    const { ann, bob } = await pair(t);
    const most = rates.user.read.points + rates.user.read.burst;
    const read = () => ann.call("GET", "/auth/sessions?limit=1");
    for (let i = 0; i < most; i += 50) {
      const answers = await Promise.all(Array.from({ length: Math.min(50, most - i) }, read));
      assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
    }
    assertLimited(await refusedAfter(most, read), 1);
    const { headers } = await login(t.url, "ann", password, undefined, true);
    const cookie = headers.get("set-cookie")?.split(";")[0] ?? "";
    const byCookie = () => new Client(t.url).call("GET", "/users/me", undefined, { cookie });
    assertLimited(await refusedAfter(most, byCookie), 1);
    assert.equal((await bob.call("GET", "/users/me")).status, 200);
    await eventually(async () => assert.equal((await read()).status, 200), 3_000);
    const socket = await openTestStream("ws", ann);
    for (let i = 0; i < most + 900; i += 100) {
      for (let j = i; j < i + 100; j++) socket.send({ type: "ping", ref: `${j}` });
      await socket.until((received) => received.some(({ ref }) => ref === `${i + 99}`));
      if (socket.received.some(({ type }) => type === "error")) break;
    }
    const error = socket.received.find(({ type }) => type === "error");
    assert.equal(error?.code, "rate_limited");
    assert.equal(socket.ended(), undefined);
    socket.cut();
  }));

test("streams open at once are bounded per person; one that closes makes room", () =>
  withServer(async (t) => {
    const { ann, bob } = await pair(t);
    const streams: TestStream[] = [];
    for (let i = 0; i < limits.streamsPerUser; i++) {
      streams.push(await openTestStream(i % 2 ? "sse" : "ws", ann));
    }
    assertLimited(await ann.call("GET", "/events"), 10);
    await assert.rejects(openTestStream("ws", ann), /upgrade: 429/);
    (await openTestStream("ws", bob)).cut();
    streams.pop()?.cut();
    const again = await eventually(() => openTestStream("ws", ann));
    for (const stream of [...streams, again]) stream.cut();
  }));

test("opening streams is bounded per person, whatever becomes of them", () =>
  withServer(async (t) => {
    const { ann, bob, id } = await pair(t);
    const open = (who: Client) => who.call("GET", "/events?since=nonsense");
    const most = rates.user.connect.points + rates.user.connect.burst;
    // Refused for the cursor, after they were counted.
    for (let i = 0; i < most; i++) assert.equal((await open(ann)).status, 400);
    assertLimited(await refusedAfter(20, () => open(ann)), 1);
    assert.equal((await open(bob)).status, 400);
    const stream = await eventually(() => openTestStream("ws", ann, { discussionId: id }), 3_000);
    stream.cut();
  }));

test("RATE_LIMITS=off turns all of them off", () =>
  withServer(
    async (t) => {
      const { ann, id } = await pair(t);
      for (let i = 0; i < 12; i++) assert.equal((await login(t.url, "ann", "wrong")).status, 401);
      const socket = await openTestStream("ws", ann, { discussionId: id });
      const sent = await flood(socket, rates.send.most + 300);
      assert.ok(sent.every(({ type }) => type === "ack"));
      socket.cut();
      const most = rates.address.register.points + rates.address.register.burst;
      for (let i = 0; i <= most; i++) {
        assert.equal((await ann.call("POST", "/auth/register", {})).status, 400);
      }
    },
    { RATE_LIMITS: "off" },
  ));

function login(
  url: string,
  username: string,
  secret: string,
  forwarded?: string,
  cookie = false,
): Promise<Answer> {
  const headers: Record<string, string> = forwarded ? { "x-forwarded-for": `10.9.8.7, ${forwarded}` } : {};
  return new Client(url).call("POST", "/auth/login", { username, password: secret, cookie }, headers);
}

/** Asserts a 429 with a Retry-After of at least one second and at most so many. */
function assertLimited(answer: Answer, mostSeconds: number): void {
  assertProblem(answer, 429, "rate_limited");
  const seconds = answer.body.retry_after;
  assert.ok(Number.isInteger(seconds) && seconds >= 1 && seconds <= mostSeconds, `retry_after ${seconds}`);
  assert.equal(answer.headers.get("retry-after"), String(seconds));
}

/** A 429; as many more as became free with the time may pass before it. Some at once: time is short. */
async function refusedAfter(most: number, ask: () => Promise<Answer>): Promise<Answer> {
  for (let i = 0; i < most; i += 50) {
    const answers = await Promise.all(Array.from({ length: 50 }, ask));
    const refused = answers.find(({ status }) => status === 429);
    if (refused) return refused;
  }
  return assert.fail(`${most} more were not refused`);
}

/** Sends messages, some at once, and gives all the answers as they came. */
async function flood(socket: TestStream, count: number): Promise<Json[]> {
  const answers = () => socket.received.filter(({ ref }) => ref !== undefined);
  for (let i = 0; i < count; i += 300) {
    for (let j = i; j < i + 300; j++) {
      socket.send({ type: "message.send", ref: `${j}`, content: `message ${j}` });
    }
    await socket.until(() => answers().length === i + 300, 20_000);
  }
  return answers();
}

async function pair(t: TestServer): Promise<{ ann: Client; bob: Client; id: string }> {
  const ann = await register(t.url, "ann");
  const bob = await register(t.url, "bob");
  const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
  return { ann, bob, id };
}

test.run();
