import type { LoadResult, Verdict } from "../generator/orders.ts";
import type { BenchPostgres } from "../postgres.ts";
import type { Sizes } from "../sizes.ts";
import type { System } from "../systems/system.ts";

/** What every measurement is given. */
export interface Bench {
  postgres: BenchPostgres;
  sizes: Sizes;
  warmUpMs: number;
  windowMs: number;
}

/** What one run of one variant gave. */
export interface Outcome {
  /** By name; NaN where something could not be measured. */
  metrics: Record<string, number>;
  /** Why it is no result; empty if every sequence was exact. */
  problems: string[];
}

/** A system under a scenario's load, perhaps with something special about it. */
export interface Variant {
  id: string;
  title: string;
  /** The id of its system, for --only. */
  system: string;
  /** `round` has what the variants before it gave in the same run. */
  measure(bench: Bench, round: ReadonlyMap<string, Outcome>): Promise<Outcome>;
}

export interface Column {
  title: string;
  metric: string;
  digits: number;
  /** Whether the smallest and largest of the runs are shown as well. */
  range?: boolean;
}

export interface Scenario {
  id: string;
  title: string;
  description(bench: Bench): string;
  /** Whether it is run only when it is named. */
  onDemand?: boolean;
  /** How often, unless the command line says; 3 if absent. */
  runs?: number;
  columns: Column[];
  variants(sizes: Sizes): Variant[];
}

/** The same measurement of several systems, one after another. */
export function variantPerSystem(
  systems: System[],
  measure: (bench: Bench, system: System) => Promise<Outcome>,
): Variant[] {
  return systems.map((system) => ({
    id: system.id,
    title: system.title,
    system: system.id,
    measure: (bench) => measure(bench, system),
  }));
}

export const cpuColumns: Column[] = [
  { title: "server cores", metric: "server_cores", digits: 2 },
  { title: "Postgres cores", metric: "postgres_cores", digits: 2 },
  { title: "generator cores", metric: "generator_cores", digits: 2 },
];

/** The figures of a window of load. A system that promises one order for all is held to it. */
export function loadOutcome(result: LoadResult, verdict: Verdict, promisesOrder: boolean): Outcome {
  const { seconds, messages, deliveries, due, cpu, latencies } = result;
  const problems = [...verdict.problems];
  if (promisesOrder && verdict.groupsOutOfOrder > 0) {
    problems.push(`${verdict.groupsOutOfOrder} groups of listeners heard different orders`);
  }
  return {
    metrics: {
      messages_per_second: messages / seconds,
      deliveries_per_second: deliveries / seconds,
      delivered_part: deliveries / due,
      server_cores: cpu.server / seconds,
      postgres_cores: cpu.postgres / seconds,
      generator_cores: cpu.generator / seconds,
      server_us_per_delivery: (cpu.server / deliveries) * 1e6,
      generator_us_per_delivery: (cpu.generator / deliveries) * 1e6,
      server_us_per_message: (cpu.server / messages) * 1e6,
      postgres_us_per_message: (cpu.postgres / messages) * 1e6,
      p50_ms: percentile(latencies, 0.5),
      p99_ms: percentile(latencies, 0.99),
      groups_out_of_order: verdict.groupsOutOfOrder,
    },
    problems,
  };
}

/** Of sorted values; NaN of none. */
export function percentile(sorted: ArrayLike<number>, part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}
