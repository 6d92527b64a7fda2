import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { check, describeViolations } from "../../scripts/torture/checker.ts";
import { Load } from "../../scripts/torture/load.ts";
import { readTruth } from "../../scripts/torture/truth.ts";
import { type Client, register } from "../support/client.ts";
import type { Random } from "../support/random.ts";
import { eventually } from "../support/server.ts";

const size = { restWriters: 3, socketWriters: 2, listeners: 1, pauseMs: 10 };
const warmUpMessages = 50;

/** Not even an earlier version does anything wrong. */
export const nothing = /^$/;

/**
 * Runs a test while people write, change, read and listen at all instances, which may become others while
 * they do: in the end each must have heard exactly what the log holds for them, and no request may have
 * failed but with 503 and Retry-After. `more` resolves when so many more messages were stored.
 */

export async function withLoad(
  databaseUrl: string,
  urls: readonly string[],
  random: Random,
  /** Lines of the checker that tell of what an earlier version is known to do wrong. */
  known: RegExp,
  act: (more: (count: number) => Promise<void>) => Promise<void>,
): Promise<void> {
  const service = { urls };
  const load = new Load(service, random, size);
  try {
    await load.start();
    const caller = await startCaller(service, random.fork("caller"));
    const more = (count: number) => {
      const wanted = load.acknowledged() + count;
      return eventually(() => assert.ok(load.acknowledged() >= wanted, "people write"), 60_000);
    };
    try {
      await more(warmUpMessages);
      await act(more);
    } finally {
      await caller.stop();
    }
    await load.quiesce();
    console.log(
      `${load.acknowledged()} messages, ${load.repeats()} asked again, ${caller.calls()} other calls`,
    );
    const violations = check(load.history(), await readTruth(databaseUrl));
    const lines = describeViolations(violations).split("\n");
    assert.deepEqual(
      lines.filter((line) => line !== "" && !known.test(line)),
      [],
    );
    assert.deepEqual(caller.failures, []);
  } finally {
    load.close();
  }
}

/** Somebody who asks for everything, again and again, of any instance. */
async function startCaller(service: { urls: readonly string[] }, random: Random) {
  const people = await Promise.all(["carl", "dora"].map((name) => register(service.urls[0] ?? "", name)));
  const [carl, dora] = people as [Client, Client];
  const failures: string[] = [];
  let calls = 0;
  let isStopping = false;
  const ask = async (client: Client, method: string, path: string, body?: unknown) => {
    calls++;
    const response = await fetch(`${random.pick(service.urls)}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${client.token}`,
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    }).catch(() => null);
    // An instance that is being ended gives no answer.
    if (!response) return null;
    const text = await response.text();
    const isLater = response.status === 503 && response.headers.has("retry-after");
    // What a step that got no answer was to make may not be there: 404 is an answer.
    const isWrong = response.status === 400 || (response.status >= 500 && !isLater);
    if (isWrong) failures.push(`${method} ${path} → ${response.status} ${text}`);
    return response.ok && text !== "" ? JSON.parse(text) : null;
  };
  const walk = async () => {
    while (!isStopping) {
      await lookAround(ask, carl, dora);
      await sleep(5);
    }
  };
  const done = Promise.all([walk(), walk()]);
  done.catch(() => {}); // Told by stop().
  const stop = () => {
    isStopping = true;
    return done;
  };
  return { failures, calls: () => calls, stop };
}

type Ask = (
  client: Client,
  method: string,
  path: string,
  body?: unknown,
) => Promise<{ id: string; seq: number } | null>;

/** One life of a group, with statements of each kind in it. */
async function lookAround(ask: Ask, carl: Client, dora: Client): Promise<void> {
  const group = await ask(carl, "POST", "/discussions", {
    kind: "group",
    name: `${Math.random()}`,
    member_ids: [],
  });
  // An answer that did not come: whatever was to follow has nothing to stand on.
  if (!group) return;
  const path = `/discussions/${group.id}`;
  await ask(carl, "POST", `${path}/members`, { user_ids: [dora.user.id] });
  const message = await ask(dora, "POST", `${path}/messages`, { content: "hello @carl" });
  const one = `${path}/messages/${message?.seq ?? 1}`;
  await ask(dora, "PATCH", one, { content: "hello again" });
  await ask(carl, "PUT", `${one}/reactions/%F0%9F%91%8D`);
  await ask(carl, "PUT", `${path}/read`, { seq: 1 });
  await ask(carl, "POST", `${path}/typing`);
  for (const read of ["/messages", "/messages/1/edits", "/members", "/presence", ""]) {
    await ask(dora, "GET", path + read);
  }
  for (const read of [
    "/discussions?limit=5",
    "/messages?limit=5",
    "/search?q=hello",
    "/users",
    "/users/me",
  ]) {
    await ask(carl, "GET", read);
  }
  await ask(carl, "POST", "/auth/tickets");
  await ask(carl, "PATCH", path, { name: "renamed" });
  await ask(dora, "DELETE", one);
  await ask(carl, "DELETE", `${path}/members/${dora.user.id}`);
  await ask(carl, "DELETE", path);
}
