/**
 * Compares what the model says with what came. Points in time, which only the server knows, stand in the
 * model as tokens: the first real time that a token meets is what it means from then on.
 */
import type { Json } from "../support/client.ts";

export type Times = Map<string, string>;

const timestamp = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Lists whose order the contract leaves open, by what they may be sorted. */
const unordered: Record<string, (item: Json) => string> = {
  reactions: ({ emoji }) => emoji,
  user_ids: String,
  members: ({ user_id }) => user_id,
  // Of discussions; messages have a seq and stay as they are.
  items: ({ id, seq = 0 }) => id ?? String(seq).padStart(5, "0"),
};

export function timeToken(name: number | string): string {
  return `⏱${name}`;
}

/** Where two values differ, in words; null: nowhere. Binds tokens in `times` on its way, also if they do. */
export function findDifference(expected: Json, actual: Json, times: Times, path = ""): string | null {
  if (typeof expected === "string" && expected.startsWith("⏱")) {
    if (typeof actual !== "string" || !timestamp.test(actual)) return `${path}: ${show(actual)} is no time`;
    const known = times.get(expected) ?? actual;
    times.set(expected, known);
    return known === actual ? null : `${path}: ${actual} instead of ${known}`;
  }
  if (typeof expected !== "object" || expected === null || typeof actual !== "object" || actual === null) {
    return expected === actual ? null : `${path}: ${show(actual)} instead of ${show(expected)}`;
  }
  if (Array.isArray(expected) !== Array.isArray(actual)) return `${path}: a list, or no list`;
  const keys = new Set([...Object.keys(expected), ...Object.keys(actual)]);
  for (const key of keys) {
    const at = path === "" ? key : `${path}.${key}`;
    const difference = findDifference(inOrder(key, expected[key]), inOrder(key, actual[key]), times, at);
    if (difference !== null) return difference;
  }
  return null;
}

function inOrder(key: string, value: Json): Json {
  // The title of a group without a name: those of its members, in any order.
  if (key === "title" && typeof value === "string") return value.split(", ").sort().join(", ");
  const sortKey = Object.hasOwn(unordered, key) ? unordered[key] : undefined;
  if (!sortKey || !Array.isArray(value)) return value;
  return value.toSorted((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
}

function show(value: Json): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
