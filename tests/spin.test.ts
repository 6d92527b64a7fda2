// time limit: 240 s
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";

// Spin tries every interleaving of models/log.pml. Where `spin` or `gcc` is missing, all of it is skipped.

const run = promisify(execFile);
const model = join(import.meta.dirname, "../models/log.pml");
const limits = { depth: 10_000, megabytes: 900, ms: 150_000 };

/** What Spin prints of the assertions of the model that a mistake breaks. */
const leftOut = /assertion violated +!\(.*&\s*~\(seen\)/;
const twice = /assertion violated +!\(\(seen&\(1<<position\)\)\)/;
const notCommitted = /assertion violated +\(committed&\(1<<position\)\)/;
const neverArrives = /acceptance cycle/;

/** Mistakes that can be made in such a log, and what each leads to. */
const mistakes = [
  { flag: "SUBSCRIBE_AFTER_READ", what: "live only some time after the replay", leadsTo: leftOut },
  { flag: "BARE_SEQUENCE", what: "positions from a sequence, without the lock", leadsTo: leftOut },
  { flag: "TRUST_NOTIFY", what: "announced events taken without a look at `from`", leadsTo: leftOut },
  { flag: "CURSOR_AFTER_SNAPSHOT", what: "a cursor read after its data", leadsTo: leftOut },
  { flag: "CURSOR_BEFORE_SNAPSHOT", what: "a cursor read before its data", leadsTo: twice },
  { flag: "OFFER_AGAIN", what: "a feed behind the cursor that shows what it comes to", leadsTo: twice },
  { flag: "PUBLISH_BEFORE_COMMIT", what: "announced before the commit", leadsTo: notCommitted },
  { flag: "NO_WATCHDOG", what: "nobody looks whether a NOTIFY was lost", leadsTo: neverArrives },
];

/** What must happen in some runs, as the model names it: else "no errors" would say little. */
const witnesses = [
  "OWN_EVENTS",
  "KEPT_ANNOUNCEMENT",
  "BARE_RANGE",
  "REPLAY_FROM_MEMORY",
  "REPLAY_FROM_TABLE",
  "FEED_BEHIND_CURSOR",
  "NEWS_DURING_REPLAY",
  "EVERYTHING_STORED_AND_READ",
];

const missing = ["spin", "gcc"].filter((program) => spawnSync(program, ["--version"]).error !== undefined);
if (missing.length > 0) console.log(`SKIPPED: the model of the log needs ${missing.join(" and ")}`);
const check = missing.length > 0 ? test.skip : test;

check("whatever comes in between, a stream tells each event once, in order, and all", async () => {
  const found = await search([], "liveness");
  assert.equal(found.errors, 0, found.output);
  console.log(`${found.states} states, no errors`);
  assert.ok(found.states > 100_000, "the model is larger than that");
});

for (const { flag, what, leadsTo } of mistakes) {
  check(`Spin finds a mistake: ${what}`, async () => {
    const found = await search([flag], leadsTo === neverArrives ? "liveness" : "safety");
    assert.ok(found.errors >= 1, `${flag} was not noticed`);
    assert.match(found.output, leadsTo);
  });
}

for (const witness of witnesses) {
  check(`it happens in the model: ${witness.toLowerCase().replaceAll("_", " ")}`, async () => {
    const found = await search([`WITNESS=${witness}`], "safety");
    assert.ok(found.errors >= 1, "does not happen");
    assert.match(found.output, /assertion violated \(\d+!=\d+\)/);
  });
}

interface Found {
  errors: number;
  states: number;
  output: string;
}

/**
 * Searches all states of the model with these definitions: for assertions that do not hold and for dead
 * ends ("safety"), or for these and for runs that never come to what `arrives` says ("liveness").
 * Throws if the search was cut short by anything but an error that it found.
 */
async function search(definitions: string[], kind: "safety" | "liveness"): Promise<Found> {
  const cwd = await mkdtemp(join(tmpdir(), "parley-spin-"));
  const options = { cwd, timeout: limits.ms, maxBuffer: 16 * 1024 * 1024 };
  try {
    await run("spin", ["-a", ...definitions.map((definition) => `-D${definition}`), model], options);
    const how = kind === "safety" ? ["-DSAFETY", "-DNOCLAIM"] : ["-DNOFAIR"];
    await run("gcc", ["-O1", "-w", `-DMEMLIM=${limits.megabytes}`, ...how, "-o", "pan", "pan.c"], options);
    const arguments_ = [`-m${limits.depth}`, ...(kind === "liveness" ? ["-a"] : [])];
    return read((await run(join(cwd, "pan"), arguments_, options)).stdout);
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}

function read(output: string): Found {
  assert.doesNotMatch(output, /search depth too small|out of memory|memory limit|VECTORSZ/i);
  const errors = Number(/, errors: (\d+)$/m.exec(output)?.[1] ?? Number.NaN);
  const states = Number(/^ *([\d.e+]+) states, stored/m.exec(output)?.[1] ?? Number.NaN);
  assert.ok(errors >= 0 && states > 0, `Spin's verdict is missing:\n${output}`);
  if (errors === 0) assert.doesNotMatch(output, /Search not completed/);
  return { errors, states, output };
}

test.run();
