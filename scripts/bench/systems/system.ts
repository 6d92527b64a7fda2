import { join } from "node:path";
import type { Population, Seeded } from "../population.ts";
import { type Program, startProgram } from "../processes.ts";

/** A chat server that is measured. */
export interface System {
  /** Names it on the command line and to the generator; see clients.ts. */
  id: string;
  title: string;
  /** Without a database there is nothing to seed but ids, and messages are not stored. */
  hasDatabase: boolean;
  /** Makes the tables, and people and rooms in them. */
  prepare(databaseUrl: string, population: Population): Promise<Seeded>;
  start(databaseUrl: string, options: StartOptions): Promise<Running>;
}

export interface StartOptions {
  /** Equal processes on one database. */
  instances: number;
  /** Started so that it collects its garbage on SIGUSR2. */
  collectable: boolean;
  /** Settings besides those that it is always started with. */
  env?: NodeJS.ProcessEnv;
  /** Options of node. */
  nodeOptions?: string[];
}

export interface Running {
  ports: number[];
  pids: number[];
  stop(): Promise<void>;
}

const collect = ["--expose-gc", "--import", join(import.meta.dirname, "../collect.ts")];

/** Starts a server's processes; `ready` is the line with the port that each prints. */
export async function startServer(
  script: string,
  env: NodeJS.ProcessEnv,
  ready: RegExp,
  { instances, collectable, nodeOptions = [] }: StartOptions,
): Promise<Running> {
  const args = [
    ...nodeOptions,
    ...(collectable ? collect : []),
    join(import.meta.dirname, "../../..", script),
  ];
  const programs: Program[] = [];
  try {
    for (let count = 0; count < instances; count++) programs.push(await startProgram(args, env, ready));
  } catch (error) {
    await Promise.all(programs.map((program) => program.stop()));
    throw error;
  }
  return {
    ports: programs.map(({ said }) => Number(said)),
    pids: programs.map(({ pid }) => pid),
    stop: async () => void (await Promise.all(programs.map((program) => program.stop()))),
  };
}

/** A peer's server: it prints its port. */
export function startPeer(name: string, env: NodeJS.ProcessEnv, options: StartOptions): Promise<Running> {
  return startServer(`scripts/bench/peers/${name}.ts`, env, /^listens on (\d+)\n/m, options);
}
