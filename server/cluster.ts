/**
 * WEB_CONCURRENCY: equal processes on one port, each a whole Parley (worker.ts) with a pool, a listener and
 * streams of its own. They share nothing but the port and Postgres, like instances on different machines.
 * See docs/decisions/0007-web-concurrency.md.
 */
import cluster, { type Worker } from "node:cluster";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { Complaint } from "./complaint.ts";
import type { Config } from "./config.ts";
import { limits } from "./limits.ts";
import type { Ground, Parley } from "./parley.ts";
import { relay, type ToFirst } from "./peers.ts";

/** After so much longer than a worker gives itself, one that still runs hangs and is killed. */
const killMs = limits.shutdownMs + 250;
/** From SIGTERM to exit of the first process, everything included. */
export const workersEndMs = limits.shutdownMs + 750;

/** A worker that lived shorter ended quickly; its successors wait longer and longer. */
const quickMs = 60_000;
const retryMs = 200;
const retryMostMs = 10_000;

/**
 * What a worker is told first, on its channel: what goes there stands neither in its arguments nor in its
 * environment, which is that of the first process for what the libraries read (PG…, NODE_…).
 */
export interface Task {
  config: Config;
  ground: Ground;
}

/** What a worker tells that cannot start. */
export interface Complaining {
  complaint: string;
}

/**
 * Starts `config.webConcurrency` workers on a prepared ground; resolves when all accept connections. A worker
 * that ends later is replaced. Throws a Complaint, with no worker left, when one cannot start.
 */
export async function startWorkers(config: Config, ground: Ground, log: Logger): Promise<Parley> {
  // Workers accept from one shared socket. By Node's round robin the first process accepts and hands over. It
  // is more even for connections that come one by one (25 % to each of 4 workers, not 13 to 41 %; in a storm
  // both are alike), but a connection that is being handed over when the worker dies stays open for ever,
  // unheard: a stream that looks alive. https://github.com/nodejs/node-v0.x-archive/issues/7006
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  cluster.setupPrimary({ exec: join(import.meta.dirname, "worker.ts"), args: [] });
  const { databaseUrl, listenDatabaseUrl, jwtSecret } = ground;
  const workers = new Workers({ config, ground: { databaseUrl, listenDatabaseUrl, jwtSecret } }, log);
  const starting = Array.from({ length: config.webConcurrency }, () => workers.add());
  try {
    const [port] = await Promise.all(starting);
    return { url: `http://localhost:${port}`, close: () => workers.close() };
  } catch (error) {
    await workers.close();
    throw error;
  }
}

class Workers {
  #task: Task;
  #log: Logger;
  #running = new Map<Worker, Promise<string>>();
  #stopping = false;

  constructor(task: Task, log: Logger) {
    this.#task = task;
    this.#log = log;
  }

  /**
   * From now on one more worker runs. Resolves with its port when it accepts connections; rejects with a
   * Complaint when the first one ends before.
   */
  add(): Promise<number> {
    return new Promise((resolve, reject) => {
      void this.#keep(resolve, (how) => reject(new Complaint(how)));
    });
  }

  /** Ends all workers gently; those that hang, by force, and then process.exitCode is 1. */
  async close(): Promise<void> {
    this.#stopping = true;
    const kill = (signal: NodeJS.Signals) => {
      for (const worker of this.#running.keys()) worker.process.kill(signal);
    };
    kill("SIGTERM");
    const timer = setTimeout(kill, killMs, "SIGKILL");
    await Promise.all(this.#running.values());
    clearTimeout(timer);
  }

  async #keep(onListening: (port: number) => void, onEnd: (how: string) => void): Promise<void> {
    for (let quickEnds = 0; !this.#stopping; ) {
      const startedAt = performance.now();
      // Node throws when it cannot fork at all (ENOMEM).
      const how = await this.#run(onListening).catch((error: Error) => error.message);
      onEnd(how);
      quickEnds = performance.now() - startedAt < quickMs ? quickEnds + 1 : 0;
      const afterMs = delayMs(quickEnds);
      await sleep(afterMs);
      if (!this.#stopping) this.#log.warn({ how, after_ms: afterMs }, "worker ended; starting another");
    }
  }

  /** One worker's life; resolves with how it ended. */
  async #run(onListening: (port: number) => void): Promise<string> {
    const worker = cluster.fork();
    const { pid } = worker.process;
    const running = new Promise<string>((resolve) => {
      let complaint = "";
      worker.on("message", (message: Complaining | ToFirst) => {
        if ("complaint" in message) complaint = message.complaint;
        else relay(message, worker, this.#running.keys());
      });
      worker.once("listening", ({ port }) => {
        this.#log.info({ worker: pid, port }, "worker listens");
        onListening(port);
      });
      worker.on("error", (error) => {
        // No process came to be (EAGAIN, EMFILE); or, with one, it is dying and cannot be told anything.
        if (pid === undefined) complaint ||= error.message;
      });
      // Not "exit", which may come before the last message.
      worker.process.once("close", (code, signal) => {
        this.#running.delete(worker);
        // One that was still starting ends by the signal itself.
        if (this.#stopping && code !== 0 && signal !== "SIGTERM") process.exitCode = 1;
        resolve(complaint || `A worker (process ${pid}) ended by ${signal ?? `exit code ${code}`}`);
      });
    });
    this.#running.set(worker, running);
    if (worker.isConnected()) worker.send(this.#task);
    return await running;
  }
}

/** Doubles with each quick end, with jitter, so that workers do not come back in step. */
function delayMs(quickEnds: number): number {
  if (quickEnds === 0) return 0;
  return Math.round(Math.min(retryMs * 2 ** (quickEnds - 1), retryMostMs) * (0.5 + Math.random() / 2));
}
