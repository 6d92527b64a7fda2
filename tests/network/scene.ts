/**
 * What happens on a network of several hosts, as a program that runs at the clients': Postgres and two
 * instances start in their places, people write and read at both, links are cut one after the other, and
 * what everybody heard is judged. `scene.ts <network> <faults as JSON>`; prints what it found as lines of
 * JSON.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { check } from "../../scripts/torture/checker.ts";
import { Load } from "../../scripts/torture/load.ts";
import { Archive } from "../../scripts/torture/truth.ts";
import { describeViolations } from "../../scripts/torture/violation.ts";
import { randomOf } from "../support/random.ts";
import { eventually } from "../support/server.ts";
import { cut, type Fault, heldBack, isOpen } from "./hosts.ts";
import { type World, withWorld } from "./world.ts";

/**
 * What is printed: after each fault, how long it took until all was well again; and in the end, the
 * judgement.
 */
export type Finding =
  | { kind: "recovered"; fault: Fault; tookHold: boolean; ms: number }
  | {
      kind: "judged";
      violations: string;
      complaints: string[];
      acknowledged: number;
      heard: number;
      connections: number;
      repeats: number;
    };

/** Until a fault is healed and all works again, whatever the bound that is then asserted. */
const patienceMs = 150_000;

interface Scene extends World {
  network: string;
  load: Load;
}

const [network = "", seed = "0", faults = "[]"] = process.argv.slice(2);
await withWorld(network, (world) => play(network, world));
process.exit();

async function play(network: string, world: World): Promise<void> {
  const size = { restWriters: 3, socketWriters: 2, listeners: 1, pauseMs: 60 };
  const load = new Load({ urls: world.instances.map(({ url }) => url) }, randomOf(Number(seed)), size);
  const scene = { network, load, ...world };
  await load.start();
  for (const fault of JSON.parse(faults)) await suffer(scene, fault);
  await load.quiesce();
  await judge(scene);
}

async function suffer(scene: Scene, fault: Fault): Promise<void> {
  const heal = cut(scene.network, fault);
  await sleep(fault.seconds * 1_000);
  const wasBad = await isBad(scene, fault);
  heal();
  const startedAt = performance.now();
  for (const [place, { url }] of scene.instances.entries()) {
    await eventually(() => assertReady(url), patienceMs);
    await scene.load.probe(place, patienceMs);
  }
  const ms = Math.round(performance.now() - startedAt);
  const tookHold = wasBad && (await isOpen(scene.network, fault, portOf(scene, fault)));
  tell({ kind: "recovered", fault, tookHold, ms });
}

/** No connection comes about over it any more; or, if it is only slow, it has held something back. */
async function isBad(scene: Scene, fault: Fault): Promise<boolean> {
  if (fault.how === "slow") return heldBack(scene.network, fault) > 0;
  return !(await isOpen(scene.network, fault, portOf(scene, fault)));
}

/** Where the second host of a link can be reached. */
function portOf({ postgres, instances: [one, two] }: Scene, { second }: Fault): number {
  const { url } = second === "postgres" ? postgres : second === "one" ? one : two;
  return Number(new URL(url).port);
}

async function assertReady(url: string): Promise<void> {
  const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(5_000) });
  await response.body?.cancel();
  if (response.status !== 200) throw new Error(`${url} is not ready: ${response.status}`);
}

async function judge({ postgres, instances, load }: Scene): Promise<void> {
  load.close();
  for (const instance of instances) await instance.stop();
  const history = load.history();
  const violations = check(history, await new Archive().read(postgres.url));
  tell({
    kind: "judged",
    violations: describeViolations(violations),
    complaints: instances.flatMap(({ complaints }) => complaints),
    acknowledged: load.acknowledged(),
    heard: history.subscriptions.reduce((sum, { heard }) => sum + heard.length, 0),
    connections: load.connections(),
    repeats: load.repeats(),
  });
}

function tell(finding: Finding): void {
  console.log(JSON.stringify(finding));
}
