/**
 * A TCP proxy that stands for all that is bad about networks: it cuts connections, in the middle of what
 * is being said too, refuses new ones, and goes silent.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { Random } from "../support/random.ts";

const cutLimitMs = 50;

interface Connection {
  client: Socket;
  server: Socket;
  /** Bytes of the server's next words that still pass before the cut; undefined while all is well. */
  remaining: number | undefined;
}

export interface RoughProxy {
  url: string;
  cuts: number;
  /** Where connections go from now on. */
  target(url: string): void;
  /** Ends connections without a word: all, or each with this probability. */
  cut(share?: number): void;
  /** Refuses new connections for a while. */
  refuse(ms: number): Promise<void>;
  /** Passes on nothing for a while, then cuts: what was said meanwhile is lost. */
  silence(ms: number): Promise<void>;
  close(): Promise<void>;
}

export async function openProxy(target: string, random: Random): Promise<RoughProxy> {
  const connections = new Set<Connection>();
  let port = Number(new URL(target).port);
  let silent = false;

  const server = createServer({ noDelay: true }, (client) => {
    const connection = { client, server: connect(port), remaining: undefined };
    connections.add(connection);
    join(connection, () => silent);
    client.once("close", () => connections.delete(connection));
  });
  await listen(server, 0);
  const own = (server.address() as AddressInfo).port;

  const proxy: RoughProxy = {
    url: `http://localhost:${own}`,
    cuts: 0,
    target: (url) => {
      port = Number(new URL(url).port);
    },
    cut: (share = 1) => {
      for (const connection of connections) {
        if (share < 1 && !random.chance(share)) continue;
        proxy.cuts++;
        cutSoon(connection, random);
      }
    },
    refuse: async (ms) => {
      server.close();
      proxy.cut();
      await pause(ms);
      await listen(server, own);
    },
    silence: async (ms) => {
      silent = true;
      await pause(ms);
      for (const { client, server: upstream } of connections) {
        proxy.cuts++;
        client.resetAndDestroy();
        upstream.destroy();
      }
      silent = false;
    },
    close: async () => {
      const closed = once(server, "close");
      server.close();
      for (const { client, server: upstream } of connections) {
        client.destroy();
        upstream.destroy();
      }
      await closed;
    },
  };
  return proxy;
}

function join(connection: Connection, isSilent: () => boolean): void {
  const { client, server } = connection;
  server.setNoDelay(true);
  client.on("data", (bytes) => !isSilent() && server.write(bytes));
  server.on("data", (bytes) => {
    if (isSilent()) return;
    if (connection.remaining === undefined) {
      if (!client.write(bytes)) server.pause();
      return;
    }
    const part = bytes.subarray(0, connection.remaining);
    connection.remaining = 0;
    // Over plain HTTP, Chromium takes a header that ends in its middle for whole, misses the content type and
    // gives the EventSource up for good. After a reset it comes back.
    const isHeader = bytes.subarray(0, 5).toString() === "HTTP/";
    client.write(part, () => end(connection, isHeader));
  });
  client.on("drain", () => server.resume());
  for (const [one, other] of [
    [client, server],
    [server, client],
  ] as const) {
    one.on("error", () => other.destroy());
    one.on("end", () => other.end());
    one.on("close", () => other.destroy());
  }
}

/**
 * At once, or after a random part of what the server says next, so that an event or a frame breaks in
 * two.
 */
function cutSoon(connection: Connection, random: Random): void {
  if (random.chance(0.3)) {
    end(connection, random.chance(0.5));
    return;
  }
  connection.remaining ??= Math.floor(random.between(0, 600));
  setTimeout(() => end(connection), cutLimitMs);
}

function end({ client, server }: Connection, reset = false): void {
  if (reset && !client.destroyed) client.resetAndDestroy();
  else client.destroy();
  server.destroy();
}

async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, "localhost");
  await once(server, "listening");
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
