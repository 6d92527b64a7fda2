import type { IncomingMessage } from "node:http";
import { isIPv4, isIPv6 } from "node:net";
import type { ServerRequest } from "srvx";

/** See readAddress(). */
export function addressOf({ runtime }: ServerRequest, proxies: number): string {
  return runtime?.node ? readAddress(runtime.node.req as IncomingMessage, proxies) : "";
}

/**
 * From where a request comes, as rate limits count it: an IPv4 address, or the /64 of an IPv6 one, which is
 * what one household gets and may take any address of.
 *
 * With `proxies` trusted proxies in a row it is what the outermost of them says it was called by: each adds
 * its caller at the end of X-Forwarded-For. What stands further left was sent by the client and may be made
 * up; srvx' `request.ip` would believe it, as with `trustProxy: true` all entries are proxies to it.
 */
export function readAddress(request: IncomingMessage, proxies: number): string {
  const peer = request.socket.remoteAddress ?? "";
  if (proxies === 0) return networkOf(peer);
  const header = request.headers["x-forwarded-for"];
  const hops = [...String(header ?? "").split(","), peer].map((hop) => bare(hop.trim())).filter(Boolean);
  return networkOf(hops.at(-1 - proxies) ?? hops[0] ?? peer);
}

/** Some proxies add ports: 192.0.2.1:4711, [2001:db8::1]:4711. */
function bare(hop: string): string {
  return /^\[(.+)\](?::\d+)?$/.exec(hop)?.[1] ?? /^([\d.]+):\d+$/.exec(hop)?.[1] ?? hop;
}

function networkOf(address: string): string {
  const inner = /^::ffff:([\d.]+)$/i.exec(address)?.[1] ?? address;
  // No address at all: whatever a trusted proxy wrote, cut short, as it becomes a key in memory.
  if (isIPv4(inner) || !isIPv6(inner)) return inner.slice(0, 64);
  const [head = "", tail] = (inner.split("%")[0] ?? "").toLowerCase().split("::");
  const left = groupsOf(head);
  const right = groupsOf(tail ?? "");
  const zeros = Array<string>(8).fill("0");
  const groups = tail === undefined ? left : [...left, ...zeros.slice(left.length + right.length), ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}

function groupsOf(text: string): string[] {
  // An IPv4 address at the end stands for two groups, which are never among the first four that count.
  return text === "" ? [] : text.split(":").flatMap((group) => (group.includes(".") ? ["0", "0"] : [group]));
}
