import assert from "node:assert/strict";
import { test } from "uvu";
import { check } from "../../scripts/torture/checker.ts";
import type { History, Truth } from "../../scripts/torture/history.ts";
import { attempt, epoch, goodCase, heardOf, messageCount, newRow, ofAnn, tea } from "./cases.ts";

// What the checker has to say where a backup was restored: one history ended, and another one began.

const restoredEpoch = "9f8e7d6c";
const keptTo = 8;

/** A backup of the log's beginning is restored; Ann says two things more, and Bob is reset and hears them. */
function restored(): { history: History; eras: [Truth, Truth] } {
  const { history, truth } = goodCase();
  const kept = truth.log.slice(0, keptTo).map((row) => ({ ...row }));
  const messages = truth.messages.slice(0, kept.filter(({ type }) => type === "message.new").length);
  const last = messages.length;
  const since = `${restoredEpoch}.${keptTo}`;
  const more = [1, 2].map((count) => newRow(keptTo + count, last + count));
  for (const { seq } of more) {
    const client_id = `ann-${messageCount + (seq ?? 0)}`;
    const hashes = [`hash ${seq}`];
    history.attempts.push({ ...attempt(seq ?? 0), client_id, number: messageCount + (seq ?? 0), era: 1 });
    messages.push({ discussion_id: tea, seq: seq ?? 0, client_id, hashes, is_deleted: false, about: ofAnn });
  }
  history.subscriptions[0]?.heard.push(
    { kind: "reset", reason: "epoch_changed", cursor: since },
    ...more.map((row) => ({ ...heardOf(row), cursor: `${restoredEpoch}.${row.position}` })),
  );
  // Cem has gone before, and nobody asks what he was to be told.
  Object.assign(history.subscriptions[1] ?? {}, { over: 4503 });
  const log = [...kept, ...more];
  return { history, eras: [truth, { epoch: restoredEpoch, log, messages, prunes: [], keptTo }] };
}

function faultsOfRestored(spoil: (it: ReturnType<typeof restored>) => void, resets = ["epoch_changed"]) {
  const it = restored();
  spoil(it);
  return check(it.history, it.eras, { resets }).map(({ fault }) => fault);
}

test("what a restored backup did not hold is no loss; what it held or came after it may not lack", () => {
  assert.deepEqual(
    faultsOfRestored(() => {}),
    [],
  );
  assert.deepEqual(
    faultsOfRestored(() => {}, []),
    ["reset"],
  );
  const forget = ({ history, eras: [, now] }: ReturnType<typeof restored>) => {
    now.messages.pop();
    now.log.pop();
    history.subscriptions[0]?.heard.pop();
  };
  assert.deepEqual(faultsOfRestored(forget), ["unstored"]);
  assert.deepEqual(
    faultsOfRestored(({ eras: [, now] }) => Object.assign(now.log[3] ?? {}, { about: "another" })),
    ["altered"],
    "of what was kept",
  );
  assert.deepEqual(
    faultsOfRestored(({ history }) => history.subscriptions[0]?.heard.pop()),
    ["lost"],
  );
});

test("who is not told that the history is another one is found", () => {
  const stay = ({ history }: ReturnType<typeof restored>) => history.subscriptions[0]?.heard.splice(-3, 3);
  assert.deepEqual(faultsOfRestored(stay), ["lost"]);
  const slip = ({ history }: ReturnType<typeof restored>) => history.subscriptions[0]?.heard.splice(-3, 1);
  assert.ok(faultsOfRestored(slip).includes("altered"));
  const keepName = ({ history, eras: [, now] }: ReturnType<typeof restored>) => {
    now.epoch = epoch;
    history.subscriptions[0]?.heard.splice(-3, 3);
  };
  assert.ok(faultsOfRestored(keepName).includes("altered"), "two histories of one name");
  const back = ({ history }: ReturnType<typeof restored>) =>
    history.subscriptions[0]?.heard.push({
      kind: "reset",
      reason: "epoch_changed",
      cursor: `${restoredEpoch}.10`,
    });
  assert.deepEqual(faultsOfRestored(back), ["reset"], "reset once more, without need");
  const lead = (position: number) => (it: ReturnType<typeof restored>) =>
    void Object.assign(it.history.subscriptions[0]?.heard.at(-3) ?? {}, {
      cursor: `${restoredEpoch}.${position}`,
    });
  assert.ok(faultsOfRestored(lead(keptTo - 1)).includes("reset"), "to what was told before");
  assert.ok(faultsOfRestored(lead(500)).includes("reset"), "beyond the log");
});

test.run();
