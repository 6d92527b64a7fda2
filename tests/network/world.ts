import { Instance } from "../../scripts/torture/instance.ts";
import { type OwnPostgres, withPostgres } from "../support/postgres.ts";
import { placeOf } from "./hosts.ts";

/** Postgres and its two instances, each at its place in a network. */
export interface World {
  postgres: OwnPostgres;
  instances: readonly [one: Instance, two: Instance];
}

/** For a program that runs at the clients': starts all that, and ends it however the program ends. */
export async function withWorld(network: string, act: (world: World) => Promise<void>): Promise<void> {
  process.once("SIGTERM", () => process.exit(1));
  // Whoever started this program holds its other end.
  process.stdin.on("end", () => process.exit(1)).resume();
  const { address, through } = placeOf(network, "postgres");
  const settings = { listen_addresses: address };
  await withPostgres(
    async (postgres) => {
      const url = `postgres://postgres@${address}:${new URL(postgres.url).port}/parley`;
      const env = { DATABASE_URL: url, HOST: "0.0.0.0" };
      const one = new Instance("instance one", env, placeOf(network, "one"));
      const two = new Instance("instance two", env, placeOf(network, "two"));
      try {
        await one.start();
        await two.start();
        await act({ postgres, instances: [one, two] });
      } finally {
        await Promise.all([one.kill(), two.kill()]);
      }
    },
    { through, from: "10.77.0.0/16", settings },
  );
}
