// time limit: 180 s
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "uvu";
import type { Client } from "../support/client.ts";
import { type Program, settledBytes, withProgram } from "../support/process.ts";
import { eventually } from "../support/server.ts";
import { cutAll, dial, ended, head, readAnswers, type Wire } from "../support/wire.ts";
import { assertRefusal, createTarget, post, talk, withTarget } from "./target.ts";

// Requests that are meant to cost time or memory: what they may cost, and that others do not notice.

test.after.each(cutAll);

const mebibyte = 1024 * 1024;
/** Little garbage is kept, so that resident memory shows what is held. */
const frugal = { NODE_OPTIONS: "--max-semi-space-size=2", MALLOC_ARENA_MAX: "1" };

test("who asks and asks and never reads costs no memory and no connection of others", () =>
  withProgram(frugal, async (program) => {
    const { ann, auth } = await createTarget(program.url);
    const request = head("GET", "/openapi.json") + head("GET", "/api/v1/users/me", [auth]);
    const attack = async (count: number) => {
      const wires = await Promise.all(Array.from({ length: count }, () => dial(program.url)));
      for (const wire of wires) {
        wire.socket.pause();
        wire.write(request.repeat(500));
      }
      let highest = 0;
      for (let sample = 0; sample < 20; sample++) {
        highest = Math.max(highest, await program.residentBytes());
        await ann.ok("GET", "/users/me");
      }
      for (const wire of wires) wire.cut();
      return highest;
    };
    // Resident memory tells little of what is held, but what stays held would come on top each time: some
    // 150 MiB, twice more.
    const first = await attack(20);
    await assertServes(program, ann, async () => {
      await attack(20);
      const last = await attack(20);
      if (process.env.TEST_LOG_LEVEL) console.log({ first: first / mebibyte, last: last / mebibyte });
      assert.ok(last - first < 150 * mebibyte, `${(last - first) / mebibyte} MiB more each time`);
    });
  }));

test("who asks more than a thousand things at once is cut off, and nobody else notices", () =>
  withProgram({}, async (program) => {
    const { ann, auth } = await createTarget(program.url);
    await assertServes(program, ann, async () => {
      const wire = await dial(program.url);
      wire.write(head("GET", "/api/v1/users/me", [auth]).repeat(5_000));
      await ended(wire);
    });
  }));

test("what is asked in one piece is carried out in its order, and not once its client is gone", () =>
  withTarget(async (target) => {
    const { ann, auth, discussionId } = target;
    const path = `/discussions/${discussionId}/messages`;
    const wire = await dial(ann.url);
    const pairs = Array.from({ length: 20 }, (_, index) => [
      post(target, `${index}`),
      head("GET", `/api/v1${path}?limit=1`, [auth]),
    ]);
    wire.write(pairs.flat().join(""));
    await eventually(() => assert.equal(readAnswers(wire).length, 40));
    const read = readAnswers(wire).filter((_, index) => index % 2 === 1);
    assert.deepEqual(
      read.map(({ body }) => JSON.parse(body).items[0].content),
      pairs.map((_, index) => `${index}`),
    );
    const gone = await dial(ann.url);
    gone.write(post(target, "gone").repeat(400));
    await once(gone.socket, "data");
    gone.socket.resetAndDestroy();
    await ann.send(discussionId, "the end");
    const { last_seq } = await ann.ok("GET", `/discussions/${discussionId}`);
    assert.ok(last_seq < 200, `${last_seq} messages: those of who had gone were still sent`);
  }));

/** Runs something under which the server goes on serving others, without a complaint in its log. */
async function assertServes(program: Program, other: Client, act: () => Promise<void>): Promise<void> {
  await act();
  await other.ok("GET", "/users/me");
  assert.ok(program.isRunning());
  assert.equal(program.stderr(), "");
}

test("slow heads, slow bodies and silent connections are given up, and others are served meanwhile", () =>
  withProgram({}, async (program) => {
    const { ann, auth } = await createTarget(program.url);
    const json = [auth, "Content-Type: application/json"];
    const posts = "/api/v1/discussions";
    const begin: Record<string, string> = {
      silent: "",
      "a head": "GET /api/v1/users/me HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
      "a body with its length": `${head("POST", posts, [...json, "Content-Length: 100000"])}{"kind":"`,
      "a body in chunks": `${head("POST", posts, [...json, "Transfer-Encoding: chunked"])}`,
      "an open body": `${head("POST", "/api/v1/auth/login", [...json, "Content-Length: 1000"])}{"username":"`,
    };
    const slow = Object.entries(begin).flatMap(([what, bytes]) => Array(40).fill([what, bytes]));
    await assertServes(program, ann, async () => {
      const wires = await Promise.all(
        slow.map(async ([what, bytes]): Promise<[string, Wire]> => {
          const wire = await dial(program.url);
          wire.write(bytes);
          return [what, wire];
        }),
      );
      // A byte now and then, which is no sign of good will.
      const drip = setInterval(() => {
        for (const [what, wire] of wires)
          if (what !== "silent") wire.write(what === "a body in chunks" ? "1\r\nx\r\n" : "x");
      }, 1_000);
      try {
        await eventually(async () => {
          await ann.ok("GET", "/users/me");
          const open = wires.filter(([, wire]) => !wire.isClosed()).map(([what]) => what);
          assert.deepEqual([...new Set(open)], []);
        }, 60_000);
      } finally {
        clearInterval(drip);
      }
      for (const [what, wire] of wires) {
        const answers = readAnswers(wire);
        assert.ok(answers.length <= 1, what);
        if (what !== "silent") assertRefusal(answers[0], what, [408]);
      }
    });
  }));

test("a body over the bound is 413 at once or when it gets there, and nothing of it is kept", () =>
  withProgram(frugal, async (program) => {
    const { ann, auth, discussionId } = await createTarget(program.url);
    const target = `/api/v1/discussions/${discussionId}/messages`;
    const json = [auth, "Content-Type: application/json"];
    const piece = "x".repeat(64 * 1024);
    const chunk = `${piece.length.toString(16)}\r\n${piece}\r\n`;
    const attack = async (count: number) => {
      const told = await talk(program.url, head("POST", target, [...json, "Content-Length: 9999999999"]));
      assertRefusal(told.answers[0], "told", [413]);
      const wires = await Promise.all(Array.from({ length: count }, () => dial(program.url)));
      for (const wire of wires) wire.write(head("POST", target, [...json, "Transfer-Encoding: chunked"]));
      await Promise.all(
        wires.map(async (wire) => {
          // Who is refused and goes on all the same is cut off.
          for (let sent = 0; sent < 64 * mebibyte && !wire.isClosed(); sent += chunk.length) {
            wire.write(chunk);
            if (wire.socket.writableNeedDrain)
              await Promise.race([wire.closed, new Promise((resolve) => wire.socket.once("drain", resolve))]);
            // As long as the server reads as fast as this writes, nothing else would be done here, and the
            // answer not be read before the end.
            await new Promise(setImmediate);
          }
          await ended(wire);
          assertRefusal(readAnswers(wire)[0], "in chunks", [413]);
        }),
      );
    };
    for (let round = 0; round < 2; round++) await attack(20); // Warm.
    const before = await settledBytes(program);
    await assertServes(program, ann, () => attack(20));
    const more = ((await settledBytes(program)) - before) / mebibyte;
    assert.ok(more < 40, `${more} MiB stay`);
    assert.deepEqual((await ann.ok("GET", `/discussions/${discussionId}/messages`)).items, []);
  }));

test.run();
