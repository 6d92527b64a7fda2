/** What processes cost, from /proc. Where there is none, figures are NaN and shown as "–". */
import { readdirSync, readFileSync } from "node:fs";

/** USER_HZ is 100 on every architecture that Node runs on. */
const ticksPerSecond = 100;

interface ProcessTimes {
  parent: number;
  seconds: number;
}

/**
 * CPU seconds so far of each group of processes with all their descendants. Of those that have ended, what
 * their parent waited for counts on (cutime, cstime): connections of Postgres come and go.
 */
export function readCpu<Group extends string>(groups: Record<Group, number[]>): Record<Group, number> {
  const processes = readProcesses();
  const children = Map.groupBy(processes.keys(), (pid) => processes.get(pid)?.parent ?? 0);
  const secondsOf = (pid: number): number =>
    (processes.get(pid)?.seconds ?? Number.NaN) +
    (children.get(pid) ?? []).reduce((sum, child) => sum + secondsOf(child), 0);
  const entries = Object.entries<number[]>(groups).map(([name, pids]) => [
    name,
    pids.length === 0 ? Number.NaN : pids.reduce((sum, pid) => sum + secondsOf(pid), 0),
  ]);
  return Object.fromEntries(entries) as Record<Group, number>;
}

/** How much each group's CPU seconds have grown. */
export function cpuSince<Group extends string>(
  before: Record<Group, number>,
  groups: Record<Group, number[]>,
): Record<Group, number> {
  const now = Object.entries<number>(readCpu(groups));
  return Object.fromEntries(now.map(([name, seconds]) => [name, seconds - before[name as Group]])) as Record<
    Group,
    number
  >;
}

/** Resident memory of a process in bytes. */
export function readResidentBytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1];
  return Number(kilobytes ?? Number.NaN) * 1024;
}

/** Memory in bytes that a process and its descendants share with no file and nobody else. */
export function readPrivateBytes(root: number): number {
  const processes = readProcesses();
  const children = Map.groupBy(processes.keys(), (pid) => processes.get(pid)?.parent ?? 0);
  const bytesOf = (pid: number): number => {
    const kilobytes = /^RssAnon:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0;
    return (
      Number(kilobytes) * 1024 + (children.get(pid) ?? []).reduce((sum, child) => sum + bytesOf(child), 0)
    );
  };
  return processes.has(root) ? bytesOf(root) : Number.NaN;
}

/** The id of a process' parent; undefined for one that is not on this machine. */
export function readParent(pid: number): number | undefined {
  return parseTimes(read(`/proc/${pid}/stat`))?.parent;
}

/** Whether a process of this machine runs a program whose command contains this. */
export function runsCommand(pid: number, part: string): boolean {
  return read(`/proc/${pid}/cmdline`).includes(part);
}

function readProcesses(): Map<number, ProcessTimes> {
  const processes = new Map<number, ProcessTimes>();
  for (const name of listProcesses()) {
    const times = parseTimes(read(`/proc/${name}/stat`));
    if (times) processes.set(Number(name), times);
  }
  return processes;
}

function listProcesses(): string[] {
  try {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

/** See proc_pid_stat(5). The program's name, in parentheses, may contain anything. */
function parseTimes(stat: string): ProcessTimes | undefined {
  if (stat === "") return undefined;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return { parent: Number(fields[1]), seconds: ticks / ticksPerSecond };
}

/** Processes come and go while we look: what is gone reads as nothing. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
