import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "uvu";
import { createRandom } from "../support/random.ts";
import { type Fault, missingForNetwork, placeOf, withNetwork } from "./hosts.ts";
import type { Finding } from "./scene.ts";

// Postgres, two instances and their clients on a host each. Needs root; else all of it is skipped.

const missing = missingForNetwork();
if (missing !== null) console.log(`SKIPPED: a network of several hosts needs ${missing}`);

/** uvu's test(), or its skip() where no network can be made. */
export const networkTest = missing === null ? test : test.skip;

/** Has links cut one after the other under load, and asserts that nothing came of it but some seconds. */
export async function suffer(recoveryMs: number, faults: readonly Fault[]): Promise<void> {
  const { seed } = createRandom();
  const findings = await run<Finding>("scene.ts", [String(seed), JSON.stringify(faults)]);
  for (const finding of findings) {
    if (finding.kind === "judged") continue;
    const { first, second, how, seconds } = finding.fault;
    assert.ok(finding.tookHold, `${first}–${second} ${how}: the link was as good as before`);
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
export async function run<T>(program: string, args: readonly string[]): Promise<T[]> {
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
