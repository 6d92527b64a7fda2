/** A TCP road to Postgres, on which connections can be made to suffer all that networks and servers do. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface Road {
  url: string;
  /**
   * Connections that are there now lose all that is sent in either direction, for ever, and stay open. This
   * and all that is done to connections gives to how many it was.
   */
  swallow(): number;
  /** Connections that are there now hear nothing more, but are heard. */
  deafen(): number;
  /** The same as swallow(), for those alone that have asked to LISTEN. */
  swallowListeners(): number;
  /** Those that have asked to LISTEN are made to UNLISTEN, without a word to the client. */
  unlisten(): number;
  /** Connections that are there now are reset. */
  cut(): number;
  /** While true, new connections are accepted and swallowed from the start. */
  trap(on: boolean): void;
  /** While true, connections are swallowed from the moment that they ask to LISTEN. */
  swallowListen(on: boolean): void;
  /** How many were. */
  swallowedListens(): number;
  /** How many connections were ever made. */
  connections(): number;
  /** How many statements were sent on it. */
  statements(): number;
}

/** Runs a test with a road to the Postgres of a URL. */
export async function withRoad(to: string, act: (road: Road) => Promise<void>): Promise<void> {
  const target = new URL(to);
  const pairs = new Set<Pair>();
  let trapping = false;
  let swallowingListen = false;
  let swallowed = 0;
  let count = 0;
  let statements = 0;
  const server = createServer((client) => {
    const pair = new Pair(client, connect(Number(target.port), target.hostname));
    count++;
    pairs.add(pair);
    if (trapping) pair.swallow();
    pair.onListen = () => {
      if (!swallowingListen) return;
      pair.swallow();
      swallowed++;
    };
    pair.onStatement = () => {
      statements++;
    };
    client.once("close", () => pairs.delete(pair));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const url = new URL(to);
  url.port = String(typeof address === "object" && address ? address.port : 0);
  url.hostname = "127.0.0.1";
  // What leads nowhere already cannot suffer more.
  const alive = () => [...pairs].filter(({ isAlive }) => isAlive);
  const listeners = () => alive().filter(({ listens }) => listens);
  try {
    await act({
      url: url.href,
      swallow: () => forAll(alive(), (pair) => pair.swallow()),
      deafen: () => forAll(alive(), (pair) => pair.deafen()),
      swallowListeners: () => forAll(listeners(), (pair) => pair.swallow()),
      unlisten: () => forAll(listeners(), (pair) => pair.unlisten()),
      cut: () => forAll(pairs, (pair) => pair.end()),
      trap: (on) => {
        trapping = on;
      },
      swallowListen: (on) => {
        swallowingListen = on;
      },
      swallowedListens: () => swallowed,
      connections: () => count,
      statements: () => statements,
    });
  } finally {
    server.close();
    for (const pair of pairs) pair.end();
  }
}

function forAll(pairs: Iterable<Pair>, act: (pair: Pair) => void): number {
  const all = [...pairs];
  for (const pair of all) act(pair);
  return all.length;
}

const unlisten = "UNLISTEN *";
/** Types of the two messages in which Postgres answers a simple query without rows. */
const answerTypes = ["C", "Z"];
/** Of those in which a client has a statement carried out: a simple query, and Execute. */
const statementTypes = ["Q", "E"];

/** A client's connection and ours to Postgres. */
class Pair {
  listens = false;
  onListen = () => {};
  onStatement = () => {};
  readonly #client: Socket;
  readonly #postgres: Socket;
  #up = true;
  #down = true;
  /** What the client has sent of a message whose end has not come; the first has no type, and is skipped. */
  #asked: Buffer = Buffer.alloc(0);
  #isStarted = false;
  /** Of a listener: the beginning of a message whose end has not come. */
  #rest: Buffer = Buffer.alloc(0);
  /** Answers to what we asked in the client's name. */
  #withheld: string[] = [];

  constructor(client: Socket, postgres: Socket) {
    this.#client = client;
    this.#postgres = postgres;
    client.on("data", (data) => this.#fromClient(data));
    postgres.on("data", (data) => this.#down && client.write(this.listens ? this.#filter(data) : data));
    for (const [one, other] of [
      [client, postgres],
      [postgres, client],
    ] as const) {
      one.on("error", () => {});
      one.on("close", () => other.destroy());
    }
  }

  get isAlive(): boolean {
    return this.#up || this.#down;
  }

  swallow(): void {
    this.#up = false;
    this.#down = false;
  }

  deafen(): void {
    this.#down = false;
  }

  end(): void {
    this.#client.resetAndDestroy();
    this.#postgres.destroy();
  }

  unlisten(): void {
    const message = Buffer.alloc(1 + 4 + unlisten.length + 1);
    message.write("Q");
    message.writeInt32BE(message.length - 1, 1);
    message.write(unlisten, 5);
    this.#withheld.push(...answerTypes);
    this.#postgres.write(message);
  }

  #fromClient(data: Buffer): void {
    // Asked on an idle connection: the next byte that Postgres sends begins a message.
    if (!this.listens && data.includes("LISTEN ")) this.listens = true;
    if (data.includes("LISTEN ")) this.onListen();
    this.#count(data);
    if (this.#up) this.#postgres.write(data);
  }

  #count(data: Buffer): void {
    this.#asked = Buffer.concat([this.#asked, data]);
    for (;;) {
      const head = this.#isStarted ? 1 : 0;
      if (this.#asked.length < head + 4) return;
      const end = head + this.#asked.readInt32BE(head);
      if (this.#asked.length < end) return;
      if (head === 1 && statementTypes.includes(String.fromCharCode(this.#asked[0] ?? 0))) this.onStatement();
      this.#isStarted = true;
      this.#asked = this.#asked.subarray(end);
    }
  }

  /** Whole messages, without those that answer what the client did not ask. */
  #filter(data: Buffer): Buffer {
    const all = Buffer.concat([this.#rest, data]);
    const passed: Buffer[] = [];
    let at = 0;
    while (all.length - at >= 5) {
      const end = at + 1 + all.readInt32BE(at + 1);
      if (end > all.length) break;
      const type = String.fromCharCode(all[at] ?? 0);
      if (type === this.#withheld[0]) this.#withheld.shift();
      else passed.push(all.subarray(at, end));
      at = end;
    }
    this.#rest = all.subarray(at);
    return Buffer.concat(passed);
  }
}
