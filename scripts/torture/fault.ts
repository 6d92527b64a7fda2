import type { OwnPostgres, PostgresOptions } from "../../tests/support/postgres.ts";
import type { Random } from "../../tests/support/random.ts";
import type { Road } from "../../tests/support/road.ts";
import type { Instance } from "./instance.ts";
import type { Load } from "./load.ts";
import type { Archive } from "./truth.ts";

/** What a fault may lay hands on. */
export interface World {
  postgres: OwnPostgres;
  /** A folder of this world alone; what a fault puts there, both servers and Postgres may read. */
  folder: string;
  instances: readonly Instance[];
  /** How the instance of the same place reaches Postgres. */
  roads: readonly Road[];
  load: Load;
  /** To be told before anything is taken away that the judgement needs. */
  archive: Archive;
  /** What the plan did not say but happened: printed. */
  note(text: string): void;
}

/** One thing that is done to the server, at its time after the first. */
export interface Step {
  atMs: number;
  what: string;
  /**
   * Gives how often it took hold: what it killed, cut, saw refused. A fault that does nothing proves nothing,
   * so 0 is a failure of the run.
   */
  act(world: World): Promise<number> | number;
}

export interface Special {
  postgres?: PostgresOptions;
  /** Additional environment for the instances. */
  env?: NodeJS.ProcessEnv;
  /** Called when Postgres runs, before the first instance starts. */
  begin?(world: Pick<World, "postgres" | "instances">): Promise<void>;
  /** Called when all of this world has ended, or while our process exits: hence at once. */
  end?(): void;
}

export interface Fault {
  id: string;
  title: string;
  /**
   * From the last step until all works again: each instance is ready, a message sent there is acknowledged,
   * and everybody has it. The server's own bounds, and as much again for a machine that is busy.
   */
  recoveryMs: number;
  /** Whether a step may find nothing to lay hands on, so long as not all of them do. */
  mayMiss?: boolean;
  /** Violations that an earlier version, which takes part, is known for. */
  known?: RegExp;
  /** What servers may log of it as an error: forgiven, and not asked for. */
  logged?: RegExp;
  /** Reasons for which it may reset streams. */
  resets?: readonly string[];
  /** What is special about this world, given its folder; called once, before anything starts. */
  prepare?(folder: string): Promise<Special> | Special;
  /** Why it cannot be done here; null if it can. */
  missing?(): Promise<string | null> | string | null;
  /** What will be done, made of the seed alone. `seconds`: about how long it may go on. */
  plan(random: Random, seconds: number): Step[];
}

/** The one at a place of the plan: it has to be there. */
export function at<T>(items: readonly T[], place: number): T {
  const item = items[place];
  if (item === undefined) throw new Error(`nothing is at place ${place}`);
  return item;
}

/** A plan in words: the same seed gives the same. */
export function describePlan(steps: readonly Step[]): string {
  return steps.map(({ atMs, what }) => `  ${(atMs / 1_000).toFixed(2).padStart(6)} s  ${what}`).join("\n");
}

/** 0, 1, 2 … below a number, which is cut to a whole one. */
export function times(count: number): number[] {
  return Array.from({ length: Math.floor(count) }, (_, index) => index);
}
