/** A good history, into which tests of the checker put faults. */
import { check } from "../../scripts/torture/checker.ts";
import type { Attempt, Heard, History, LogRow, Truth } from "../../scripts/torture/history.ts";
import type { Fault } from "../../scripts/torture/violation.ts";

export const epoch = "0a1b2c3d";
export const tea = "tea";
const [ann, bob, cem] = ["ann", "bob", "cem"];
/** What all the messages are about. */
export const ofAnn = "of ann";
export const messageCount = 12;
/** Cem is a member from the one to the other. */
export const [joinedAt, leftAt] = [6, 12];

export interface Case {
  history: History;
  truth: Truth;
}

/** Ann writes twelve messages to Bob; Cem comes after the third and goes after the eighth. */
export function goodCase(): Case {
  const log: LogRow[] = [
    { position: 1, discussion_id: tea, user_id: ann, type: "member.enrolled", seq: null, about: "" },
    { position: 2, discussion_id: tea, user_id: bob, type: "member.enrolled", seq: null, about: "" },
  ];
  const append = (type: string, user_id = "", seq: number | null = null) =>
    log.push({ position: log.length + 1, discussion_id: tea, user_id, type, seq, about: user_id });
  for (let seq = 1; seq <= messageCount; seq++) {
    if (log.length + 1 === joinedAt) append("member.added", cem);
    if (log.length + 1 === leftAt) append("member.removed", cem);
    append("message.new", "", seq);
  }
  const attempts = Array.from({ length: messageCount }, (_, index) => attempt(index + 1));
  const messages = attempts.map(({ discussion_id, seq, client_id, hashes }) => ({
    discussion_id,
    seq: seq ?? 0,
    client_id,
    hashes: [...hashes],
    is_deleted: false,
    about: ofAnn,
  }));
  const inTheDiscussion = ({ position }: LogRow) => position > 2;
  const seenByCem = ({ position }: LogRow) => position >= joinedAt && position <= leftAt;
  return {
    truth: { epoch, log, messages, prunes: [], keptTo: 0 },
    history: {
      attempts,
      subscriptions: [
        subscription("Bob's events", bob, log.filter(inTheDiscussion)),
        subscription("Cem's socket", cem, log.filter(seenByCem)),
      ],
    },
  };
}

export function attempt(number: number): Attempt {
  const hashes = [`hash ${number}`];
  const acknowledged = `hash ${number}`;
  return {
    writer: ann,
    number,
    discussion_id: tea,
    client_id: `ann-${number}`,
    hashes,
    acknowledged,
    seq: number,
    era: 0,
  };
}

function subscription(name: string, user_id: string, rows: LogRow[]) {
  const heard = rows.map(heardOf);
  const since = `${epoch}.2`;
  return { name, user_id, discussion_id: null, since, heard, connections: 3, over: null, faults: [] };
}

export function heardOf({ position, discussion_id, type, seq, about }: LogRow): Heard {
  const hash = seq === null ? null : `hash ${seq}`;
  const isOfMessage = type === "message.new" || type === "message.updated";
  return {
    kind: "event",
    cursor: `${epoch}.${position}`,
    type,
    discussion_id,
    seq,
    hash,
    about: isOfMessage ? ofAnn : about,
  };
}

export function newRow(position: number, seq: number): LogRow {
  return { position, discussion_id: tea, user_id: "", type: "message.new", seq, about: "" };
}

/** Puts a fault into a good history, which is changed in place, and gives what the checker says of it. */
export function faultsOf(spoil: (good: Case) => void, resets: string[] = []): Fault[] {
  const { history, truth } = goodCase();
  spoil({ history, truth });
  return check(history, [truth], { resets }).map(({ fault }) => fault);
}

/** What Bob heard, as a list to be spoilt. */
export const bobHeard = ({ history }: Case) => history.subscriptions[0]?.heard ?? [];
export const cemHeard = ({ history }: Case) => history.subscriptions[1]?.heard ?? [];
