// time limit: 120 s
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import { WebSocketServer } from "ws";
import type { Fault } from "../../scripts/torture/fault.ts";
import { faults } from "../../scripts/torture/faults.ts";
import { isComplaint } from "../../scripts/torture/instance.ts";
import { openEvents, openSocket } from "../../scripts/torture/load/connection.ts";
import { Notebook } from "../../scripts/torture/load/notebook.ts";
import { Person } from "../../scripts/torture/load/person.ts";
import { startSocketWriter } from "../../scripts/torture/load/socket-writer.ts";
import { Load } from "../../scripts/torture/load.ts";
import { runFault } from "../../scripts/torture/run.ts";
import type { Json } from "../support/client.ts";
import { endProgram, startProgram } from "../support/process.ts";
import { randomOf } from "../support/random.ts";
import { eventually } from "../support/server.ts";

// What torments the server has to notice when it does not.

const few = { restWriters: 2, socketWriters: 1, listeners: 1, pauseMs: 20 };

test("a fault that does nothing fails the run, and one that breaks off is not told as a loss", async () => {
  const broken: Fault = {
    id: "broken",
    title: "a step without effect, and one that stops Postgres and fails",
    recoveryMs: 5_000,
    plan: () => [
      { atMs: 0, what: "do nothing", act: () => 0 },
      {
        atMs: 0,
        what: "stop Postgres and fail",
        act: async ({ postgres }) => {
          await postgres.crash();
          throw new Error("broken off");
        },
      },
    ],
  };
  const outcome = await runFault(broken, { seed: 1, seconds: 1, size: few, print: console.log });
  assert.deepEqual(outcome.complaints.slice(0, 2), ["it did not take hold: do nothing", "broken off"]);
  assert.match(outcome.complaints[2] ?? "", /^not quiescent/);
  assert.ok(outcome.acknowledged >= 100 && outcome.heard > 0, "all the same it is judged");
  assert.deepEqual(outcome.violations, []);
});

test("a probe of an instance that never gets well does not move on to the other", () =>
  withAnswers(503, (bad) =>
    withAnswers(200, async (good) => {
      const person = new Person("ann", { urls: [bad, good] }, 0, randomOf(1));
      const stays = person.persist("GET", "/users/me", undefined, { limitMs: 1_000, stays: true });
      await assert.rejects(stays, /to the end 503 unavailable/);
      assert.equal(person.url, bad);
      assert.equal((await person.persist("GET", "/users/me")).status, 200);
      assert.equal(person.url, good);
    }),
  ));

test("an answer that says later, but not when, is a mistake; so is 500", async () => {
  for (const [status, headers, mistake] of [
    [503, {}, /503 that says not when/],
    [500, { "retry-after": "1" }, /→ 500/],
  ] as const) {
    await withAnswers(
      status,
      (url) => {
        const ann = new Person("ann", { urls: [url] }, 0, randomOf(1));
        return assert.rejects(ann.persist("GET", "/users/me", undefined, { limitMs: 1_000 }), mistake);
      },
      headers,
    );
  }
});

test("errors, bare text and what people wrote are complaints, warnings are not", () => {
  const notebook = new Notebook("ann", randomOf(1));
  const contents = Array.from({ length: 20 }, () => notebook.begin(["one"]).content);
  const content = contents.find(({ length }) => length > 50) ?? "";
  const lineOf = (level: number, text: string) => JSON.stringify({ level, msg: text });
  assert.ok(isComplaint(lineOf(50, "Postgres refused")) && isComplaint("Error: not JSON"));
  assert.ok(isComplaint(lineOf(40, `Postgres refused ${content}`)));
  assert.ok(!isComplaint(lineOf(40, "Postgres refused")) && !isComplaint(""));
});

test("whoever finds no instance gives up, and is not asked for ever", async () => {
  const person = new Person("ann", { urls: [] }, 0, randomOf(1));
  await assert.rejects(person.persist("GET", "/users/me", undefined, { limitMs: 300 }), /no answer/);
  await assert.rejects(new Load({ urls: [] }, randomOf(1), few).probe(0, 300), /was not started/);
});

test('a message that was stored by a try answered with "not now" stands where it was sent first', () => {
  const notebook = new Notebook("ann", randomOf(1));
  const [first, second, third] = [1, 2, 3].map(() => notebook.begin(["one"]).attempt);
  assert.ok(first && second && third);
  notebook.postpone(first);
  notebook.postpone(second);
  Object.assign(first, { seq: 1 });
  Object.assign(third, { seq: 2 });
  Object.assign(second, { seq: 3 });
  const numbers = () => notebook.settled().map(({ client_id, number }) => `${client_id} ${number}`);
  assert.deepEqual(numbers(), ["ann-0 0", "ann-2 2", "ann-1 4"]);
  // Neither its first place nor its second is between these two.
  Object.assign(third, { seq: 4 });
  Object.assign(notebook.begin(["one"]).attempt, { seq: 2 });
  assert.deepEqual(numbers(), ["ann-0 0", "ann-3 5", "ann-1 4", "ann-2 2"]);
});

test("a clock is never set to the time that it has", () => {
  for (const id of ["clock-of-instances", "clock-of-postgres"]) {
    const fault = faults.find((one) => one.id === id);
    for (let seed = 1; seed <= 50; seed++) {
      const plan = fault?.plan(randomOf(seed), 60).map(({ what }) => what) ?? [];
      assert.equal(plan.length, 20);
      assert.ok(plan.every((what, index) => what !== plan[index - 1] && !what.includes(" 0 minutes")));
    }
  }
});

test("what cannot be read is told, cuts its connection, and ends nothing else", () =>
  withNonsense(async (url) => {
    for (const [connect, path] of [
      [openEvents, "/events"],
      [openSocket, "/ws"],
    ] as const) {
      const took: Json[] = [];
      await new Promise<void>((resolve) => {
        const events = { opened() {}, took: (json: Json) => void took.push(json), ended: () => resolve() };
        connect(url + path, "", events);
      });
      assert.deepEqual(
        took.map(({ type, text }) => [type, text?.trim()]),
        [
          ["ready", undefined],
          ["garbled", path === "/ws" ? "{oops" : "data: {oops"],
        ],
      );
      assert.match(took[1].why, /SyntaxError/);
    }
    const person = new Person("ann", { urls: [url] }, 0, randomOf(1));
    const writing = { person, discussionIds: ["one"], random: randomOf(1), pauseMs: 20 };
    const writer = startSocketWriter(writing);
    await eventually(() => assert.ok(writer.notebook.attempts.length > 0));
    await assert.rejects(writer.stop(), /ann cannot read what came: SyntaxError.*{oops/);
    writer.giveUp();
  }));

/** A program that never ends the last line of what it says. */
const halfSaid = `
  process.stderr.write("whole\\nhalf");
  console.log("Parley listens on http://localhost:1");
  setInterval(() => {}, 1_000);
`;

test("the last words of a program count without their end, but for those that SIGKILL cut off", async () => {
  const folder = await mkdtemp(join(tmpdir(), "parley-words-"));
  try {
    await mkdir(join(folder, "server"));
    await writeFile(join(folder, "server", "main.ts"), halfSaid);
    for (const [signal, lines] of [
      ["SIGTERM", ["whole", "half"]],
      ["SIGKILL", ["whole"]],
    ] as const) {
      const program = await startProgram({}, { folder });
      try {
        await eventually(() => assert.match(program.stderr(), /half/));
        assert.deepEqual(program.lines(), ["whole"]);
        program.kill(signal);
        assert.equal(await program.exited, signal);
        assert.deepEqual(program.lines(), lines);
      } finally {
        await endProgram(program);
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

/** Runs a test with a server whose streams begin well and go on with what is no JSON. */
async function withNonsense(act: (url: string) => Promise<void>): Promise<void> {
  const texts = ['{"type":"ready"}', "{oops", '{"type":"ready"}'];
  const server = createServer((_request, response) => {
    response.writeHead(200);
    for (const text of texts) response.write(`data: ${text}\n\n`);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    for (const text of texts) socket.send(text);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  try {
    await act(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  }
}

/** Runs a test with somebody who gives every request the same answer. */
async function withAnswers(
  status: number,
  act: (url: string) => Promise<void>,
  headers: Readonly<Record<string, string>> = { "retry-after": "1" },
): Promise<void> {
  const server = createServer((_request, response) => {
    response
      .writeHead(status, { "content-type": "application/json", ...headers })
      .end('{"code":"unavailable"}');
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  try {
    await act(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test.run();
