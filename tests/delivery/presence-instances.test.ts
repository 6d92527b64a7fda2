// time limit: 300 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { type Client, register } from "../support/client.ts";
import { query, withPostgres } from "../support/postgres.ts";
import { exitWithin, withProgram } from "../support/process.ts";
import { eventually, startTestParley, withServer } from "../support/server.ts";
import { statuses } from "../support/signals.ts";
import type { TestStream } from "../support/streams.ts";
import { createGroup, openReady, viaInstance } from "./help.ts";

const presenceOf = (reader: Client, who: Client) => reader.ok("GET", `/users/${who.user.id}/presence`);

async function told(stream: TestStream, who: Client, expected: string[], ms = 15_000): Promise<void> {
  await stream.until(() => statuses(stream, who).length >= expected.length, ms);
  assert.deepEqual(statuses(stream, who), expected);
}

/** Three people in a group, and a stream of the first. */
async function prepare(url: string) {
  const [ann, bob, carl] = await Promise.all(["ann", "bob", "carl"].map((name) => register(url, name)));
  assert.ok(ann && bob && carl);
  await createGroup(ann, "group", [bob, carl]);
  return { ann, bob, carl, stream: await openReady("ws", ann) };
}

test("the people of a killed instance are offline within a minute, but for those who came back", () =>
  withServer((t) =>
    withProgram({ DATABASE_URL: t.databaseUrl }, async (program) => {
      const { ann, bob, carl, stream } = await prepare(t.url);
      await openReady("ws", viaInstance(bob, program.url));
      await openReady("sse", viaInstance(carl, program.url));
      await told(stream, bob, ["online"]);
      await told(stream, carl, ["online"]);
      program.kill("SIGKILL");
      await program.exited;
      const killedAt = performance.now();
      const back = await openReady("ws", carl);
      await told(stream, bob, ["online", "offline"], 60_000);
      const seconds = (performance.now() - killedAt) / 1_000;
      assert.ok(seconds > 20, `taken for gone after ${seconds} s`);
      assert.deepEqual(statuses(stream, carl), ["online"]);
      assert.equal((await presenceOf(ann, bob)).status, "offline");
      assert.equal((await presenceOf(ann, carl)).status, "online");
      stream.cut();
      back.cut();
    }),
  ));

test("the people of a stopped instance are soon offline, but for those who come back", () =>
  withServer((t) =>
    withProgram({ DATABASE_URL: t.databaseUrl }, async (program) => {
      const { ann, bob, carl, stream } = await prepare(t.url);
      const bobs = await openReady("ws", viaInstance(bob, program.url));
      const carls = await openReady("ws", viaInstance(carl, program.url));
      await told(stream, bob, ["online"]);
      await told(stream, carl, ["online"]);
      program.kill("SIGTERM");
      await carls.until(() => carls.ended() !== undefined);
      const back = await openReady("ws", carl);
      await bobs.until(() => bobs.ended() !== undefined);
      assert.equal(await exitWithin(program, 10_000), 0);
      const [{ left }] = await query(
        t.databaseUrl,
        `SELECT count(*)::int AS left FROM instances WHERE expires_at < now() + interval '6 s'`,
      );
      assert.equal(left, 1, "its time is short");
      await told(stream, bob, ["online", "offline"], 20_000);
      assert.deepEqual(statuses(stream, carl), ["online"]);
      assert.equal((await presenceOf(ann, bob)).status, "offline");
      assert.equal((await presenceOf(ann, carl)).status, "online");
      stream.cut();
      back.cut();
    }),
  ));

test("an instance that was taken for gone, and is not, has its people shown as online again", () =>
  withServer(async (t) => {
    const { ann, bob, stream } = await prepare(t.url);
    const second = await t.another();
    const bobs = await openReady("ws", viaInstance(bob, second.url));
    await told(stream, bob, ["online"]);
    // As if it had hung for long.
    await query(
      t.databaseUrl,
      `UPDATE instances SET expires_at = now() - interval '1 s'
       WHERE id = (SELECT instance_id FROM presences WHERE user_id = $1)`,
      [bob.user.id],
    );
    assert.equal((await presenceOf(ann, bob)).status, "offline");
    await eventually(async () => assert.equal((await presenceOf(ann, bob)).status, "online"), 30_000);
    await stream.until(() => statuses(stream, bob).at(-1) === "online");
    bobs.cut();
    await stream.until(() => statuses(stream, bob).at(-1) === "offline", 15_000);
    stream.cut();
  }));

test("a crash of Postgres shows as nothing, and who goes after it has gone", () =>
  withPostgres(async (postgres) => {
    const parley = await startTestParley(postgres.url);
    try {
      const { ann, bob, carl, stream } = await prepare(parley.url);
      const bobs = await openReady("sse", bob);
      await told(stream, bob, ["online"]);
      // When this is answered, the statement that told it was, too: else it would be done and told again.
      assert.equal((await presenceOf(ann, bob)).status, "online");
      await postgres.crash();
      await postgres.start();
      const count = async () => (await query(postgres.url, "SELECT count(*)::int AS n FROM presences"))[0].n;
      assert.equal(await count(), 0, "Postgres lost them");
      // What is told while nobody listens is lost.
      const readiness = async () => (await fetch(`${parley.url}/readyz`)).status;
      await eventually(async () => assert.equal(await readiness(), 200), 20_000);
      const carls = await openReady("sse", carl);
      await told(stream, carl, ["online"], 20_000);
      await eventually(async () => assert.equal(await count(), 3), 20_000);
      assert.equal((await presenceOf(ann, bob)).status, "online");
      assert.deepEqual(statuses(stream, bob), ["online"]);
      bobs.cut();
      await told(stream, bob, ["online", "offline"]);
      stream.cut();
      carls.cut();
    } finally {
      await parley.close();
    }
  }));

test.run();
