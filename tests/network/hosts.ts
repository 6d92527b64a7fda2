/**
 * Several hosts on this machine: network namespaces, each with an address of its own, and between them a
 * router that can be told to lose what one of them sends to another. Needs root, `ip` and `tc` (Debian:
 * iproute2), `sysctl` (procps) and `setpriv` (util-linux).
 */
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { promisify } from "node:util";
import type { Place } from "../../scripts/torture/instance.ts";

/** Ways in which a connection between two hosts can be bad. */
export const cuts = {
  /** Nothing passes, and nobody is told. */
  silent: "nothing passes in either direction, silently",
  /** What the first sends to the second is lost; the answers would pass. */
  there: "nothing passes from the first to the second, silently",
  back: "nothing passes from the second to the first, silently",
  /** The router answers that there is no way. */
  unreachable: "the other is unreachable, and everybody is told so",
  /** The second one's cable is out: also for all others. */
  unplugged: "the cable of the second is pulled out",
  /** 400 kbit/s for all that the second hears and says; what does not fit is lost. */
  slow: "a line so slow that it loses much",
} as const;
export type Cut = keyof typeof cuts;

/** One link that is bad for a while. */
export interface Fault {
  first: Host;
  second: Host;
  how: Cut;
  seconds: number;
}

export const hosts = ["postgres", "one", "two", "clients"] as const;
export type Host = (typeof hosts)[number];

const run = promisify(execFile);
/** A new connection within a machine takes less than a millisecond. */
const connectMs = 2_000;
const prefix = "parley";
const router = "router" as const;
const forwarding = ["sysctl", "-qw", "net.ipv4.ip_forward=1"];
const slowLine = ["root", "tbf", "rate", "400kbit", "burst", "4kb", "latency", "300ms"];

/** Why there can be no network of namespaces here; null if there can. */
export function missingForNetwork(): string | null {
  if (process.getuid?.() !== 0) return "root";
  if (spawnSync("ip", ["-V"]).error) return "ip (iproute2)";
  if (spawnSync("setpriv", ["--version"]).error) return "setpriv (util-linux)";
  const name = nameOf(String(process.pid), "router");
  if (spawnSync("ip", ["netns", "add", name]).status !== 0) return "the right to make network namespaces";
  try {
    if (!isDone("ip", ["netns", "exec", name, ...forwarding]))
      return "sysctl (procps), and the right to forward";
    const slow = ["-n", name, "qdisc", "add", "dev", "lo", ...slowLine];
    return isDone("tc", slow) ? null : "tc (iproute2) and the kernel's tbf";
  } finally {
    ip("netns", "del", name);
  }
}

function isDone(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

/**
 * Runs a test with a network of all hosts and takes that away again, however the test ends. Gives the word
 * by which other processes find it.
 */
export async function withNetwork(act: (id: string) => Promise<void>): Promise<void> {
  const id = String(process.pid);
  removeLeftovers();
  const remove = () => {
    for (const host of [...hosts, router] as const) spawnSync("ip", ["netns", "del", nameOf(id, host)]);
  };
  const endInOrder = () => process.exit(1);
  process.once("exit", remove).once("SIGTERM", endInOrder).once("SIGINT", endInOrder);
  try {
    ip("netns", "add", nameOf(id, router));
    execFileSync("ip", ["netns", "exec", nameOf(id, router), ...forwarding]);
    for (const host of hosts) connectHost(id, host);
    await act(id);
  } finally {
    process.off("exit", remove).off("SIGTERM", endInOrder).off("SIGINT", endInOrder);
    remove();
  }
}

export function placeOf(id: string, host: Host): Place {
  return { address: addressOf(host), through: ["ip", "netns", "exec", nameOf(id, host)] };
}

/** Cuts a link and returns what heals it. */
export function cut(id: string, { first, second, how }: Fault): () => void {
  const [there, back] = [from(first, second), from(second, first)];
  if (how === "silent") return all(lose(id, there, "blackhole"), lose(id, back, "blackhole"));
  if (how === "there") return lose(id, there, "blackhole");
  if (how === "back") return lose(id, back, "blackhole");
  if (how === "unreachable") return all(lose(id, there, "unreachable"), lose(id, back, "unreachable"));
  if (how === "unplugged") return unplug(id, second);
  return all(slowDown(nameOf(id, router), second), slowDown(nameOf(id, second), "eth0"));
}

/** Whether a connection from the first host to the second comes about. */
export async function isOpen(id: string, { first, second }: Fault, port: number): Promise<boolean> {
  const [command = "", ...through] = placeOf(id, first).through;
  const words = [process.execPath, "-e", connecting, addressOf(second), String(port)];
  return run(command, [...through, ...words]).then(
    () => true,
    () => false,
  );
}

const connecting = `
  const [host, port] = process.argv.slice(1);
  require("node:net").connect(port, host, () => process.exit(0)).on("error", () => process.exit(1));
  setTimeout(() => process.exit(1), ${connectMs});`;

/** How many packets a slow line has held back so far. */
export function heldBack(id: string, { second }: Fault): number {
  const words = ["-s", "-n", nameOf(id, second), "qdisc", "show", "dev", "eth0"];
  return Number(/overlimits (\d+)/.exec(execFileSync("tc", words, { encoding: "utf8" }))?.[1] ?? 0);
}

function all(...heal: (() => void)[]): () => void {
  return () => {
    for (const each of heal) each();
  };
}

function from(first: Host, second: Host): string[] {
  return ["from", addressOf(first), "to", addressOf(second)];
}

function lose(id: string, way: string[], how: "blackhole" | "unreachable"): () => void {
  const rule = ["pref", "10", ...way, how];
  ip("-n", nameOf(id, router), "rule", "add", ...rule);
  return () => void ip("-n", nameOf(id, router), "rule", "del", ...rule);
}

function unplug(id: string, host: Host): () => void {
  ip("-n", nameOf(id, router), "link", "set", host, "down");
  return () => void ip("-n", nameOf(id, router), "link", "set", host, "up");
}

function slowDown(namespace: string, device: string): () => void {
  tc(namespace, "add", "dev", device, ...slowLine);
  return () => tc(namespace, "del", "dev", device, "root");
}

function connectHost(id: string, host: Host): void {
  const [namespace, middle] = [nameOf(id, host), nameOf(id, router)];
  const gateway = addressOf(host).replace(/2$/, "1");
  ip("netns", "add", namespace);
  ip("-n", middle, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", namespace);
  ip("-n", middle, "addr", "add", `${gateway}/24`, "dev", host);
  ip("-n", middle, "link", "set", host, "up");
  ip("-n", namespace, "addr", "add", `${addressOf(host)}/24`, "dev", "eth0");
  ip("-n", namespace, "link", "set", "lo", "up");
  ip("-n", namespace, "link", "set", "eth0", "up");
  ip("-n", namespace, "route", "add", "default", "via", gateway);
}

/** Of processes that were killed before they could remove theirs. */
function removeLeftovers(): void {
  for (const [namespace = "", pid] of ip("netns", "list").matchAll(/^parley-(\d+)-[a-z]+/gm)) {
    try {
      process.kill(Number(pid), 0);
    } catch {
      spawnSync("ip", ["netns", "del", namespace]);
    }
  }
}

function nameOf(id: string, host: Host | typeof router): string {
  return `${prefix}-${id}-${host}`;
}

function addressOf(host: Host): string {
  return `10.77.${hosts.indexOf(host) + 1}.2`;
}

function ip(...args: string[]): string {
  return execFileSync("ip", args, { encoding: "utf8" });
}

function tc(namespace: string, ...args: string[]): void {
  execFileSync("tc", ["-n", namespace, "qdisc", ...args]);
}
