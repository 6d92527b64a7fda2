import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import pg from "pg";
import { test } from "uvu";
import { WebSocket } from "ws";
import { type Client, register } from "../support/client.ts";
import { createTestDatabase } from "../support/database.ts";
import { countLockWaits, query } from "../support/postgres.ts";
import { exitWithin, type Program, runScript, withProgram } from "../support/process.ts";
import { eventually, testSecret } from "../support/server.ts";

const exitLimitMs = 10_000;

/** A stream reduced to how it ends: the code of the contract, and when. */
interface Ending {
  code: number | undefined;
  at: number;
}

function openSse(client: Client): Promise<{ request: ClientRequest; ended: Promise<Ending> }> {
  return new Promise((resolve, reject) => {
    const asked = request(`${client.url}/api/v1/events`, {
      agent: false,
      headers: { authorization: `Bearer ${client.token}` },
    });
    asked.once("error", reject);
    asked.once("response", (response: IncomingMessage) => {
      if (response.statusCode !== 200) return reject(new Error(`status ${response.statusCode}`));
      let tail = "";
      let at = 0;
      response.setEncoding("utf8").on("data", (text: string) => {
        tail = (tail + text).slice(-1_000);
        if (at === 0 && tail.includes("event: closed")) at = performance.now();
      });
      const ended = new Promise<Ending>((done) => {
        response.once("close", () => {
          const json = /event: closed\ndata: (.*)\n\n$/.exec(tail)?.[1];
          done({ code: json && JSON.parse(json).code, at });
        });
      });
      response.on("error", () => {});
      asked.off("error", reject).on("error", () => {});
      response.once("data", () => resolve({ request: asked, ended }));
    });
    asked.end();
  });
}

function openSocket(client: Client): Promise<{ socket: WebSocket; ended: Promise<Ending> }> {
  const socket = new WebSocket(`${client.url.replace("http", "ws")}/api/v1/ws`, {
    headers: { authorization: `Bearer ${client.token}` },
  });
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    const ended = new Promise<Ending>((done) => {
      socket.once("close", (code) => done({ code, at: performance.now() }));
    });
    socket.once("message", () => {
      socket.off("error", reject).on("error", () => {});
      resolve({ socket, ended });
    });
  });
}

/** `most` at a time: it is not the opening that is tested here. */
async function openMany<T>(count: number, open: () => Promise<T>, most = 50): Promise<T[]> {
  const opened: T[] = [];
  const worker = async () => {
    while (opened.length < count) opened.push(await open());
  };
  await Promise.all(Array.from({ length: most }, worker));
  return opened;
}

/** Somebody holds the log's lock, so that a send is in flight until `release`. */
async function withSendInFlight(
  program: Program,
  ann: Client,
  act: (answer: Promise<number>, release: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const discussion = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
  const lock = new pg.Client({ connectionString: program.databaseUrl });
  await lock.connect();
  try {
    await lock.query("BEGIN");
    await lock.query("SELECT lock_log()");
    const answer = ann
      .call("POST", `/discussions/${discussion.id}/messages`, { content: "in flight" })
      .then(({ status }) => status);
    answer.catch(() => {}); // Looked at later.
    await eventually(async () => assert.equal(await countLockWaits(program.databaseUrl), 1));
    await act(answer, async () => void (await lock.query("COMMIT")));
  } finally {
    await lock.end();
  }
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  const each = signal === "SIGTERM" ? 500 : 50;
  test(`${signal} sends ${2 * each} streams away over time, answers what is in flight and exits with 0`, () =>
    withProgram({}, async (program) => {
      const ann = await register(program.url, "ann");
      const sses = await openMany(each, () => openSse(ann));
      const sockets = await openMany(each, () => openSocket(ann));
      await withSendInFlight(program, ann, async (answer, release) => {
        const at = performance.now();
        program.kill(signal);
        await eventually(() => assert.rejects(fetch(`${program.url}/healthz`), "a new connection"), 2_000);
        assert.ok(program.isRunning(), "refused by a process that still runs");
        program.kill(signal);
        await release();
        assert.equal(await answer, 201);
        program.kill(signal);
        for (const opened of [sses, sockets]) {
          const endings = await Promise.all(opened.map(({ ended }) => ended));
          assert.deepEqual([...new Set(endings.map(({ code }) => code))], [1012]);
          const times = endings.map((ending) => ending.at - at).sort((a, b) => a - b);
          assert.ok(mostWithin(times, 100) < each / 3, `${mostWithin(times, 100)} of ${each} within 100 ms`);
          assert.ok((times.at(-1) ?? 0) - (times[0] ?? 0) > 1_000, "spread over more than a second");
          assert.ok((times.at(-1) ?? 0) < exitLimitMs);
        }
        assert.equal(await exitWithin(program, exitLimitMs - (performance.now() - at)), 0);
        if (process.env.TEST_LOG_LEVEL) console.log(`exit after ${performance.now() - at} ms`);
        assert.equal(program.stderr(), "");
      });
    }));
}

/** The largest number of times that lie within `ms` of each other; the times rise. */
function mostWithin(times: number[], ms: number): number {
  return Math.max(...times.map((from, index) => times.slice(index).filter((at) => at < from + ms).length));
}

test("clients that neither read nor answer do not hold up the end", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    const { socket } = await openSocket(ann);
    socket.pause();
    const { request: asked } = await openSse(ann);
    asked.socket?.pause();
    // A request whose body never comes.
    const half = request(`${program.url}/api/v1/auth/login`, {
      method: "POST",
      headers: { "content-type": "application/json", "content-length": "100" },
    });
    half.on("error", () => {});
    half.write("{");
    await eventually(() => assert.ok(half.socket?.bytesWritten));
    program.kill("SIGTERM");
    assert.equal(await exitWithin(program, exitLimitMs), 0);
    socket.terminate();
    asked.destroy();
    half.destroy();
  }));

test("with nobody there, SIGTERM ends at once", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    await ann.ok("GET", "/users/me"); // And leaves an idle connection.
    program.kill("SIGTERM");
    assert.equal(await exitWithin(program, 2_000), 0);
  }));

test("a connection made before SIGTERM that asks after it is answered; one that stays silent is closed", () =>
  withProgram({}, async (program) => {
    const { port } = new URL(program.url);
    const [asking, silent] = await Promise.all([connected(Number(port)), connected(Number(port))]);
    program.kill("SIGTERM");
    await eventually(() => assert.rejects(fetch(`${program.url}/healthz`), "a new connection"), 2_000);
    asking.write("GET /healthz HTTP/1.1\r\nHost: parley\r\n\r\n");
    const answer = await text(asking);
    assert.match(answer, /^HTTP\/1\.1 200 /);
    assert.match(answer, /^connection: close\r\n/im);
    assert.equal(await text(silent), "");
    assert.equal(await exitWithin(program, exitLimitMs), 0);
  }));

/** A connection that the server has accepted, as another made after it was answered. */
async function connected(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
  return socket;
}

test("SIGTERM while Postgres is held up still ends in time", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    await withSendInFlight(program, ann, async () => {
      program.kill("SIGTERM");
      assert.equal(await exitWithin(program, exitLimitMs), 0);
    });
  }));

const production = {
  NODE_ENV: "production",
  PORT: "0",
  DATABASE_URL: "postgres://nobody@127.0.0.1:9/parley",
  JWT_SECRET: testSecret,
};
const misconfigured: [what: string, variable: string, env: NodeJS.ProcessEnv][] = [
  ["without DATABASE_URL", "DATABASE_URL", { DATABASE_URL: "" }],
  ["with a DATABASE_URL of something else", "DATABASE_URL", { DATABASE_URL: "mysql://host/parley" }],
  ["without JWT_SECRET", "JWT_SECRET", { JWT_SECRET: "" }],
  ["with a short JWT_SECRET", "JWT_SECRET", { JWT_SECRET: "short-and-secret" }],
  ["with a PORT that is no number", "PORT", { PORT: "http" }],
  ["with a PORT out of range", "PORT", { PORT: "65536" }],
  ["with a fractional PORT", "PORT", { PORT: "80.5" }],
  ["with an origin that has a path", "ALLOWED_ORIGINS", { ALLOWED_ORIGINS: "https://chat.example/app" }],
  ["with an origin that is a host", "ALLOWED_ORIGINS", { ALLOWED_ORIGINS: "chat.example" }],
  ["with one bad origin of two", "ALLOWED_ORIGINS", { ALLOWED_ORIGINS: "https://chat.example,*" }],
  ["with an unknown RATE_LIMITS", "RATE_LIMITS", { RATE_LIMITS: "no" }],
  ["with an unknown LOG_LEVEL", "LOG_LEVEL", { LOG_LEVEL: "loud" }],
];
for (const [what, variable, env] of misconfigured) {
  test(`production ${what} ends with one line that names ${variable}`, async () => {
    const ended = await runScript("server/main.ts", { ...production, ...env });
    assertOneLine(ended, variable);
    assert.doesNotMatch(ended.stderr, /short-and-secret/);
  });
}

test("production on a database that is not migrated ends with one line and changes nothing", async () => {
  const database = await createTestDatabase();
  try {
    const env = { ...production, DATABASE_URL: database.url };
    await query(database.url, "UPDATE function_texts SET hash = 'of an older version'");
    assertOneLine(await runScript("server/main.ts", env), "migrate");
    await query(database.url, "DELETE FROM migrations WHERE id = (SELECT max(id) FROM migrations)");
    assertOneLine(await runScript("server/main.ts", env), "migrate");
    await query(database.url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    assertOneLine(await runScript("server/main.ts", env), "migrate");
    const tables = await query(
      database.url,
      "SELECT FROM information_schema.tables WHERE table_schema = 'public'",
    );
    assert.equal(tables.length, 0);
  } finally {
    await database.drop();
  }
});

test("a port that is taken ends with one line that names it", () =>
  withProgram({}, async ({ url, databaseUrl }) => {
    const { port } = new URL(url);
    const env = { ...production, DATABASE_URL: databaseUrl, PORT: port };
    assertOneLine(await runScript("server/main.ts", env), port);
  }));

function assertOneLine(
  { code, stdout, stderr }: { code: number | string; stdout: string; stderr: string },
  word: string,
): void {
  assert.notEqual(code, 0);
  assert.equal(typeof code, "number", `ended by ${code}`);
  assert.equal(stdout, "");
  assert.ok(stderr.includes(word), stderr);
  assert.equal(stderr.trim().split("\n").length, 1, stderr);
}

test.run();
