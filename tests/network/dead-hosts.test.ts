// time limit: 800 s
import assert from "node:assert/strict";
import { test } from "uvu";
import type { Released } from "./power.ts";
import { networkTest, run } from "./run.ts";
import type { Vanished } from "./vanish.ts";

/** The heartbeat, attempts to send it, a look at the kernel's table, presence's grace; and as much again. */
const vanishedMs = 285_000;

networkTest(
  "a person whose network died without a word is offline soon, also if only an event stream was open",
  async () => {
    const [vanished] = await run<Vanished>("vanish.ts", []);
    assert.ok(vanished, "was never told offline");
    console.log(`offline after ${vanished.offlineMs} ms`);
    assert.ok(vanished.offlineMs < vanishedMs, `only after ${vanished.offlineMs} ms`);
  },
);

networkTest("a host that loses its power gives its connections to Postgres back within minutes", async () => {
  const [released] = await run<Released>("power.ts", []);
  assert.ok(released && released.connections > 0, "its connections stay");
  console.log(`${released.connections} connections, gone after ${released.releasedMs} ms`);
});

test.run();
