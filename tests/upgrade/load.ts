import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { check } from "../../scripts/torture/checker.ts";
import { Load } from "../../scripts/torture/load.ts";
import { Archive } from "../../scripts/torture/truth.ts";
import { describeViolations } from "../../scripts/torture/violation.ts";
import { type Client, register } from "../support/client.ts";
import type { Random } from "../support/random.ts";
import { eventually } from "../support/server.ts";

const size = { restWriters: 3, socketWriters: 2, listeners: 1, pauseMs: 10 };
const warmUpMessages = 50;
const fewestWhole = 5;

/** Not even an earlier version does anything wrong. */
export const nothing = /^$/;

/**
 * Runs a test while people write, change, read and listen at all instances, which may become others while
 * they do: in the end each must have heard exactly what the log holds for them, and no request may have
 * failed but with 503 and Retry-After. `more` resolves when so many more messages were stored. Gives how many
 * requests got no answer, as happens where an instance ends.
 */
export async function withLoad(
  databaseUrl: string,
  urls: readonly string[],
  random: Random,
  /** Lines of the checker that tell of what an earlier version is known to do wrong. */
  known: RegExp,
  act: (more: (count: number) => Promise<void>) => Promise<void>,
): Promise<{ unanswered: number }> {
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
    const { whole, broken, unanswered, later, failures } = caller.report;
    console.log(
      `${load.acknowledged()} messages, ${load.repeats()} asked again; lives of a group: ${whole} whole, ` +
        `${broken} broken off by ${unanswered} requests without an answer and ${later} answered 503`,
    );
    const violations = check(load.history(), await new Archive().read(databaseUrl));
    const unknown = violations.filter((violation) => !known.test(describeViolations([violation])));
    assert.equal(describeViolations(unknown), "");
    assert.deepEqual(failures, []);
    assert.ok(whole >= fewestWhole, `only ${whole} lives of a group were whole`);
    return { unanswered };
  } finally {
    load.close();
  }
}

/** What came of the lives of groups. */
interface Report {
  /** Those in which every request was carried out. */
  whole: number;
  broken: number;
  unanswered: number;
  /** Requests that were answered with 503 and Retry-After. */
  later: number;
  /** All other answers that are not as they should be. */
  failures: string[];
}

/** People who live through groups, again and again, each step at any instance. */
async function startCaller(service: { urls: readonly string[] }, random: Random) {
  const people = await Promise.all(["carl", "dora"].map((name) => register(service.urls[0] ?? "", name)));
  const [carl, dora] = people as [Client, Client];
  const report: Report = { whole: 0, broken: 0, unanswered: 0, later: 0, failures: [] };
  let isStopping = false;
  const walk = async () => {
    while (!isStopping) {
      const { ask, isWhole } = createAsk(() => random.pick(service.urls), report);
      await liveThrough(ask, carl, dora);
      report[isWhole() ? "whole" : "broken"]++;
      await sleep(5);
    }
  };
  const done = Promise.all([walk(), walk()]);
  done.catch(() => {}); // Told by stop().
  const stop = () => {
    isStopping = true;
    return done;
  };
  return { report, stop };
}

type Ask = (
  client: Client,
  method: string,
  path: string,
  body?: unknown,
) => Promise<{ id: string; seq: number } | null>;

/** What a step that was not carried out was to make is not there: these are answers to those after it. */
const afterGap = [403, 404, 409];

/** For the steps of one life; each gives null if it was not carried out, or nobody knows. */
function createAsk(urlOf: () => string, report: Report): { ask: Ask; isWhole: () => boolean } {
  let hasGap = false;
  const ask: Ask = async (client, method, path, body) => {
    const answer = await fetch(`${urlOf()}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${client.token}`,
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
      .then(async (response) => ({ response, text: await response.text() }))
      .catch(() => null);
    if (answer?.response.ok) return JSON.parse(answer.text || "{}");
    const isLater = answer?.response.status === 503 && answer.response.headers.has("retry-after");
    if (!answer) report.unanswered++;
    else if (isLater) report.later++;
    else if (!hasGap || !afterGap.includes(answer.response.status))
      report.failures.push(`${method} ${path} → ${answer.response.status} ${answer.text}`);
    hasGap = true;
    return null;
  };
  return { ask, isWhole: () => !hasGap };
}

/** One life of a group, with statements of each kind in it. */
async function liveThrough(ask: Ask, carl: Client, dora: Client): Promise<void> {
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
