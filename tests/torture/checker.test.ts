import assert from "node:assert/strict";
import { test } from "uvu";
import { check } from "../../scripts/torture/checker.ts";
import type { Control, Heard } from "../../scripts/torture/history.ts";
import { emptied } from "../../scripts/torture/history.ts";
import { describeViolations } from "../../scripts/torture/violation.ts";
import {
  attempt,
  bobHeard,
  type Case,
  cemHeard,
  epoch,
  faultsOf,
  goodCase,
  heardOf,
  joinedAt,
  leftAt,
  messageCount,
  newRow,
  ofAnn,
  tea,
} from "./cases.ts";

// A checker that finds nothing is worth what it would find: each fault is put into a good history, and it has
// to say so, by its name.

test("a good history has no faults", () => {
  const { history, truth } = goodCase();
  assert.equal(describeViolations(check(history, [truth])), "");
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
  const row = newRow(position, messageCount + 1);
  assert.deepEqual(
    faultsOf((it) => bobHeard(it).push(heardOf(row))),
    ["ghost"],
  );
  const unstored = ({ truth, history }: Case) => {
    truth.messages.pop();
    history.attempts.pop();
  };
  assert.deepEqual(faultsOf(unstored), ["ghost", "ghost"], "in the log, and heard");
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
  assert.deepEqual(faultsOf(alter({ about: "somebody else" })), ["altered"]);
  assert.deepEqual(faultsOf(alter({ hash: null })), ["altered"], "without its message");
  const addedAnother = (it: Case) => void Object.assign(cemHeard(it)[0] ?? {}, { about: "bob" });
  assert.deepEqual(faultsOf(addedAnother), ["altered"]);
});

/** Ann edits, or deletes, her fifth message in the end, and Bob hears of it. */
function change(it: Case, type: "message.updated" | "message.deleted"): void {
  const row = { ...newRow(it.truth.log.length + 1, 5), type };
  const isEdit = type === "message.updated";
  const said = isEdit ? "hash of the edit" : emptied;
  it.truth.log.push(row);
  if (isEdit) it.truth.messages[4]?.hashes.push(said);
  else Object.assign(it.truth.messages[4] ?? {}, { hashes: ["hash of nothing"], is_deleted: true });
  it.history.attempts[4]?.hashes.push(said);
  Object.assign(it.history.attempts[4] ?? {}, { acknowledged: said });
  bobHeard(it).push({ ...heardOf(row), hash: isEdit ? said : null });
}

test("a text that was edited away, or is not yet stored, is no fault; a deleted one neither", () => {
  for (const type of ["message.updated", "message.deleted"] as const) {
    const newer = (it: Case) => {
      change(it, type);
      Object.assign(bobHeard(it)[5] ?? {}, { hash: it.history.attempts[4]?.acknowledged });
    };
    assert.deepEqual(
      faultsOf((it) => change(it, type)),
      [],
    );
    assert.deepEqual(faultsOf(newer), [], "told as it is");
  }
});

test("a text that it had no more, or that was only tried, is found", () => {
  const older = (it: Case) => {
    change(it, "message.updated");
    Object.assign(bobHeard(it).at(-1) ?? {}, { hash: "hash 5" });
  };
  assert.deepEqual(faultsOf(older), ["altered"]);
  const deleted = (it: Case) => {
    change(it, "message.deleted");
    Object.assign(bobHeard(it).at(-1) ?? {}, { hash: "hash 5" });
  };
  assert.deepEqual(faultsOf(deleted), ["altered"]);
  const tried = (it: Case) => {
    it.history.attempts[4]?.hashes.push("hash of a try");
    Object.assign(bobHeard(it)[5] ?? {}, { hash: "hash of a try" });
  };
  assert.deepEqual(faultsOf(tried), ["altered"]);
});

test("a change, or a message, of which the log does not tell once is found", () => {
  for (const type of ["message.updated", "message.deleted"] as const) {
    const untold = (it: Case) => {
      change(it, type);
      it.truth.log.pop();
      bobHeard(it).pop();
    };
    assert.deepEqual(faultsOf(untold), ["untold"]);
    const again = (it: Case) => {
      change(it, type);
      const row = { ...newRow(it.truth.log.length + 1, 5), type };
      it.truth.log.push(row);
      bobHeard(it).push({ ...heardOf(row), hash: type === "message.updated" ? "hash of the edit" : null });
    };
    assert.deepEqual(faultsOf(again), ["untold", ...(type === "message.updated" ? ["altered"] : [])]);
  }
  const never = (it: Case) => {
    it.truth.log.pop();
    bobHeard(it).pop();
  };
  assert.deepEqual(faultsOf(never), ["untold"]);
});

test("a message of which the log tells and that is not stored is found, also if nobody listens", () => {
  const unstored = ({ truth, history }: Case) => {
    truth.messages.pop();
    history.attempts.pop();
    history.subscriptions = [];
  };
  assert.deepEqual(faultsOf(unstored), ["ghost"]);
});

test("a message, or a text of one, that nobody sent is found", () => {
  assert.deepEqual(
    faultsOf(({ history }) => history.attempts.splice(4, 1)),
    ["unasked"],
  );
  assert.deepEqual(
    faultsOf(({ history }) => Object.assign(history.attempts[4] ?? {}, { seq: null, hashes: ["another"] })),
    ["unasked"],
  );
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
    const row = newRow(messageCount + 5, seq);
    truth.log.push(row);
    truth.messages.push({
      discussion_id: tea,
      seq,
      client_id: "ann-1",
      hashes: ["hash 1"],
      is_deleted: false,
      about: ofAnn,
    });
    history.subscriptions[0]?.heard.push({ ...heardOf(row), hash: "hash 1" });
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
  assert.ok(faultsOf(({ truth }) => truth.log.shift()).includes("hole"), "the log's head");
});

test("a reset is a fault unless its cursor had expired, and what follows it is held against the log", () => {
  const reset = (it: Case, prunedTo: number, count = 3, to = 9) => {
    it.truth.prunes = [prunedTo, 15];
    bobHeard(it).splice(4, count, { kind: "reset", reason: "cursor_expired", cursor: `${epoch}.${to}` });
  };
  const allowed = ["cursor_expired"];
  assert.deepEqual(
    faultsOf((it) => reset(it, 7), allowed),
    [],
  );
  assert.deepEqual(
    faultsOf((it) => reset(it, 7)),
    ["reset"],
    "not in this plan",
  );
  assert.deepEqual(
    faultsOf((it) => reset(it, 6), allowed),
    ["reset"],
    "what follows position 6 is still there",
  );
  assert.deepEqual(
    faultsOf((it) => reset(it, 7, 4), allowed),
    ["lost"],
  );
  // Where it leads: beyond the log, to before what was pruned, back to what was heard.
  for (const to of [999, 6, 4]) {
    assert.ok(faultsOf((it) => reset(it, 7, 3, to), allowed).includes("reset"), `to ${to}`);
  }
});

test("a ready that falls behind what was heard is found", () => {
  const back = (it: Case) => bobHeard(it).splice(6, 0, { kind: "ready", cursor: `${epoch}.4` });
  assert.deepEqual(faultsOf(back), ["swapped"]);
});

test("a former member may miss what was edited since, in a replay, and nobody else", () => {
  const lose = (heardBy: (it: Case) => (Heard | Control)[]) => (it: Case) => {
    change(it, "message.updated");
    const heard = heardBy(it);
    heard.splice(
      heard.findIndex((entry) => entry.kind === "event" && entry.seq === 5),
      1,
    );
  };
  assert.deepEqual(faultsOf(lose(cemHeard)), []);
  assert.deepEqual(faultsOf(lose(bobHeard)), ["lost"]);
  const control = (kind: "opened" | "ready", position: number): Control => ({
    kind,
    cursor: `${epoch}.${position}`,
  });
  const between = (first: Control, second: Control) => (it: Case) => {
    cemHeard(it).splice(2, 1, first, second);
    change(it, "message.updated");
  };
  assert.deepEqual(cemHeard(goodCase())[2], heardOf(newRow(8, 5)));
  // It came back without the message, live before and after it; then with it in the gap.
  assert.deepEqual(faultsOf(between(control("ready", 7), control("opened", 7))), []);
  const live = (it: Case) => {
    cemHeard(it).splice(2, 1);
    cemHeard(it).unshift(control("opened", 5), control("ready", 5));
    change(it, "message.updated");
  };
  assert.deepEqual(faultsOf(live), ["lost"], "it was live");
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

test("a stream of a history that never was is found", () => {
  const other = (it: Case) => {
    const subscription = it.history.subscriptions[0];
    Object.assign(subscription ?? {}, { since: "00000000.2", heard: [] });
  };
  assert.deepEqual(faultsOf(other), ["altered"]);
  assert.deepEqual(faultsOf(other, ["epoch_changed"]), ["altered"]);
});

test("what the contract does not know is a fault", () => {
  assert.deepEqual(
    faultsOf(({ history }) => history.subscriptions[0]?.faults.push("a frame of type x")),
    ["unspoken"],
  );
});

test.run();
