/** What a stream has to tell, by the model's log, and whether it did: everything, in order, once, no more. */
import type { Json } from "../support/client.ts";
import { findDifference } from "./match.ts";
import { type Entry, type Model, versionAt } from "./model.ts";
import { entryData } from "./shapes.ts";

/** One connection of a reader, from its cursor to where it was cut off. */
export interface Sitting {
  userId: string;
  /** Null: all discussions. */
  discussionId: string | null;
  /** The position of its cursor; null: from now. */
  since: number | null;
  /** The log's end before the stream was asked for, and when `ready` had come, or it had ended. */
  low: number;
  high: number;
  /** All that came; it may still grow. */
  received: readonly Json[];
  /** By which code the server ended it. */
  ended(): number | undefined;
}

/** An entry that a sitting has to tell. */
export interface Telling {
  entry: Entry;
  /** Whether it may be missing, as its stream began or the entry went at the same time. */
  isOptional: boolean;
  /** The versions of its message that may be told: from, to. */
  versions: readonly [number, number];
}

const leaving = new Set(["member.removed", "discussion.deleted"]);
const joining = new Set(["member.enrolled", "member.added"]);
const control = new Set(["ready", "reset"]);

/** What is durable, or controls the stream. */
export function durable(received: readonly Json[]): Json[] {
  return received.filter(({ cursor, type }) => cursor !== undefined && type !== "ack");
}

/** What ends a sitting, by the log: the position and the code; null: nothing. */
export function endingOf(model: Model, sitting: Sitting): { position: number; code: number } | null {
  const { userId, discussionId, low, received } = sitting;
  // What comes before `ready` was so already when the right to the stream was looked at.
  const from = Math.max(low, readyPosition(received) ?? low);
  const ending = model.log.find(
    ({ position, user_id, type, discussion_id }) =>
      position > from &&
      user_id === userId &&
      (type === "session.revoked" ||
        (leaving.has(type) && discussionId !== null && discussion_id === discussionId)),
  );
  if (!ending) return null;
  return { position: ending.position, code: ending.type === "session.revoked" ? 4502 : 4503 };
}

export function tellingsOf(model: Model, sitting: Sitting): Telling[] {
  const { userId, discussionId, low, high } = sitting;
  const since = sitting.since ?? beginningOf(sitting.received) ?? low;
  const ending = endingOf(model, sitting);
  return model.log
    .filter(
      ({ position, audience, discussion_id }) =>
        position > since &&
        audience.includes(userId) &&
        (discussionId === null || discussionId === discussion_id) &&
        position <= (ending?.position ?? model.end),
    )
    .flatMap((entry) => {
      const erased = whenErased(model, entry, low, high);
      const hidden = whenHidden(model, entry, sitting);
      if (erased === "yes" || hidden === "yes") return [];
      const isOptional = erased === "maybe" || hidden === "maybe";
      return [{ entry, isOptional, versions: versionsOf(model, entry, low, high) }];
    });
}

type Answer = "yes" | "no" | "maybe";

/** Of a discussion that is deleted, nothing is replayed but what concerns its reader by name. */
function whenErased(model: Model, entry: Entry, low: number, high: number): Answer {
  const deletedAt = model.discussions.get(entry.discussion_id)?.deletedAt ?? null;
  if (deletedAt === null || entry.user_id !== "") return "no";
  if (deletedAt <= low) return "yes";
  // An instance that hears of both at once may find only what is left of the first.
  const isAtOnce = model.log[deletedAt - model.start - 1]?.step === entry.step;
  return isAtOnce || (entry.position <= high && deletedAt <= high) ? "maybe" : "no";
}

/** A former member is not told what was written into a message after the membership ended. */
function whenHidden(model: Model, entry: Entry, { userId, low, high }: Sitting): Answer {
  const message = entry.told && model.discussions.get(entry.discussion_id)?.messages[entry.told.seq - 1];
  if (!message || entry.position > high) return "no";
  const judge = (position: number): Answer => {
    const left = lastMove(model, entry.discussion_id, userId, position);
    if (!left || !leaving.has(left.type)) return "no";
    const { edited_at, editedPosition } = message.versions[versionAt(message, position)] ?? {};
    if (!edited_at || editedPosition === undefined) return "no";
    if (editedPosition > left.position) return "yes";
    // The server compares points in time, of a millisecond.
    return model.times.get(edited_at) === model.times.get(left.at) ? "maybe" : "no";
  };
  const [first, last] = [judge(low), judge(high)];
  return first === last ? first : "maybe";
}

function lastMove(model: Model, discussionId: string, userId: string, position: number): Entry | undefined {
  return model.log.findLast(
    (entry) =>
      entry.position <= position &&
      entry.discussion_id === discussionId &&
      entry.user_id === userId &&
      (leaving.has(entry.type) || joining.has(entry.type)),
  );
}

/** What is replayed tells a message as it is now; what comes live, as it was then, or is since. */
function versionsOf(model: Model, { discussion_id, told, position }: Entry, low: number, high: number) {
  const message = told && model.discussions.get(discussion_id)?.messages[told.seq - 1];
  if (!message) return [0, 0] as const;
  const newest = message.versions.length - 1;
  if (position > low) return [told.version, newest] as const;
  return [versionAt(message, low), versionAt(message, high)] as const;
}

/** Where a stream "from now" began, which may be a little before it was `ready`. */
function beginningOf(received: readonly Json[]): number | null {
  const [first] = durable(received);
  if (!first) return null;
  return first.type === "ready" ? positionOf(first) : positionOf(first) - 1;
}

function readyPosition(received: readonly Json[]): number | null {
  const ready = received.find(({ type }) => type === "ready");
  return ready ? positionOf(ready) : null;
}

export function positionOf({ cursor }: Json): number {
  return Number(cursor.split(".")[1]);
}

/**
 * What is wrong with what a sitting told up to now, in words; null: nothing. If `isWhole`, it was not cut off
 * and nothing more will come: all must have, unless it was ended in the middle of its replay.
 */
export function findFault(model: Model, sitting: Sitting, isWhole: boolean): string | null {
  const came = durable(sitting.received);
  const tellings = tellingsOf(model, sitting);
  const fault = findControlFault(sitting, came);
  if (fault !== null) return fault;
  let next = 0;
  for (const event of came.filter(({ type }) => !control.has(type))) {
    const position = positionOf(event);
    const from = next;
    while ((tellings[next]?.entry.position ?? position) < position) next++;
    const lost = tellings.slice(from, next).find(({ isOptional }) => !isOptional);
    if (lost) return `${nameOf(lost.entry)} is missing before ${nameOf({ ...event, position })}`;
    const telling = tellings[next];
    if (!telling || telling.entry.position !== position)
      return `${nameOf({ ...event, position })} is a ghost, or comes too late or twice`;
    const difference = findTellingDifference(model, telling, event);
    if (difference !== null) return `${nameOf(telling.entry)}: ${difference}`;
    next++;
  }
  const seen = came.length === 0 ? (sitting.since ?? 0) : positionOf(came.at(-1));
  const hasToTellAll = isWhole && readyPosition(came) !== null;
  const lost = tellings
    .slice(next)
    .find(({ entry, isOptional }) => !isOptional && (hasToTellAll || entry.position <= seen));
  return lost ? `${nameOf(lost.entry)} is missing at the end` : null;
}

/** `ready` comes once, after all that was before the stream was asked for and before what is live. */
function findControlFault({ since, low, ended }: Sitting, came: readonly Json[]): string | null {
  if (came.some(({ type }) => type === "reset")) return "a reset, although nothing was pruned";
  const at = came.findIndex(({ type }) => type === "ready");
  if (came.findLastIndex(({ type }) => type === "ready") !== at) return "ready came twice";
  if (at === -1) return came.length > 0 && ended() === undefined && since === null ? "no ready" : null;
  const ready = positionOf(came[at]);
  if (ready < low) return `ready at ${ready}, before ${low}`;
  if (came.slice(0, at).some((event) => positionOf(event) > ready)) return "ready came late";
  return came.slice(at + 1).some((event) => positionOf(event) <= ready) ? "ready came early" : null;
}

function findTellingDifference(model: Model, { entry, versions }: Telling, event: Json): string | null {
  const { type, discussion_id, at } = entry;
  const alike = lookalikes(model, entry);
  if (alike.length > 1 && alike.includes(event.type) && event.discussion_id === discussion_id) return null;
  let reason: string | null = "there is no such version";
  for (let version = versions[0]; version <= versions[1]; version++) {
    const data = entryData(model, entry, version);
    const expected = { type, cursor: `${model.epoch}.${entry.position}`, discussion_id, at, ...data };
    reason = findDifference(expected, event, model.times);
    if (reason === null) return null;
  }
  return reason;
}

/**
 * What was told of a discussion in the very step that deleted it is erased from the log, so that its order in
 * there is not known: the types that may be told in this place.
 */
function lookalikes(model: Model, { discussion_id, user_id, step }: Entry): string[] {
  const deletedAt = model.discussions.get(discussion_id)?.deletedAt ?? null;
  if (deletedAt === null || user_id !== "") return [];
  if (model.log[deletedAt - model.start - 1]?.step !== step) return [];
  return model.log
    .filter((one) => one.step === step && one.discussion_id === discussion_id && one.user_id === "")
    .map(({ type }) => type);
}

function nameOf({ type, position, told, data, seq, message }: Json): string {
  const of = told?.seq ?? data?.seq ?? message?.seq ?? seq;
  return `${type}${of === undefined ? "" : ` of message ${of}`} at ${position}`;
}
