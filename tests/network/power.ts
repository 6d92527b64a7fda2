/**
 * An instance whose host loses its power: no goodbye ever comes to Postgres. A program that runs at the
 * clients'. `power.ts <network>`; prints how long it took until Postgres had let go of its connections.
 */
import assert from "node:assert/strict";
import { query } from "../support/postgres.ts";
import { eventually } from "../support/server.ts";
import { cut, placeOf } from "./hosts.ts";
import { withWorld } from "./world.ts";

export interface Released {
  connections: number;
  releasedMs: number;
}

const patienceMs = 150_000;

const [network = ""] = process.argv.slice(2);
await withWorld(network, async ({ postgres, instances: [one] }) => {
  const { address } = placeOf(network, "one");
  const count = async () => {
    const [{ connections }] = await query(
      postgres.url,
      `SELECT count(*)::int AS connections FROM pg_stat_activity
       WHERE client_addr = $1 AND query NOT ILIKE 'LISTEN%'`,
      [address],
    );
    return connections;
  };
  const connections = await count();
  cut(network, { first: "one", second: "postgres", how: "silent", seconds: 0 });
  await one.kill();
  const startedAt = performance.now();
  await eventually(async () => assert.equal(await count(), 0), patienceMs);
  const released: Released = { connections, releasedMs: Math.round(performance.now() - startedAt) };
  console.log(JSON.stringify(released));
});
process.exit();
