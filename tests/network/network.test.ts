// time limit: 900 s
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "uvu";
import { createRandom } from "../support/random.ts";
import { type Fault, missingForNetwork, placeOf, withNetwork } from "./hosts.ts";
import type { Released } from "./power.ts";
import type { Finding } from "./scene.ts";
import type { Vanished } from "./vanish.ts";

// Postgres, two instances and their clients on a host each, and every link that is used cut in every way, for
// longer than the server needs to notice. Needs root; else all of it is skipped.

const missing = missingForNetwork();
if (missing !== null) console.log(`SKIPPED: a network of several hosts needs ${missing}`);
const check = missing === null ? test : test.skip;

/** The watchdog's two looks, the wait for answers and for a new connection, and as much again. */
const databaseRecoveryMs = 50_000;
/** Clients take a silent connection for dead after 45 s, and come back elsewhere. */
const clientRecoveryMs = 75_000;
/** The heartbeat, attempts to send it, a look at the kernel's table, presence's grace; and as much again. */
const vanishedMs = 130_000;

check("links to Postgres are cut, and nothing is lost, repeated or told in another order", () =>
  suffer(databaseRecoveryMs, [
    { first: "one", second: "postgres", how: "silent", seconds: 15 },
    { first: "two", second: "postgres", how: "back", seconds: 15 },
    { first: "one", second: "postgres", how: "there", seconds: 15 },
    { first: "two", second: "postgres", how: "unreachable", seconds: 6 },
    { first: "one", second: "postgres", how: "unplugged", seconds: 8 },
    { first: "two", second: "postgres", how: "slow", seconds: 8 },
  ]),
);

check("links to clients are cut, and nothing is lost, repeated or told in another order", () =>
  suffer(clientRecoveryMs, [
    { first: "clients", second: "one", how: "silent", seconds: 55 },
    { first: "clients", second: "two", how: "back", seconds: 15 },
    { first: "clients", second: "one", how: "there", seconds: 15 },
    { first: "clients", second: "two", how: "unreachable", seconds: 6 },
    { first: "clients", second: "one", how: "unplugged", seconds: 8 },
    { first: "clients", second: "two", how: "slow", seconds: 8 },
  ]),
);

check(
  "a person whose network died without a word is offline soon, also if only an event stream was open",
  async () => {
    const [vanished] = await run<Vanished>("vanish.ts", []);
    assert.ok(vanished, "was never told offline");
    console.log(`offline after ${vanished.offlineMs} ms`);
    assert.ok(vanished.offlineMs < vanishedMs, `only after ${vanished.offlineMs} ms`);
  },
);

check("a host that loses its power gives its connections to Postgres back within minutes", async () => {
  const [released] = await run<Released>("power.ts", []);
  assert.ok(released && released.connections > 0, "its connections stay");
  console.log(`${released.connections} connections, gone after ${released.releasedMs} ms`);
});

async function suffer(recoveryMs: number, faults: readonly Fault[]): Promise<void> {
  const { seed } = createRandom();
  const findings = await run<Finding>("scene.ts", [String(seed), JSON.stringify(faults)]);
  for (const finding of findings) {
    if (finding.kind === "judged") continue;
    const { first, second, how, seconds } = finding.fault;
    console.log(`${first}–${second} ${how} for ${seconds} s: well again after ${finding.ms} ms`);
    assert.ok(finding.ms < recoveryMs, `${first}–${second} ${how}: well again only after ${finding.ms} ms`);
  }
  const judgement = findings.at(-1);
  assert.ok(judgement?.kind === "judged" && findings.length === faults.length + 1, "the scene broke off");
  const { violations, complaints, acknowledged, heard, connections, repeats } = judgement;
  console.log(
    `${acknowledged} messages, ${repeats} requests repeated, ${heard} events over ${connections} connections`,
  );
  assert.equal(violations, "");
  assert.deepEqual(complaints, [], "the servers logged errors");
  assert.ok(acknowledged > 500 && repeats > 0, "the cuts were hardly felt");
}

/** Makes a network, runs a program of this folder at the clients', and gives what it printed. */
async function run<T>(program: string, args: readonly string[]): Promise<T[]> {
  const lines: T[] = [];
  await withNetwork(async (network) => {
    const [command = "", ...before] = placeOf(network, "clients").through;
    const script = join(import.meta.dirname, program);
    const words = [...before, process.execPath, script, network, ...args];
    const child = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
    const exited = once(child, "exit");
    const end = () => void child.kill("SIGTERM");
    process.once("exit", end);
    try {
      for await (const line of createInterface(child.stdout)) lines.push(JSON.parse(line));
    } finally {
      end();
      await exited;
      process.off("exit", end);
    }
  });
  return lines;
}

test.run();
