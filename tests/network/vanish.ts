/**
 * Somebody with an event stream at one instance whose network dies without a word, as a program that runs
 * at the clients'. `vanish.ts <network>`; prints how long it took until the other instance told that person
 * offline.
 */
import assert from "node:assert/strict";
import { openEvents } from "../../scripts/torture/load/connection.ts";
import { register } from "../support/client.ts";
import { eventually } from "../support/server.ts";
import { cut } from "./hosts.ts";
import { withWorld } from "./world.ts";

export interface Vanished {
  offlineMs: number;
}

const patienceMs = 400_000;

const [network = ""] = process.argv.slice(2);
await withWorld(network, async ({ instances: [one, two] }) => {
  const ann = await register(two.url, "ann");
  const bob = await register(two.url, "bob");
  await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
  const status = async () => (await bob.ok("GET", `/users/${ann.user.id}/presence`)).status;
  openEvents(`${one.url}/api/v1/events`, ann.token, { opened() {}, took() {}, ended() {} });
  await eventually(async () => assert.equal(await status(), "online"));
  cut(network, { first: "clients", second: "one", how: "silent", seconds: 0 });
  const startedAt = performance.now();
  await eventually(async () => assert.equal(await status(), "offline"), patienceMs);
  const vanished: Vanished = { offlineMs: Math.round(performance.now() - startedAt) };
  console.log(JSON.stringify(vanished));
});
process.exit();
