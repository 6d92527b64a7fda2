import type { Era, Evidence } from "./evidence.ts";
import { epochOf, expectedOf, leaving, positionOf } from "./expected.ts";
import {
  type Control,
  emptied,
  type Heard,
  type LogRow,
  type StoredMessage,
  type Subscription,
} from "./history.ts";
import type { Fault, Violation } from "./violation.ts";

/** Who is told these at the end of a membership is not told what came after the last that was heard. */
const refusals: ReadonlySet<number> = new Set([4503, 403, 404]);
const withMessage = new Set(["message.new", "message.updated"]);

/** What was heard between two resets. */
interface Stretch {
  /** The cursor from which it went on. */
  since: string;
  entries: (Heard | Control)[];
}

/** One subscription, held against the log. */
export class Listening {
  readonly #subscription: Subscription;
  readonly #evidence: Evidence;
  readonly #violations: Violation[] = [];

  constructor(subscription: Subscription, evidence: Evidence) {
    this.#subscription = subscription;
    this.#evidence = evidence;
  }

  judge(): Violation[] {
    for (const fault of this.#subscription.faults) this.#report("unspoken", fault);
    let stretch: Stretch = { since: this.#subscription.since, entries: [] };
    for (const entry of this.#subscription.heard) {
      if (entry.kind !== "reset") {
        stretch.entries.push(entry);
        continue;
      }
      this.#judgeReset(entry, stretch.entries.at(-1)?.cursor ?? stretch.since);
      this.#judgeStretch(stretch, false);
      stretch = { since: entry.cursor, entries: [] };
    }
    this.#judgeStretch(stretch, true);
    return this.#violations;
  }

  /** Allowed, and not without need: what was to follow on the last cursor cannot be told any more. */
  #judgeReset({ reason = "", cursor }: Control, last: string): void {
    const [from, to] = [this.#evidence.eraOf(epochOf(last)), this.#evidence.eraOf(epochOf(cursor))];
    const isFounded =
      from !== undefined &&
      to?.has(positionOf(cursor)) &&
      (reason === "cursor_expired"
        ? from === to && wasPruned(from, positionOf(last), positionOf(cursor))
        : to.number > from.number && positionOf(cursor) >= to.truth.keptTo);
    if (isFounded && this.#evidence.allowance.resets.includes(reason)) return;
    this.#report("reset", `${reason} at ${cursor} after ${last}`);
  }

  #judgeStretch(stretch: Stretch, isLast: boolean): void {
    const { since, entries } = stretch;
    const era = this.#evidence.eraOf(epochOf(since));
    if (!era) {
      this.#report("altered", `from ${since}, which is in no history`);
      return;
    }
    const after = positionOf(since);
    const expected = expectedOf(era.truth.log, this.#subscription, after);
    const visible = new Map(expected.map((row) => [row.position, row]));
    const seen = new Set<number>();
    let newest = after;
    for (const entry of entries) {
      const position = positionOf(entry.cursor);
      if (entry.kind === "event") {
        if (seen.has(position)) this.#report("doubled", describe(entry));
        else if (position <= newest) this.#report("swapped", `${describe(entry)} after ${newest}`);
        seen.add(position);
        const row = visible.get(position);
        if (row) this.#judgeContent(entry, row, era);
        else this.#report(era.has(position) ? "forbidden" : "ghost", describe(entry));
      } else if (position < newest || epochOf(entry.cursor) !== era.truth.epoch) {
        this.#report("swapped", `${entry.kind} at ${entry.cursor} after ${newest}`);
      }
      newest = Math.max(newest, position);
    }
    const end = this.#endOf(stretch, isLast, era, newest);
    const replays = replaysOf(stretch);
    for (const { position, type, mayBeWithheld } of expected) {
      if (position > end || seen.has(position)) continue;
      const wasReplayed = replays.some(({ from, to }) => from < position && position <= to);
      if (!mayBeWithheld || !wasReplayed) this.#report("lost", `${type} at ${position}`);
    }
  }

  /**
   * Up to there nothing may be missing. What was to come before a reset is gone; and who is refused for good
   * is told nothing more, also if something was still to come.
   */
  #endOf({ since }: Stretch, isLast: boolean, era: Era, newest: number): number {
    const { over, isBrokenOff } = this.#subscription;
    const isOver = era !== this.#evidence.eras.at(-1);
    if (isLast && isOver && over === null && !isBrokenOff) {
      this.#report("lost", `stayed in the history of ${since}, which is over`);
    }
    return !isLast || isOver || this.#mayEndAt(newest, era) ? newest : Number.POSITIVE_INFINITY;
  }

  #mayEndAt(newest: number, { truth }: Era): boolean {
    const { over, isBrokenOff, discussion_id, user_id } = this.#subscription;
    if (isBrokenOff) return true;
    if (over === null || !refusals.has(over) || discussion_id === null) return false;
    return truth.log.some(
      (row) =>
        row.position >= newest &&
        row.discussion_id === discussion_id &&
        row.user_id === user_id &&
        leaving.has(row.type),
    );
  }

  #judgeContent(heard: Heard, row: LogRow, era: Era): void {
    if (!isSame(heard, row, era)) {
      this.#report("altered", `${describe(heard)} about ${heard.about}, in the log ${JSON.stringify(row)}`);
    } else if (heard.hash === null || heard.seq === null) {
      if (withMessage.has(heard.type)) this.#report("altered", `${describe(heard)} without its message`);
    } else {
      const message = era.message({ ...heard, seq: heard.seq });
      const wrong = message ? this.#whatIsWrong(heard, message, era) : undefined;
      if (!message) this.#report("ghost", describe(heard));
      else if (wrong) this.#report("altered", `${describe(heard)}: ${wrong}`);
    }
  }

  /** An event tells its message as it was then, or as it is when it is told, but not as it was before. */
  #whatIsWrong({ hash, cursor, about }: Heard, message: StoredMessage, era: Era): string | undefined {
    const position = positionOf(cursor);
    if (about !== message.about) return `about ${about}, of ${message.about}`;
    if (hash === emptied) return message.is_deleted ? undefined : "it was not deleted";
    const [deletedAt = Number.POSITIVE_INFINITY] = era.told("message.deleted", message);
    if (position >= deletedAt) return "a text that was deleted";
    // Of a deleted message only those who wrote it know what it said.
    const versions = message.is_deleted
      ? (this.#evidence.attemptOf(message.client_id)?.hashes ?? [])
      : message.hashes;
    const version = versions.lastIndexOf(hash ?? "");
    if (version === -1) return "a text that it never had";
    const edits = era.told("message.updated", message).filter((place) => place <= position).length;
    return version < edits ? "a text that it had no more" : undefined;
  }

  #report(fault: Fault, detail: string): void {
    this.#violations.push({ fault, detail: `${this.#subscription.name}: ${detail}` });
  }
}

/** Whether what follows a position was pruned, before the log went on to another one. */
function wasPruned({ truth }: Era, last: number, newest: number): boolean {
  return truth.prunes.some((place) => last < place && place <= newest);
}

/**
 * The positions that came as a replay, as opposed to live: from where each connection began to its `ready`,
 * or to the last that came on it.
 */
function replaysOf({ since, entries }: Stretch): { from: number; to: number }[] {
  const replays: { from: number; to: number }[] = [];
  let newest = positionOf(since);
  let from: number | null = newest;
  for (const { kind, cursor } of entries) {
    const position = positionOf(cursor);
    if (kind !== "event" && from !== null) replays.push({ from, to: Math.max(newest, position) });
    newest = Math.max(newest, position);
    if (kind !== "event") from = kind === "opened" ? newest : null;
  }
  if (from !== null) replays.push({ from, to: newest });
  return replays;
}

function isSame(heard: Heard, row: LogRow, { truth }: Era): boolean {
  return (
    epochOf(heard.cursor) === truth.epoch &&
    heard.type === row.type &&
    heard.discussion_id === row.discussion_id &&
    heard.seq === row.seq &&
    (heard.hash !== null || heard.about === row.about)
  );
}

function describe({ cursor, type, seq }: Heard): string {
  return `${type}${seq === null ? "" : ` of seq ${seq}`} at ${cursor}`;
}
