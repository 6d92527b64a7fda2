import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import type { Goal } from "./goals.ts";
import type { Bench, Column, Outcome, Scenario, Variant } from "./scenarios/scenario.ts";

const root = join(import.meta.dirname, "../..");
const peerPackages = ["ws", "socket.io", "@socket.io/postgres-adapter", "pg"];
/** Above it the generator, and not the server, may be what was measured. */
const generatorBusyCores = 0.9;
/** Below it a server acknowledges more than it can deliver, for as long as it has memory. */
const keptUpPart = 0.95;

/** All runs of one scenario. */
export interface Measured {
  scenario: Scenario;
  rows: { variant: Variant; outcomes: Outcome[] }[];
}

/** The machine and the versions, as a Markdown list. */
export function describeMachine({ postgres }: Bench, now: Date): string {
  const versions = peerPackages.map((name) => `${name} ${versionOf(name)}`).join(", ");
  const [cpu] = cpus();
  const place = postgres.own ? "embedded, every commit flushed" : "that of DATABASE_URL";
  return [
    `- ${now.toISOString().slice(0, 10)}, ${cpus().length} cores (${cpu?.model.trim()}), ` +
      `${Math.round(totalmem() / 2 ** 30)} GB, ${process.platform} ${release()}; everything on one machine`,
    `- Node ${process.versions.node}, Postgres ${postgres.version} (${place})`,
    `- ${versions}`,
    "- Closed loops: a message is in flight until its sender has its answer and has heard it, too. " +
      "Contents of 100 bytes. Every listener's sequence is checked for loss, repeats and order. Medians of " +
      "all runs, in which the systems take turns; in parentheses the smallest and largest.",
  ].join("\n");
}

/** A scenario's block: what it is, and a row per variant with the medians of its runs. */
export function describeMeasured({ scenario, rows }: Measured, bench: Bench): string {
  const columns = scenario.columns.filter(({ metric }) =>
    rows.some(({ outcomes }) => outcomes.some(({ metrics }) => Number.isFinite(metrics[metric]))),
  );
  const table = formatTable(
    ["", ...columns.map(({ title }) => title)],
    rows.map(({ variant, outcomes }) => [
      isExact(outcomes) ? variant.title : `${variant.title} **(inexact: no result)**`,
      ...columns.map((column) => formatCell(outcomes, column)),
    ]),
  );
  return [`## ${scenario.title}`, scenario.description(bench), table, ...remarks(rows)].join("\n\n");
}

export function describeGoals(goals: { goal: Goal; figure: string; reached: boolean | null }[]): string {
  const rows = goals.map(({ goal, figure, reached }) => [
    goal.scenario,
    goal.text,
    figure,
    reached === null ? "–" : reached ? "yes" : "**no**",
  ]);
  return `## Goals\n\n${formatTable(["scenario", "goal", "figure", "reached"], rows)}`;
}

/** The median of the runs that are a result; NaN if there is none. */
export function median(outcomes: Outcome[], metric: string): number {
  const values = valuesOf(outcomes, metric);
  const middle = values.length / 2;
  const [low, high] = [values[Math.ceil(middle) - 1], values[Math.floor(middle)]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}

export function isExact(outcomes: Outcome[]): boolean {
  return outcomes.every(({ problems }) => problems.length === 0);
}

function valuesOf(outcomes: Outcome[], metric: string): number[] {
  return outcomes
    .filter(({ problems }) => problems.length === 0)
    .map(({ metrics }) => metrics[metric] ?? Number.NaN)
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
}

function formatCell(outcomes: Outcome[], { metric, digits, range }: Column): string {
  const values = valuesOf(outcomes, metric);
  const text = formatNumber(median(outcomes, metric), digits);
  if (!range || values.length < 2) return text;
  return `${text} (${formatNumber(values[0], digits)}–${formatNumber(values.at(-1), digits)})`;
}

export function formatNumber(value: number | undefined, digits: number): string {
  if (value === undefined || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function remarks(rows: Measured["rows"]): string[] {
  return rows.flatMap(({ variant, outcomes }) => {
    const busy = median(outcomes, "generator_cores") > generatorBusyCores;
    const problems = outcomes.flatMap((outcome, run) =>
      outcome.problems.map((problem) => `${variant.title}, run ${run + 1}: ${problem}`),
    );
    const part = median(outcomes, "delivered_part");
    const disorder = median(outcomes, "groups_out_of_order");
    return [
      ...problems,
      ...(busy ? [`${variant.title}: the generator was busy all the time; the server may be faster.`] : []),
      ...(part < keptUpPart ? [`${variant.title}: ${lateText(part)}`] : []),
      ...(disorder > 0
        ? [`${variant.title}: in ${disorder} groups the listeners heard different orders (allowed).`]
        : []),
    ];
  });
}

function lateText(part: number): string {
  const percent = formatNumber(part * 100, 0);
  return `of what was acknowledged, ${percent} % was delivered in time; the rest came later.`;
}

function formatTable(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  const rule = head.map((_, index) => (index === 0 ? "---" : "--:"));
  return [line(head), line(rule), ...rows.map(line)].join("\n");
}

function versionOf(name: string): string {
  const file = join(root, "node_modules", name, "package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
