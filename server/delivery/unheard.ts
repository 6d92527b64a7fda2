import { readFile } from "node:fs/promises";
import { SocketAddress } from "node:net";
import type { Logger } from "pino";
import { limits } from "../limits.ts";
import { repeat } from "../repeat.ts";
import type { Hub } from "./hub.ts";

/** Where Linux tells of the TCP connections of this network namespace. */
const tables = ["/proc/net/tcp", "/proc/net/tcp6"];
/** What only a row has whose connection waits to send the same again: its column of the running timer. */
const retransmitting = " 01:";
/** Behind it, as wide in every row: when the timer ends, and how often it did. */
const retransmissionsAt = { from: retransmitting.length + 9, to: retransmitting.length + 17 };

/**
 * Cuts off event streams whose client's network died without a word. Such a client never says anything, and
 * what is written to it waits in the kernel, for a quarter of an hour, until TCP gives up. The kernel counts
 * its vain attempts to send: Node has no way to ask for that, but /proc tells.
 */
export function watchUnheard(hub: Hub, log: Logger): { stop(): void } {
  const look = async () => {
    if (!hub.hasEventStreams()) return;
    const cut = hub.cutUnheard(findUnheard(await readTables(), limits.unheardRetransmissions));
    if (cut > 0) log.info({ streams: cut }, "cut off event streams that nobody receives any more");
  };
  const stop = repeat(limits.unheardMs, () =>
    look().catch((error) => log.warn({ err: error }, "cannot look for dead event streams")),
  );
  return { stop };
}

/** A connection's name, the same for its socket in Node and for its row in the kernel's table. */
export function connectionName(localPort: number, remoteAddress: string, remotePort: number): string {
  return `${localPort} ${remoteAddress} ${remotePort}`;
}

/** The names of connections on which the same was sent again so often, or oftener, and never acknowledged. */
export function findUnheard(table: string, leastRetransmissions: number): Set<string> {
  const unheard = new Set<string>();
  // Rows are many, after an outage of many clients also those that wait, and those that matter few.
  for (let at = table.indexOf(retransmitting); at !== -1; at = table.indexOf(retransmitting, at + 1)) {
    const retransmissions = table.slice(at + retransmissionsAt.from, at + retransmissionsAt.to);
    if (Number.parseInt(retransmissions, 16) < leastRetransmissions) continue;
    const row = table.slice(table.lastIndexOf("\n", at) + 1, at).trim();
    const [, local = "", remote = ""] = row.split(/\s+/);
    const { port: localPort } = readEndpoint(local);
    const { address, port } = readEndpoint(remote);
    unheard.add(connectionName(localPort, address, port));
  }
  return unheard;
}

/** What is not there (no Linux, no IPv6, a sandbox) tells of nobody: TCP's own patience has to do. */
async function readTables(): Promise<string> {
  const texts = await Promise.all(tables.map((path) => readFile(path, "latin1").catch(() => "")));
  return texts.join("");
}

/** "0100007F:0050" is 127.0.0.1, port 80: words in the machine's order, which is taken for little-endian. */
function readEndpoint(text: string): { address: string; port: number } {
  const [hex = "", port = ""] = text.split(":");
  const bytes = Buffer.from(hex, "hex").swap32();
  return {
    address: bytes.length === 4 ? bytes.join(".") : readVersion6(bytes),
    port: Number.parseInt(port, 16),
  };
}

function readVersion6(bytes: Buffer): string {
  const words = bytes.toString("hex").match(/.{4}/g) ?? [];
  return new SocketAddress({ address: words.join(":"), family: "ipv6" }).address;
}
