import assert from "node:assert/strict";
import pg from "pg";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { type Answer, assertProblem, type Client } from "../support/client.ts";
import { upload } from "../support/files.ts";
import { readMetric } from "../support/metrics.ts";
import { countLockWaits } from "../support/postgres.ts";
import { eventually, type TestServer, withServer } from "../support/server.ts";
import { createRoom, env } from "./help.ts";

/** Lets messages wait, and go on together when `act` has seen to it that they do. */
async function whileHeld<T>(t: TestServer, discussionId: string, act: () => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: t.databaseUrl });
  await client.connect();
  try {
    await client.query("BEGIN");
    await client.query("SELECT lock_discussions(ARRAY[$1]::uuid[])", [discussionId]);
    return await act();
  } finally {
    await client.end();
  }
}

/** Until so many messages wait for the next batch. */
async function waiting(t: TestServer, count: number): Promise<void> {
  await eventually(async () => {
    assert.equal(await readMetric(t.url, "parley_sends_waiting"), count);
  });
}

test("a reply to what is in the same batch comes too early, and is told so, with attachments too", () =>
  withServer(async (t) => {
    const { ann, bob, carl, eve, id } = await createRoom(t.url);
    await ann.ok("POST", `/discussions/${id}/members`, { user_ids: [eve.user.id] });
    const path = `/discussions/${id}/messages`;
    const [file, other] = [await upload(carl, "x"), await upload(carl, "y")];
    const reply = { content: "reply", reply_to_seq: 2 };
    const replyWithFile = { ...reply, attachment_ids: [file.id] };
    const early = await whileHeld(t, id, async () => {
      const first = ann.call("POST", path, { content: "first, alone in its batch" });
      await eventually(async () => assert.equal(await countLockWaits(t.databaseUrl), 1));
      const second = bob.call("POST", path, { content: "second" });
      await waiting(t, 1);
      const answers = [eve.call("POST", path, reply), carl.call("POST", path, replyWithFile)];
      await waiting(t, 3);
      return { first, second, answers };
    });
    assert.equal((await early.first).body.seq, 1);
    assert.equal((await early.second).body.seq, 2);
    for (const answer of early.answers) assertProblem(await answer, 404, "reply_not_found");
    const missing = { content: "reply", reply_to_seq: 2, attachment_ids: [other.id, id] };
    assertProblem(await carl.call("POST", path, missing), 404, "attachment_not_found");
    for (const late of [reply, replyWithFile]) {
      assert.equal((await carl.call("POST", path, late)).status, 201);
    }
  }, env));

test("whose sends can only go one by one holds up nobody else", () =>
  withServer(async (t) => {
    const { ann, bob, carl, id } = await createRoom(t.url);
    const path = `/discussions/${id}/messages`;
    await ann.send(id, "to be replied to");
    const send = (client: Client, count: number, more: (index: number) => object) =>
      Array.from({ length: count }, (_, index) =>
        client.call("POST", path, { content: `${index}`, ...more(index) }),
      );
    const { replies, again, others } = await whileHeld(t, id, async () => {
      const replies = send(ann, 200, () => ({ reply_to_seq: 1 }));
      await waiting(t, 199);
      // With these, two batches are in flight, and no more.
      const again = send(bob, limits.batchWorthwhile, () => ({}));
      await waiting(t, 199);
      again.push(...send(bob, 40, () => ({ content: "again", client_id: "the same" })));
      const others = send(carl, 40, () => ({}));
      await waiting(t, 199 + 40 + 40);
      return { replies, again, others };
    });
    const seqs = async (answers: Promise<Answer>[]) => {
      const found = await Promise.all(answers);
      return new Set<number>(found.map(({ body }) => body.seq));
    };
    const lastOfOthers = Math.max(...(await seqs(others)));
    const ofReplies = await seqs(replies);
    assert.deepEqual([ofReplies.size, (await seqs(again)).size], [200, limits.batchWorthwhile + 1]);
    const before = [...ofReplies].filter((seq) => seq < lastOfOthers).length;
    assert.ok(before <= 5, `${before} replies were stored before what others had sent`);
  }, env));

test.run();
