/**
 * Whether what came of some commands, carried out at the same time, is what comes of them one after another,
 * in some order: each answer, and what they added to the log.
 */
import { errors } from "../../server/errors.ts";
import type { LogEvent } from "../../sql/log.ts";
import type { Json } from "../support/client.ts";
import type { Command, Expected, Outcome } from "./commands/command.ts";
import { findDifference } from "./match.ts";
import type { Entry, Model } from "./model.ts";
import { rowJson } from "./shapes.ts";

export interface Deed {
  command: Command;
  outcome: Outcome;
}

interface Placed {
  deed: Deed;
  expected: Expected;
  /** The state after it. */
  state: Model;
}

/**
 * The states after each of the deeds, in an order that explains what came; throws if there is none. `rows` is
 * what the log got by them.
 */
export function explain(before: Model, deeds: readonly Deed[], rows: readonly LogEvent[]): Model[] {
  const ended = [
    ...new Set(rows.filter(({ type }) => type === "discussion.deleted").map((row) => row.discussion_id)),
  ];
  for (const { outcome } of deeds) outcome.ended = ended;
  const search = new Search(before, rows);
  const order = search.from(before, [], deeds);
  if (order) return order.map(({ state }) => state);
  throw new Error(search.reason);
}

class Search {
  /** The log's end before. */
  readonly #end: number;
  readonly #rows: readonly LogEvent[];
  #deepest = -1;
  reason = "nothing explains it";

  constructor(before: Model, rows: readonly LogEvent[]) {
    this.#end = before.end;
    this.#rows = rows;
  }

  from(state: Model, placed: readonly Placed[], left: readonly Deed[]): readonly Placed[] | null {
    if (left.length === 0) return this.#isWhole(state, placed) ? placed : null;
    for (const [index, deed] of left.entries()) {
      const { via } = deed.outcome;
      if (via && left.slice(0, index).some(({ outcome }) => outcome.via === via)) continue;
      // One alone has nothing to go back to.
      const next = left.length === 1 && placed.length === 0 ? state : state.copy();
      const { end } = state;
      const line = deed.command.line(state);
      const expected = deed.command.apply(next, deed.outcome);
      const difference =
        this.#findStrayEntry(next, end) ?? findAnswerDifference(expected, deed.outcome, next);
      if (difference !== null) {
        this.#note(placed.length, `${line}: ${difference}`);
        continue;
      }
      const rest = left.filter((other) => other !== deed);
      const found = this.from(next, [...placed, { deed, expected, state: next }], rest);
      if (found) return found;
    }
    return null;
  }

  /** Whether the entries of one deed are the log's next, as far as can be said before all are placed. */
  #findStrayEntry(next: Model, end: number): string | null {
    for (const entry of next.log.slice(end - next.start)) {
      const row = this.#rows[entry.position - this.#end - 1];
      if (!row) return `the log has no ${nameOf(entry)} at ${entry.position}`;
      if (row.discussion_id !== entry.discussion_id || row.user_id !== entry.user_id || !isLike(entry, row))
        return `the log has ${nameOf(row)} at ${row.position} instead of ${nameOf(entry)}`;
    }
    return null;
  }

  /** Whether all that the log got is explained, word by word, and all views. */
  #isWhole(state: Model, placed: readonly Placed[]): boolean {
    const depth = placed.length;
    const stray = this.#rows[state.end - this.#end];
    if (stray) return this.#note(depth, `the log has ${nameOf(stray)} at ${stray.position}, a ghost`);
    for (const row of this.#rows) {
      const entry = state.log[row.position - state.start - 1];
      if (!entry) return this.#note(depth, `there is no position ${row.position}`);
      const { position, discussion_id, user_id, type, at } = row;
      const data = type === "session.revoked" ? {} : JSON.parse(row.data);
      const actual = { position, discussion_id, user_id, type, at, data };
      const difference = findDifference(rowJson(state, entry), actual, state.times, nameOf(entry));
      if (difference !== null) return this.#note(depth, `in the log, ${difference}`);
    }
    for (const [index, { deed, expected }] of placed.entries()) {
      if (!("view" in expected)) continue;
      const later = placed.slice(index).map((other) => other.state);
      const difference = findViewDifference(expected, deed.outcome, later, state);
      if (difference !== null) return this.#note(depth, `${deed.command.line(state)}: ${difference}`);
    }
    return true;
  }

  #note(depth: number, reason: string): false {
    if (depth > this.#deepest) this.reason = reason;
    this.#deepest = Math.max(depth, this.#deepest);
    return false;
  }
}

function nameOf({ type, discussion_id, user_id }: Pick<Entry, "type" | "discussion_id" | "user_id">): string {
  return `${type} ${discussion_id.slice(-6)} ${user_id.slice(-6)}`.trim();
}

/** What was told of a discussion is erased when that ends, perhaps in the same step. */
function isLike(entry: Entry, row: LogEvent): boolean {
  if (row.type === "event.erased") return entry.user_id === "";
  if (row.type !== entry.type) return false;
  const data = JSON.parse(row.data);
  const told = entry.told?.seq ?? entry.data.seq;
  return told === undefined || told === (data.message?.seq ?? data.seq);
}

function findAnswerDifference(expected: Expected, outcome: Outcome, state: Model): string | null {
  if ("code" in expected) return findRefusalDifference(expected.code, outcome);
  if ("view" in expected) return null;
  const wrong = findStatusDifference(expected.status, outcome);
  return wrong ?? findDifference(expected.body, outcome.body, state.times, "answer");
}

/** `later`: the states from which the view may be; points in time are bound in the last. */
function findViewDifference(
  { status, view, find }: Extract<Expected, { view: unknown }>,
  outcome: Outcome,
  later: readonly Model[],
  last: Model,
): string | null {
  let reason = `the cursor ${outcome.body?.cursor} is of no state`;
  for (const state of later) {
    const seen = view(state);
    if ("code" in seen) {
      const difference = findRefusalDifference(seen.code, outcome);
      if (difference === null) return null;
      reason = difference;
      continue;
    }
    if (outcome.code === null && outcome.body?.cursor !== state.cursor) continue;
    const difference =
      findStatusDifference(status, outcome) ?? findDifference(seen.body, outcome.body, last.times, "answer");
    if (difference === null) return find?.(outcome.body) ?? null;
    reason = difference;
  }
  return reason;
}

function findStatusDifference(status: number, { status: actual, code, body }: Outcome): string | null {
  if (code !== null) return `refused with ${code}: ${JSON.stringify(body)}`;
  return actual === null || actual === status ? null : `status ${actual} instead of ${status}`;
}

function findRefusalDifference(expected: keyof typeof errors, outcome: Outcome): string | null {
  const { code, status } = outcome;
  if (code !== expected) return `${code ?? "carried out"} instead of ${expected}: ${show(outcome.body)}`;
  const [should] = errors[expected];
  return status === null || status === should ? null : `status ${status} instead of ${should}`;
}

function show(body: Json): string {
  return JSON.stringify(body)?.slice(0, 300) ?? "";
}
