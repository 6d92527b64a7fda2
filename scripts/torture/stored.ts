import type { Era, Evidence } from "./evidence.ts";
import { type Attempt, emptied, type StoredMessage, type Truth } from "./history.ts";
import type { Violation } from "./violation.ts";

/** Everything that was acknowledged is stored, once, as it was acknowledged, and in the writer's order. */
export function checkPromises({ attempts, eras }: Evidence): Violation[] {
  const violations: Violation[] = [];
  const newest = new Map<string, Attempt>();
  for (const attempt of [...attempts].sort((a, b) => a.number - b.number)) {
    const { client_id, discussion_id, seq, writer } = attempt;
    const name = `${client_id} in ${discussion_id}`;
    if (seq === null) continue;
    const message = eras[attempt.era]?.message({ discussion_id, seq });
    if (!message || message.client_id !== client_id) {
      violations.push({ fault: "unstored", detail: `${name}: acknowledged as seq ${seq}` });
    } else if (!isKept(attempt, message)) {
      violations.push({ fault: "unstored", detail: `${name}: an acknowledged change is not there` });
    }
    const place = `${writer} ${discussion_id} ${attempt.era}`;
    const before = newest.get(place);
    if (before?.seq && before.seq >= seq) {
      violations.push({ fault: "disordered", detail: `${name} has seq ${seq} after ${before.seq}` });
    }
    newest.set(place, attempt);
  }
  return violations;
}

/** An attempt that was never answered may have been carried out after the last one that was. */
function isKept({ acknowledged, hashes }: Attempt, message: StoredMessage): boolean {
  const said = message.is_deleted ? emptied : message.hashes.at(-1);
  if (said === acknowledged) return true;
  if (acknowledged === emptied || said === undefined) return false;
  const told = acknowledged === null ? -1 : hashes.indexOf(acknowledged);
  return message.is_deleted ? hashes.at(-1) === emptied : hashes.indexOf(said) > told;
}

/** Each history agrees with itself, with what was asked for, and with the one that it goes on from. */
export function checkStored(evidence: Evidence): Violation[] {
  const written = new Set(evidence.attempts.map(({ discussion_id }) => discussion_id));
  return evidence.eras.flatMap((era) => [
    ...checkPlaces(era.truth),
    ...checkKept(era.truth, evidence.eras[era.number - 1]?.truth),
    ...checkMessages(era, evidence, written),
  ]);
}

/** In each discussion seq is 1 … n; the log's positions are 1 … n, and rise with it. */
function checkPlaces({ log, messages }: Truth): Violation[] {
  const violations: Violation[] = [];
  const hole = log.findIndex(({ position }, index) => position !== 1 + index);
  if (hole !== -1) violations.push({ fault: "hole", detail: `there is no position ${1 + hole}` });
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

/** What a backup held is what there was. */
function checkKept({ log, keptTo, epoch }: Truth, before: Truth | undefined): Violation[] {
  if (!before) return [];
  const violations: Violation[] = [];
  if (epoch === before.epoch)
    violations.push({ fault: "altered", detail: `two histories are called ${epoch}` });
  for (let index = 0; index < keptTo; index++) {
    const [row, earlier] = [JSON.stringify(log[index]), JSON.stringify(before.log[index])];
    if (row === earlier) continue;
    violations.push({ fault: "altered", detail: `${row} in the log was ${earlier} before the restore` });
    break;
  }
  return violations;
}

/** Each message is what somebody sent, and the log tells of it, and of each of its changes, once. */
function checkMessages(era: Era, evidence: Evidence, written: ReadonlySet<string>): Violation[] {
  const violations: Violation[] = [];
  for (const { type, discussion_id, seq, position } of era.truth.log) {
    if (type !== "message.new" || seq === null || era.message({ discussion_id, seq })) continue;
    violations.push({
      fault: "ghost",
      detail: `seq ${seq} of ${discussion_id} at ${position} is not stored`,
    });
  }
  const clientIds = new Set<string>();
  for (const message of era.truth.messages) {
    const { discussion_id, seq, client_id, hashes, is_deleted } = message;
    const name = `${client_id} in ${discussion_id}, seq ${seq}`;
    const key = `${discussion_id} ${client_id}`;
    if (client_id !== null && clientIds.has(key)) violations.push({ fault: "stored twice", detail: name });
    clientIds.add(key);
    // Elsewhere others write, who do not keep a notebook.
    if (written.has(discussion_id) && !wasAsked(message, evidence.attemptOf(client_id))) {
      violations.push({ fault: "unasked", detail: name });
    }
    const due = {
      "message.new": 1,
      // The versions of a deleted message are gone with it.
      ...(!is_deleted && { "message.updated": hashes.length - 1 }),
      "message.deleted": is_deleted ? 1 : 0,
    };
    for (const [type, count] of Object.entries(due)) {
      const told = era.told(type, message).length;
      if (told === count) continue;
      violations.push({ fault: "untold", detail: `${name}: ${told} times ${type} instead of ${count}` });
    }
  }
  return violations;
}

function wasAsked(
  { discussion_id, hashes, is_deleted }: StoredMessage,
  attempt: Attempt | undefined,
): boolean {
  if (attempt?.discussion_id !== discussion_id) return false;
  return (is_deleted ? [emptied] : hashes).every((hash) => attempt.hashes.includes(hash));
}
