// time limit: 300 s
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { access, mkdtemp, rm } from "node:fs/promises";
import { get } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import { type Reader, readWithEventSource, readWithWebSocket } from "./clients/readers.ts";
import {
  createDirect,
  createGroup,
  eventsOf,
  heard,
  openReady,
  viaInstance,
  withSql,
} from "./delivery/help.ts";
import { type Client, type Json, register } from "./support/client.ts";
import { countLockWaits, startWriters, withPostgres } from "./support/postgres.ts";
import { exitWithin, type Program, runScript, withProgram } from "./support/process.ts";
import { eventually, testSecret } from "./support/server.ts";
import type { StreamKind, TestStream } from "./support/streams.ts";

const kinds: StreamKind[] = ["sse", "ws"];
const exitLimitMs = 10_000;

interface ClusterProgram extends Program {
  /** What all processes logged with this message, in its order. */
  logged(message: string): Json[];
  /** The process ids of all workers that ever listened. */
  workers(): number[];
}

/** Runs a test against the program with two workers, and leaves none behind. */
function withWorkers(act: (program: ClusterProgram) => Promise<void>, env: NodeJS.ProcessEnv = {}) {
  return withProgram({ WEB_CONCURRENCY: "2", LOG_LEVEL: "info", ...env }, async (program) => {
    const said = (): Json[] => program.lines().map((line) => JSON.parse(line));
    const logged = (message: string) => said().filter(({ msg }) => msg === message);
    const workers = () => logged("worker listens").map(({ worker }) => worker);
    try {
      await eventually(() => assert.equal(workers().length, 2)); // The log may come after the address.
      await act({ ...program, logged, workers });
    } finally {
      program.kill("SIGKILL"); // First, or it would replace them.
      for (const pid of workers()) if (!isGone(pid)) process.kill(pid, "SIGKILL");
    }
  });
}

/** A child of nobody that nobody has waited for is gone too. */
function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "EPERM";
  }
}

/** On a connection of its own; resolves with the status, rejects when there is no answer. */
function ask(url: string, path: string, requestId = "-"): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { "x-request-id": requestId };
    get(url + path, { agent: false, headers, timeout: 5_000 }, (response) => {
      response.resume().once("end", () => resolve(response.statusCode));
    })
      .once("timeout", () => reject(new Error("no answer")))
      .once("error", reject);
  });
}

/** Asks on new connections until all these processes, and no others, have answered. */
async function assertAllAnswer(program: ClusterProgram, pids: (number | undefined)[]): Promise<void> {
  const prefix = `probe-${performance.now()}-`;
  let count = 0;
  await eventually(async () => {
    assert.equal(await ask(program.url, "/healthz", `${prefix}${count++}`), 200);
    const lines = program.logged("request").filter(({ request_id }) => request_id.startsWith(prefix));
    const answering = new Set(lines.map(({ pid }) => pid));
    assert.deepEqual([...answering].sort(), [...pids].sort());
  });
}

/**
 * Opens streams on the first worker, while the second is stopped, and then on the second. By another name of
 * this machine, under which no earlier connection waits to be used again: it may lead to the stopped worker.
 */
async function onBothWorkers<T>(
  program: ClusterProgram,
  client: Client,
  open: (client: Client) => Promise<T>,
): Promise<[T, T]> {
  const fresh = viaInstance(client, program.url.replace("localhost", "127.0.0.1"));
  const whileStopped = async (worker = 0) => {
    process.kill(worker, "SIGSTOP");
    try {
      return await open(fresh);
    } finally {
      process.kill(worker, "SIGCONT");
    }
  };
  const [first, second] = program.workers();
  return [await whileStopped(second), await whileStopped(first)];
}

/** On either worker `each` of each kind. */
function openStreams(program: ClusterProgram, client: Client, each: number) {
  return onBothWorkers(program, client, (fresh) =>
    Promise.all(kinds.flatMap((kind) => Array.from({ length: each }, () => openReady(kind, fresh)))),
  );
}

async function allEndedWith(streams: TestStream[], code: number): Promise<void> {
  await Promise.all(streams.map((stream) => stream.until(() => stream.ended() !== undefined)));
  assert.deepEqual([...new Set(streams.map((stream) => stream.ended()))], [code]);
}

test("what is sent to either worker is heard on both, in one order", () =>
  withWorkers(async (program) => {
    const ann = await register(program.url, "ann");
    const bob = await register(program.url, "bob");
    const groups = await Promise.all(["a", "b"].map((name) => createGroup(ann, name, [bob])));
    const streams = [...(await openStreams(program, ann, 3)), ...(await openStreams(program, bob, 3))].flat();
    const send = (i: number) => (i % 3 ? ann : bob).send(groups[i % 5 < 2 ? 0 : 1].id, `message ${i}`);
    await Promise.all(Array.from({ length: 200 }, (_, i) => send(i)));
    for (const stream of streams) await heard(stream, "message.new", 200);
    const [first, ...others] = streams.map(eventsOf);
    for (const other of others) assert.deepEqual(other, first);
    const sends = program.logged("request").filter(({ path }) => path.endsWith("/messages"));
    assert.deepEqual([...new Set(sends.map(({ pid }) => pid))].sort(), program.workers().sort());
    await assertAllAnswer(program, program.workers());
    for (const stream of streams) stream.cut();
  }));

/** One by EventSource, one by WebSocket; resolves when both have had their `ready`. */
async function startReaders(client: Client, since: string): Promise<Reader[]> {
  const readers = [
    readWithEventSource({ name: "sse", client, path: "/events", since }),
    readWithWebSocket({ name: "ws", client, path: "/ws", since }, null),
  ];
  await eventually(() => assert.ok(readers.every(({ ledger }) => ledger.readies === 1)));
  return readers;
}

test("a killed worker is replaced, and its clients lose and repeat nothing", () =>
  withWorkers(async (program) => {
    const ann = await register(program.url, "ann");
    const bob = await register(program.url, "bob");
    const discussion = await createDirect(ann, bob);
    const groups = await onBothWorkers(program, bob, (fresh) => startReaders(fresh, discussion.cursor));
    const readers = groups.flat();
    const allHave = (count: number) =>
      eventually(() => assert.ok(readers.every(({ ledger }) => ledger.events.length >= count)));
    const writers = startWriters([ann, bob], discussion.id);
    try {
      await allHave(20);
      const [killed = 0, other] = program.workers();
      process.kill(killed, "SIGKILL");
      await eventually(() => assert.equal(program.workers().length, 3));
      await assertAllAnswer(program, [other, program.workers()[2]]);
      await eventually(() => assert.ok(groups[0].every(({ ledger }) => ledger.readies === 2)));
      await allHave(writers.stored.length + 20);
      await writers.stop();
      await allHave(writers.stored.length);
      const seqs = Array.from({ length: writers.stored.length }, (_, i) => i + 1);
      assert.deepEqual(
        writers.stored.map(({ seq }) => seq),
        seqs,
      );
      for (const { ledger } of readers) {
        assert.deepEqual(ledger.faults, []);
        assert.deepEqual(
          ledger.events.map(([, , , seq]) => seq),
          seqs,
        );
      }
      for (const { ledger } of groups[1]) assert.equal(ledger.losses, 0, "the other worker's streams go on");
    } finally {
      for (const reader of readers) reader.close();
      await writers.stop();
    }
  }));

test("a worker that is told to end is replaced, and no connection is refused meanwhile", () =>
  withWorkers(async (program) => {
    const ann = await register(program.url, "ann");
    const [its, others] = await openStreams(program, ann, 2);
    const [first = 0, second] = program.workers();
    process.kill(first, "SIGTERM");
    const deadline = performance.now() + exitLimitMs;
    while (program.workers().length < 3) {
      assert.equal(await ask(program.url, "/healthz"), 200);
      assert.ok(performance.now() < deadline, "is replaced in time");
    }
    assert.ok(isGone(first));
    await allEndedWith(its, 1012);
    await assertAllAnswer(program, [second, program.workers()[2]]);
    for (const stream of others) {
      assert.equal(stream.ended(), undefined);
      stream.cut();
    }
  }));

test("a worker that hangs, or dies, takes no new connection with it", () =>
  withWorkers(async (program) => {
    const [hanging = 0] = program.workers();
    process.kill(hanging, "SIGSTOP");
    const asking = Array.from({ length: 50 }, () => ask(program.url, "/healthz"));
    assert.deepEqual([...new Set(await Promise.all(asking))], [200]);
    const more = Array.from({ length: 50 }, () => ask(program.url, "/healthz"));
    process.kill(hanging, "SIGKILL");
    assert.deepEqual([...new Set(await Promise.all(more))], [200]);
  }));

/** A send that waits for the log's lock, until `act` releases it. */
async function withSendInFlight(
  program: Program,
  ann: Client,
  act: (answer: Promise<Json>, release: () => Promise<unknown>) => Promise<void>,
): Promise<void> {
  const { id } = await createDirect(ann, ann);
  await withSql(program.databaseUrl, async (lock) => {
    await lock.query("BEGIN");
    await lock.query("SELECT lock_log()");
    const answer = ann.send(id, "in flight");
    answer.catch(() => {}); // Looked at later.
    await eventually(async () => assert.equal(await countLockWaits(program.databaseUrl), 1));
    await act(answer, () => lock.query("COMMIT"));
  });
}

const endings: [name: string, end: (program: ClusterProgram) => void][] = [
  ["SIGTERM to the first process", (program) => program.kill("SIGTERM")],
  [
    "SIGINT to all, as by Ctrl-C in a terminal,",
    (program) => {
      for (const pid of program.workers()) if (!isGone(pid)) process.kill(pid, "SIGINT");
      program.kill("SIGINT");
    },
  ],
];
for (const [name, end] of endings) {
  test(`${name} sends streams away, answers what is in flight and exits with 0`, () =>
    withWorkers(async (program) => {
      const ann = await register(program.url, "ann");
      const streams = (await openStreams(program, ann, 10)).flat();
      await withSendInFlight(program, ann, async (answer, release) => {
        const at = performance.now();
        end(program);
        await eventually(() => assert.rejects(ask(program.url, "/healthz"), "a new connection"), 2_000);
        end(program);
        await release();
        assert.equal((await answer).content, "in flight");
        await allEndedWith(streams, 1012);
        assert.equal(await exitWithin(program, exitLimitMs - (performance.now() - at)), 0);
      });
      assert.ok(program.workers().every(isGone));
      assert.equal(program.workers().length, 2, "none was replaced");
    }));
}

test("with nobody there, SIGTERM ends at once", () =>
  withWorkers(async (program) => {
    assert.equal(await ask(program.url, "/readyz"), 200);
    program.kill("SIGTERM");
    assert.equal(await exitWithin(program, 5_000), 0);
  }));

test("a worker that hangs is killed when its time is over, and the exit code tells", () =>
  withWorkers(async (program) => {
    const [hanging = 0] = program.workers();
    process.kill(hanging, "SIGSTOP");
    program.kill("SIGTERM");
    // Nearly all of its own limit is given to the worker: on a busy machine the rest takes a moment.
    assert.equal(await exitWithin(program, 2 * exitLimitMs), 1);
    assert.ok(program.workers().every(isGone));
  }));

test("workers whose first process is killed send their streams away and end", () =>
  withWorkers(async (program) => {
    const ann = await register(program.url, "ann");
    const streams = (await openStreams(program, ann, 5)).flat();
    program.kill("SIGKILL");
    await allEndedWith(streams, 1012);
    await eventually(() => assert.ok(program.workers().every(isGone)), exitLimitMs);
  }));

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  test(`two workers share one embedded Postgres, which ${signal} ends with them`, async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "parley-cluster-"));
    const pidFile = join(dataDir, "postgres/cluster/postmaster.pid");
    try {
      await withWorkers(
        async (program) => {
          const ann = await register(program.url, "ann");
          const discussion = await createDirect(ann, ann);
          const streams = (await openStreams(program, ann, 1)).flat();
          await ann.send(discussion.id, "hello");
          for (const stream of streams) await heard(stream, "message.new");
          await access(pidFile);
          program.kill(signal);
          await eventually(() => assert.ok(program.workers().every(isGone)), exitLimitMs);
          assert.equal(await exitWithin(program, exitLimitMs), signal === "SIGTERM" ? 0 : signal);
          await eventually(() => assert.rejects(access(pidFile)), exitLimitMs);
          for (const stream of streams) stream.cut();
        },
        { DATA_DIR: dataDir, DATABASE_URL: "", JWT_SECRET: "" },
      );
    } finally {
      await rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
    }
  });
}

test("while Postgres is away a killed worker is replaced less and less often; then it is back", () =>
  withPostgres((postgres) =>
    withWorkers(
      async (program) => {
        await postgres.crash();
        process.kill(program.workers()[0] ?? 0, "SIGKILL");
        const tries = await eventually(() => {
          const lines = program.logged("worker ended; starting another");
          assert.ok(lines.length >= 4);
          return lines;
        }, 20_000);
        assert.match(tries[0].how, /SIGKILL/);
        for (const { how } of tries.slice(1)) assert.match(how, /^DATABASE_URL: Postgres cannot be reached/);
        for (const [index, { after_ms }] of tries.entries()) {
          const mostMs = Math.min(200 * 2 ** index, 10_000);
          assert.ok(after_ms >= mostMs / 2 && after_ms <= mostMs, `${after_ms} ms after try ${index}`);
        }
        await postgres.start();
        await eventually(() => assert.equal(program.workers().length, 3), 20_000);
        await eventually(async () => assert.equal(await ask(program.url, "/readyz"), 200));
      },
      { DATABASE_URL: postgres.url },
    ),
  ));

const production = { NODE_ENV: "production", WEB_CONCURRENCY: "2", PORT: "0", JWT_SECRET: testSecret };

test("workers that cannot have the port end it all with one line", () =>
  withProgram({}, async ({ url, databaseUrl }) => {
    const { port } = new URL(url);
    const env = { ...production, DATABASE_URL: databaseUrl, PORT: port };
    const ended = await runScript("server/main.ts", env);
    assert.deepEqual(ended, { code: 1, stdout: "", stderr: `PORT: ${port} is in use\n` });
  }));

test("workers that cannot reach Postgres end it all with one line", () =>
  withProgram({}, async ({ databaseUrl }) => {
    const away = { DATABASE_URL: "postgres://nobody@127.0.0.1:9/parley", LISTEN_DATABASE_URL: databaseUrl };
    const { code, stdout, stderr } = await runScript("server/main.ts", { ...production, ...away });
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /^DATABASE_URL: Postgres cannot be reached.*\n$/);
  }));

for (const value of ["0", "x"]) {
  test(`WEB_CONCURRENCY=${value} is refused with one line`, async () => {
    const { code, stderr } = await runScript("server/main.ts", { WEB_CONCURRENCY: value, PORT: "0" });
    assert.equal(code, 1);
    assert.match(stderr, /^WEB_CONCURRENCY: .*\n$/);
  });
}

const manyConnections = 1_000;

function longestBacklog(): number {
  try {
    return Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
  } catch {
    return 0;
  }
}

const withLongBacklog = longestBacklog() > manyConnections ? test : test.skip;

withLongBacklog(`${manyConnections} connections find a place while nobody accepts`, () =>
  withProgram({}, (program) => assertBacklog(program, [program.child.pid ?? 0])),
);

withLongBacklog(`${manyConnections} connections find a place while no worker accepts`, () =>
  withWorkers((program) => assertBacklog(program, program.workers())),
);

async function assertBacklog({ url }: Program, accepting: number[]): Promise<void> {
  const port = Number(new URL(url).port);
  const sockets: Socket[] = [];
  let connected = 0;
  for (const pid of accepting) process.kill(pid, "SIGSTOP");
  try {
    for (let i = 0; i < manyConnections; i++) sockets.push(connect(port, "127.0.0.1", () => connected++));
    await eventually(() => assert.equal(connected, manyConnections));
  } finally {
    for (const socket of sockets) socket.destroy();
    for (const pid of accepting) process.kill(pid, "SIGCONT");
  }
  await eventually(async () => assert.equal(await ask(url, "/healthz"), 200));
}

test.run();
