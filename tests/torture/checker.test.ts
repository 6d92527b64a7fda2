import assert from "node:assert/strict";
import { test } from "uvu";
import { check, describeViolations, emptied, type Fault } from "../../scripts/torture/checker.ts";
import type { Attempt, Control, Heard, History, LogRow, Truth } from "../../scripts/torture/history.ts";

// A checker that finds nothing is worth what it would find: each fault is put into a good history, and it has
// to say so, by its name.

const epoch = "0a1b2c3d";
const tea = "tea";
const [ann, bob, cem] = ["ann", "bob", "cem"];
const messageCount = 12;
/** Cem is a member from the one to the other. */
const [joinedAt, leftAt] = [6, 12];

interface Case {
  history: History;
  truth: Truth;
}

/** Ann writes twelve messages to Bob; Cem comes after the third and goes after the eighth. */
function goodCase(): Case {
  const log: LogRow[] = [
    { position: 1, discussion_id: tea, user_id: ann, type: "member.enrolled", seq: null },
    { position: 2, discussion_id: tea, user_id: bob, type: "member.enrolled", seq: null },
  ];
  const append = (type: string, user_id = "", seq: number | null = null) =>
    log.push({ position: log.length + 1, discussion_id: tea, user_id, type, seq });
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
  }));
  const inTheDiscussion = ({ position }: LogRow) => position > 2;
  const seenByCem = ({ position }: LogRow) => position >= joinedAt && position <= leftAt;
  return {
    truth: { epoch, log, messages },
    history: {
      attempts,
      subscriptions: [
        subscription("Bob's events", bob, log.filter(inTheDiscussion)),
        subscription("Cem's socket", cem, log.filter(seenByCem)),
      ],
    },
  };
}

function attempt(number: number): Attempt {
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
  };
}

function subscription(name: string, user_id: string, rows: LogRow[]) {
  const heard = rows.map(heardOf);
  const since = `${epoch}.2`;
  return { name, user_id, discussion_id: null, since, heard, connections: 3, over: null, faults: [] };
}

function heardOf({ position, discussion_id, type, seq }: LogRow): Heard {
  const hash = seq === null ? null : `hash ${seq}`;
  return { kind: "event", cursor: `${epoch}.${position}`, type, discussion_id, seq, hash };
}

/** Puts a fault into a good history, which is changed in place, and gives what the checker says of it. */
function faultsOf(spoil: (good: Case) => void, resets: string[] = []): Fault[] {
  const { history, truth } = goodCase();
  spoil({ history, truth });
  return check(history, truth, { resets }).map(({ fault }) => fault);
}

/** What Bob heard, as a list to be spoilt. */
const bobHeard = ({ history }: Case) => history.subscriptions[0]?.heard ?? [];
const cemHeard = ({ history }: Case) => history.subscriptions[1]?.heard ?? [];

test("a good history has no faults", () => {
  const { history, truth } = goodCase();
  assert.equal(describeViolations(check(history, truth)), "");
  assert.equal(truth.log.length, messageCount + 4);
});

test("one lost message is found, in the middle and at the end", () => {
  assert.deepEqual(
    faultsOf((it) => bobHeard(it).splice(4, 1)),
    ["lost"],
  );
  assert.deepEqual(
    faultsOf((it) => bobHeard(it).pop()),
    ["lost"],
  );
  assert.deepEqual(
    faultsOf((it) => bobHeard(it).shift()),
    ["lost"],
  );
});

test("a doubled message is found, at once and later", () => {
  const again = (from: number, to: number) => (it: Case) => {
    const copied = bobHeard(it)[from];
    assert.ok(copied);
    bobHeard(it).splice(to, 0, copied);
  };
  assert.deepEqual(faultsOf(again(4, 5)), ["doubled"]);
  assert.deepEqual(faultsOf(again(4, 9)), ["doubled"]);
});

test("two swapped messages are found", () => {
  const swap = (it: Case) => {
    const [one, two] = bobHeard(it).splice(4, 2);
    assert.ok(one && two);
    bobHeard(it).splice(4, 0, two, one);
  };
  assert.deepEqual(faultsOf(swap), ["swapped"]);
});

test("a ghost is found: beyond the log's end, or of a message that is not stored", () => {
  const position = messageCount + 5;
  const row = { position, discussion_id: tea, user_id: "", type: "message.new", seq: messageCount + 1 };
  assert.deepEqual(
    faultsOf((it) => bobHeard(it).push(heardOf(row))),
    ["ghost"],
  );
  const unstored = ({ truth, history }: Case) => {
    truth.messages.pop();
    history.attempts.pop();
  };
  assert.deepEqual(faultsOf(unstored), ["ghost"]);
});

test("what somebody hears who may not is found: before joining, after leaving, of another discussion", () => {
  const tellCem = (position: number) => (it: Case) => {
    const row = it.truth.log[position - 1];
    assert.ok(row);
    if (position < joinedAt) cemHeard(it).unshift(heardOf(row));
    else cemHeard(it).push(heardOf(row));
  };
  assert.deepEqual(faultsOf(tellCem(joinedAt - 1)), ["forbidden"]);
  assert.deepEqual(faultsOf(tellCem(leftAt + 1)), ["forbidden"]);
  const internal = (it: Case) => {
    const row = it.truth.log[1];
    assert.ok(row);
    bobHeard(it).unshift(heardOf({ ...row, position: 2 }));
    Object.assign(it.history.subscriptions[0] ?? {}, { since: `${epoch}.1` });
  };
  assert.deepEqual(faultsOf(internal), ["forbidden"]);
});

test("another text, type or place is found", () => {
  const alter = (change: Partial<Heard>) => (it: Case) => void Object.assign(bobHeard(it)[4] ?? {}, change);
  assert.deepEqual(faultsOf(alter({ hash: "hash of another" })), ["altered"]);
  assert.deepEqual(faultsOf(alter({ type: "message.updated" })), ["altered"]);
  assert.deepEqual(faultsOf(alter({ discussion_id: "coffee" })), ["altered"]);
  assert.deepEqual(faultsOf(alter({ seq: 1 })), ["altered"]);
  assert.deepEqual(faultsOf(alter({ cursor: `00000000.${7}` })), ["altered"]);
  assert.deepEqual(faultsOf(alter({ hash: emptied })), ["altered"]);
});

test("a text that was edited away, or is not yet stored, is no fault; a deleted one neither", () => {
  const edit = ({ truth, history }: Case) => {
    truth.messages[4]?.hashes.push("hash of the edit");
    history.attempts[4]?.hashes.push("hash of the edit");
    Object.assign(history.attempts[4] ?? {}, { acknowledged: "hash of the edit" });
  };
  assert.deepEqual(faultsOf(edit), []);
  const erase = ({ truth, history }: Case) => {
    Object.assign(truth.messages[4] ?? {}, { hashes: ["hash of nothing"], is_deleted: true });
    history.attempts[4]?.hashes.push(emptied);
    Object.assign(history.attempts[4] ?? {}, { acknowledged: emptied });
  };
  assert.deepEqual(faultsOf(erase), []);
});

test("a promise that was not kept is found", () => {
  const forget = ({ truth, history }: Case) => {
    truth.messages.pop();
    truth.log.pop();
    for (const { heard } of history.subscriptions.slice(0, 1)) heard.pop();
  };
  assert.deepEqual(faultsOf(forget), ["unstored"]);
  const edit = ({ history }: Case) => {
    history.attempts[4]?.hashes.push("hash of the edit");
    Object.assign(history.attempts[4] ?? {}, { acknowledged: "hash of the edit" });
  };
  assert.deepEqual(faultsOf(edit), ["unstored"]);
  const erase = ({ history }: Case) => {
    history.attempts[4]?.hashes.push(emptied);
    Object.assign(history.attempts[4] ?? {}, { acknowledged: emptied });
  };
  assert.deepEqual(faultsOf(erase), ["unstored"]);
});

test("what was never answered may be stored or not", () => {
  const unanswered = ({ history }: Case) =>
    void Object.assign(history.attempts[4] ?? {}, { seq: null, acknowledged: null });
  assert.deepEqual(faultsOf(unanswered), []);
  const neverCame = ({ history }: Case) =>
    history.attempts.push({ ...attempt(messageCount + 1), seq: null, acknowledged: null });
  assert.deepEqual(faultsOf(neverCame), []);
});

test("a send that was stored twice is found", () => {
  const twice = ({ truth, history }: Case) => {
    const seq = messageCount + 1;
    const row = { position: messageCount + 5, discussion_id: tea, user_id: "", type: "message.new", seq };
    truth.log.push(row);
    truth.messages.push({
      discussion_id: tea,
      seq,
      client_id: "ann-1",
      hashes: ["hash 13"],
      is_deleted: false,
    });
    history.subscriptions[0]?.heard.push(heardOf(row));
  };
  assert.deepEqual(faultsOf(twice), ["stored twice"]);
});

test("a writer's messages that are stored in another order are found", () => {
  const swap = ({ truth, history }: Case) => {
    const [one, two] = [history.attempts[4], history.attempts[5]];
    assert.ok(one && two);
    [one.seq, two.seq] = [two.seq, one.seq];
    const [first, second] = [truth.messages[4], truth.messages[5]];
    assert.ok(first && second);
    [first.client_id, second.client_id] = [second.client_id, first.client_id];
    [first.hashes, second.hashes] = [second.hashes, first.hashes];
    for (const { heard } of history.subscriptions) {
      for (const entry of heard) {
        if (entry.kind !== "event" || (entry.seq !== 5 && entry.seq !== 6)) continue;
        entry.hash = `hash ${11 - entry.seq}`;
      }
    }
  };
  assert.deepEqual(faultsOf(swap), ["disordered"]);
});

test("a hole in seq or in the log is found", () => {
  const holeInSeq = ({ truth, history }: Case) => {
    truth.messages.splice(4, 1);
    history.attempts.splice(4, 1);
  };
  assert.ok(faultsOf(holeInSeq).includes("hole"));
  assert.ok(faultsOf(({ truth }) => truth.log.splice(8, 1)).includes("hole"));
});

test("a reset is a fault unless the plan explains it, and what follows it is held against the log", () => {
  const reset = (it: Case) =>
    bobHeard(it).splice(4, 3, { kind: "reset", reason: "cursor_expired", cursor: `${epoch}.9` });
  assert.deepEqual(faultsOf(reset), ["reset"]);
  assert.deepEqual(faultsOf(reset, ["cursor_expired"]), []);
  const tooFar = (it: Case) =>
    bobHeard(it).splice(4, 4, { kind: "reset", reason: "cursor_expired", cursor: `${epoch}.9` });
  assert.deepEqual(faultsOf(tooFar, ["cursor_expired"]), ["lost"]);
});

test("a ready that falls behind what was heard is found", () => {
  const back = (it: Case) => bobHeard(it).splice(6, 0, { kind: "ready", cursor: `${epoch}.4` });
  assert.deepEqual(faultsOf(back), ["swapped"]);
});

test("a former member may miss what was edited since, and nobody else", () => {
  const editLater = (it: Case) => {
    const row = { position: 17, discussion_id: tea, user_id: "", type: "message.updated", seq: 5 };
    it.truth.log.push(row);
    it.history.subscriptions[0]?.heard.push(heardOf(row));
  };
  const loseFor = (heardBy: (it: Case) => (Heard | Control)[]) => (it: Case) => {
    editLater(it);
    const heard = heardBy(it);
    heard.splice(
      heard.findIndex((entry) => entry.kind === "event" && entry.seq === 5),
      1,
    );
  };
  assert.deepEqual(faultsOf(editLater), []);
  assert.deepEqual(faultsOf(loseFor(cemHeard)), []);
  assert.deepEqual(faultsOf(loseFor(bobHeard)), ["lost"]);
});

test("who is refused for good may miss the end, and nothing before", () => {
  const refuse = (it: Case, over = 4503) =>
    void Object.assign(it.history.subscriptions[1] ?? {}, { over, discussion_id: tea });
  const cutEnd = (it: Case) => {
    refuse(it);
    cemHeard(it).splice(-2, 2);
  };
  assert.deepEqual(faultsOf(cutEnd), []);
  const cutMiddle = (it: Case) => {
    refuse(it);
    cemHeard(it).splice(2, 1);
  };
  assert.deepEqual(faultsOf(cutMiddle), ["lost"]);
  const revoked = (it: Case) => {
    refuse(it, 4502);
    cemHeard(it).splice(-2, 2);
  };
  assert.deepEqual(faultsOf(revoked), ["lost", "lost"], "nobody ended the session");
  const refusedMember = (it: Case) => {
    Object.assign(it.history.subscriptions[0] ?? {}, { over: 4503, discussion_id: tea });
    bobHeard(it).splice(-1, 1);
  };
  assert.deepEqual(faultsOf(refusedMember), ["lost"], "nobody removed him");
});

test("a stream of another history is a fault, unless the plan explains it", () => {
  const other = (it: Case) => {
    const subscription = it.history.subscriptions[0];
    Object.assign(subscription ?? {}, { since: "00000000.2", heard: [] });
  };
  assert.deepEqual(faultsOf(other), ["altered"]);
  assert.deepEqual(faultsOf(other, ["epoch_changed"]), []);
});

test("what the contract does not know is a fault", () => {
  assert.deepEqual(
    faultsOf(({ history }) => history.subscriptions[0]?.faults.push("a frame of type x")),
    ["unspoken"],
  );
});

test.run();
