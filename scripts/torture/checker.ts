/**
 * Judges a history: was every promise kept, and did each subscriber hear exactly what the log holds for it?
 * Pure, and written without a look at how the server decides what a stream hears.
 */
import { epochOf, expectedOf, positionOf } from "./expected.ts";
import type {
  Attempt,
  Control,
  Heard,
  History,
  LogRow,
  StoredMessage,
  Subscription,
  Truth,
} from "./history.ts";

/** What can be wrong, each with a word of its own. */
export type Fault =
  | "unstored" // acknowledged, and not there
  | "stored twice"
  | "disordered" // a writer's messages are stored in another order than they were sent
  | "hole" // seq or positions are not 1, 2, 3 …
  | "lost"
  | "doubled"
  | "swapped" // the order fell
  | "ghost" // heard, and never stored
  | "forbidden" // heard by somebody who may not see it
  | "altered" // heard with a text or a place that it never had
  | "reset" // a reset that this plan gives no reason for
  | "unspoken"; // something that the contract does not know

export interface Violation {
  fault: Fault;
  detail: string;
}

/** What a plan lets happen. */
export interface Allowance {
  /** Reasons for which streams may be reset. */
  resets: readonly string[];
}

export const emptied = "emptied";
const mostDescribed = 40;
/** Who is told these at the end of a membership is not told what came after the last that was heard. */
const refusals: ReadonlySet<number> = new Set([4503, 403, 404]);
const leaving = new Set(["member.removed", "discussion.deleted"]);

/** What the judges of all subscriptions share. */
interface Evidence {
  truth: Truth;
  allowance: Allowance;
  /** By discussion and seq. */
  messages: ReadonlyMap<string, StoredMessage>;
  /** By client_id. */
  attempts: ReadonlyMap<string, Attempt>;
}

export function check(history: History, truth: Truth, allowance: Allowance = { resets: [] }): Violation[] {
  const messages = new Map(truth.messages.map((message) => [keyOf(message), message]));
  const attempts = new Map(history.attempts.map((attempt) => [attempt.client_id, attempt]));
  const evidence = { truth, allowance, messages, attempts };
  return [
    ...checkPromises(history.attempts, truth.messages, messages),
    ...checkPlaces(truth),
    ...history.subscriptions.flatMap((subscription) => new Listening(subscription, evidence).judge()),
  ];
}

/** Violations in words, one a line; of very many the first. */
export function describeViolations(violations: readonly Violation[]): string {
  const lines = violations.slice(0, mostDescribed).map(({ fault, detail }) => `${fault}: ${detail}`);
  const more = violations.length - lines.length;
  return [...lines, ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
}

/** Everything that was acknowledged is stored, once, as it was acknowledged, and in the writer's order. */
function checkPromises(
  attempts: Attempt[],
  stored: StoredMessage[],
  messages: Map<string, StoredMessage>,
): Violation[] {
  const violations: Violation[] = [];
  const counts = new Map<string, number>();
  for (const { discussion_id, client_id } of stored) {
    const key = `${discussion_id} ${client_id}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const newest = new Map<string, Attempt>();
  for (const attempt of [...attempts].sort((a, b) => a.number - b.number)) {
    const name = `${attempt.client_id} in ${attempt.discussion_id}`;
    const times = counts.get(`${attempt.discussion_id} ${attempt.client_id}`) ?? 0;
    if (times > 1) violations.push({ fault: "stored twice", detail: `${name}: ${times} times` });
    if (attempt.seq === null) continue;
    const message = messages.get(keyOf({ ...attempt, seq: attempt.seq }));
    const said = message?.is_deleted ? emptied : message?.hashes.at(-1);
    if (!message || message.client_id !== attempt.client_id) {
      violations.push({ fault: "unstored", detail: `${name}: acknowledged as seq ${attempt.seq}` });
    } else if (!isKept(attempt, message, said)) {
      violations.push({ fault: "unstored", detail: `${name}: an acknowledged change is not there` });
    }
    const place = `${attempt.writer} ${attempt.discussion_id}`;
    const before = newest.get(place);
    if (before?.seq && before.seq >= attempt.seq) {
      violations.push({ fault: "disordered", detail: `${name} has seq ${attempt.seq} after ${before.seq}` });
    }
    newest.set(place, attempt);
  }
  return violations;
}

/** An attempt that was never answered may have been carried out after the last one that was. */
function isKept(
  { acknowledged, hashes }: Attempt,
  message: StoredMessage,
  said: string | undefined,
): boolean {
  if (said === acknowledged) return true;
  if (acknowledged === emptied || said === undefined) return false;
  const told = acknowledged === null ? -1 : hashes.indexOf(acknowledged);
  return message.is_deleted ? hashes.at(-1) === emptied : hashes.indexOf(said) > told;
}

/** In each discussion seq is 1 … n, and the log's positions are without holes and rise with it. */
function checkPlaces({ log, messages }: Truth): Violation[] {
  const violations: Violation[] = [];
  const first = log[0]?.position ?? 1;
  const hole = log.findIndex(({ position }, index) => position !== first + index);
  if (hole !== -1) violations.push({ fault: "hole", detail: `after position ${log[hole - 1]?.position}` });
  const ends = new Map<string, number>();
  const inOrder = [...messages].sort((a, b) => a.seq - b.seq);
  for (const { discussion_id, seq } of inOrder) {
    const end = ends.get(discussion_id) ?? 0;
    if (seq !== end + 1)
      violations.push({ fault: "hole", detail: `${discussion_id}: seq ${seq} after ${end}` });
    ends.set(discussion_id, seq);
  }
  const told = new Map<string, number>();
  for (const { type, discussion_id, seq, position } of log) {
    if (type !== "message.new" || seq === null) continue;
    if (seq <= (told.get(discussion_id) ?? 0)) {
      violations.push({ fault: "disordered", detail: `seq ${seq} of ${discussion_id} at ${position}` });
    }
    told.set(discussion_id, seq);
  }
  return violations;
}

/** One subscription, held against the log. */
class Listening {
  readonly #subscription: Subscription;
  readonly #evidence: Evidence;
  readonly #violations: Violation[] = [];

  constructor(subscription: Subscription, evidence: Evidence) {
    this.#subscription = subscription;
    this.#evidence = evidence;
  }

  judge(): Violation[] {
    for (const fault of this.#subscription.faults) this.#report("unspoken", fault);
    let since = this.#subscription.since;
    let stretch: Heard[] = [];
    for (const entry of this.#subscription.heard) {
      if (entry.kind === "event") stretch.push(entry);
      if (entry.kind === "ready" && positionOf(entry.cursor) < lastPosition(stretch, since)) {
        this.#report("swapped", `ready at ${entry.cursor} after ${stretch.at(-1)?.cursor ?? since}`);
      }
      if (entry.kind !== "reset") continue;
      this.#judgeReset(entry);
      this.#judgeStretch(since, stretch, false);
      since = entry.cursor;
      stretch = [];
    }
    this.#judgeStretch(since, stretch, true);
    return this.#violations;
  }

  #judgeReset({ reason = "", cursor }: Control): void {
    if (!this.#evidence.allowance.resets.includes(reason)) this.#report("reset", `${reason} at ${cursor}`);
  }

  /** Before a reset the end is open; at the end of all, nothing may be missing. */
  #judgeStretch(since: string, stretch: Heard[], isLast: boolean): void {
    // A log that has gone: nothing to hold it against.
    if (epochOf(since) !== this.#evidence.truth.epoch) {
      if (!this.#evidence.allowance.resets.includes("epoch_changed"))
        this.#report("altered", `from ${since}`);
      return;
    }
    const after = positionOf(since);
    const expected = expectedOf(this.#evidence.truth.log, this.#subscription, after);
    const visible = new Map(expected.map((row) => [row.position, row]));
    const seen = new Set<number>();
    let newest = after;
    for (const heard of stretch) {
      const position = positionOf(heard.cursor);
      if (seen.has(position)) this.#report("doubled", describe(heard));
      else if (position <= newest) this.#report("swapped", `${describe(heard)} after ${newest}`);
      seen.add(position);
      newest = Math.max(newest, position);
      const row = visible.get(position);
      if (row) this.#judgeContent(heard, row);
      else this.#report(this.#isInLog(position) ? "forbidden" : "ghost", describe(heard));
    }
    // Who is refused for good is told nothing more, also if something was still to come.
    const isOpen = !isLast || this.#mayEndAt(newest);
    const end = isOpen ? newest : Number.POSITIVE_INFINITY;
    for (const { position, type, mayBeWithheld } of expected) {
      if (position > end || seen.has(position) || mayBeWithheld) continue;
      this.#report("lost", `${type} at ${position}`);
    }
  }

  #mayEndAt(newest: number): boolean {
    const { over, isBrokenOff, discussion_id, user_id } = this.#subscription;
    if (isBrokenOff) return true;
    if (over === null || !refusals.has(over) || discussion_id === null) return false;
    return this.#evidence.truth.log.some(
      (row) =>
        row.position >= newest &&
        row.discussion_id === discussion_id &&
        row.user_id === user_id &&
        leaving.has(row.type),
    );
  }

  #isInLog(position: number): boolean {
    const { log } = this.#evidence.truth;
    const first = log[0]?.position ?? 1;
    return position >= first && position < first + log.length;
  }

  #judgeContent(heard: Heard, row: LogRow): void {
    if (!this.#isSame(heard, row)) {
      this.#report("altered", `${describe(heard)}, in the log ${JSON.stringify(row)}`);
    } else if (heard.hash !== null && heard.seq !== null) {
      const message = this.#evidence.messages.get(keyOf({ ...heard, seq: heard.seq }));
      if (!message) this.#report("ghost", describe(heard));
      else if (!this.#everSaid(message, heard.hash)) {
        this.#report("altered", `${describe(heard)}: a text that it never had`);
      }
    }
  }

  #isSame(heard: Heard, row: LogRow): boolean {
    return (
      epochOf(heard.cursor) === this.#evidence.truth.epoch &&
      heard.type === row.type &&
      heard.discussion_id === row.discussion_id &&
      heard.seq === row.seq
    );
  }

  #everSaid(message: StoredMessage, hash: string): boolean {
    if (hash === emptied) return message.is_deleted;
    const attempted = this.#evidence.attempts.get(message.client_id ?? "")?.hashes ?? [];
    return message.hashes.includes(hash) || attempted.includes(hash);
  }

  #report(fault: Fault, detail: string): void {
    this.#violations.push({ fault, detail: `${this.#subscription.name}: ${detail}` });
  }
}

function lastPosition(stretch: Heard[], since: string): number {
  return positionOf(stretch.at(-1)?.cursor ?? since);
}

function keyOf({ discussion_id, seq }: { discussion_id: string; seq: number }): string {
  return `${discussion_id} ${seq}`;
}

function describe({ cursor, type, seq }: Heard): string {
  return `${type}${seq === null ? "" : ` of seq ${seq}`} at ${cursor}`;
}
