/** The checker itself: what a stream told in a real run, and that nothing in it can be changed unseen. */
import assert from "node:assert/strict";
import { test } from "uvu";
import type { Json } from "../support/client.ts";
import { type Recorded, run } from "./run.ts";
import type { Act, Listening, Plan, Step } from "./steps.ts";
import { durable, findFault, positionOf, type Sitting } from "./tellings.ts";
import { withGrounds } from "./world.ts";

const plain: Act = { what: "send", who: 0, where: 0, whom: 1, number: 0, text: 0, way: 0 };
const act = (what: string, more: Partial<Act> = {}): Step => ({
  do: "act",
  act: { ...plain, what, ...more },
});
const listening: Listening = { who: 0, where: 0, kind: "ws", instance: 0, since: "now", back: 0 };
const listen = (more: Partial<Listening>): Step => ({ do: "listen", listening: { ...listening, ...more } });

/** Something of each kind, heard over several connections. */
const plan: Plan = {
  steps: [
    listen({ kind: "sse", since: "old", back: 50 }),
    listen({ who: 1, instance: 1, since: "loaded" }),
    listen({ who: 2, where: 1, kind: "sse" }),
    act("send", { text: 7 }),
    act("send", { who: 1 }),
    act("edit", { text: 1 }),
    act("react", { who: 1 }),
    { do: "cut", which: 0, forgotten: 2 },
    act("read", { who: 2 }),
    act("add", { whom: 3 }),
    act("changeRole", { number: 1 }),
    act("change", { text: 1 }),
    { do: "return", return: { which: 0, instance: 1 } },
    act("unreact", { who: 1 }),
    act("remove", { who: 1 }),
    act("expel", { whom: 2 }),
    act("send", { text: 2 }),
    act("createGroup", { who: 1, whom: 0, text: 2 }),
    act("destroy", { who: 1, where: 2 }),
  ],
  late: [],
};

function withRecorded(act: (recorded: Recorded) => void): Promise<void> {
  return withGrounds(1, async ([ground]) => {
    assert.ok(ground);
    act(await run(ground, plan));
  });
}

function faultOf(model: Recorded["model"], sitting: Sitting, received: Json[]): string | null {
  const changed: Sitting = { ...sitting, received, ended: () => sitting.ended() };
  // A connection that was cut off may have told less than all: only up to its own end is it to be whole.
  return findFault(model, changed, false);
}

/** Each way to spoil what came, at a place; null: not there. */
const spoilings: Record<string, (received: Json[], at: number, others: Json[]) => Json[] | null> = {
  lost: (received, at) => received.toSpliced(at, 1),
  doubled: (received, at) => received.toSpliced(at, 0, received[at]),
  "told again at the end": (received, at) => [...received, received[at]],
  swapped: (received, at) => received.toSpliced(at, 2, received[at + 1], received[at]),
  "moved to another position": (received, at) => {
    const [epoch, position] = received[at].cursor.split(".");
    return received.with(at, { ...received[at], cursor: `${epoch}.${Number(position) + 1}` });
  },
  "of another type": (received, at) => {
    const type = received[at].type === "message.new" ? "message.updated" : "message.new";
    return received.with(at, { ...received[at], type });
  },
  "with a field too much": (received, at) => received.with(at, { ...received[at], more: true }),
  "with another's ghost before it": (received, at, others) => {
    const seen = new Set(received.map(positionOf));
    const ghost = others.find((event) => !seen.has(positionOf(event)));
    return ghost ? received.toSpliced(at, 0, ghost) : null;
  },
};

test("the checker sees whatever is lost, doubled, swapped, changed or a ghost in what really came", () =>
  withRecorded(({ model, sittings }) => {
    const all = sittings.map(({ received }) => durable(received));
    const others = all.flat().filter(({ type }) => type !== "ready");
    for (const [index, sitting] of sittings.entries())
      assert.equal(faultOf(model, sitting, all[index] ?? []), null, "what came is without fault");
    for (const [name, spoil] of Object.entries(spoilings)) {
      let tried = 0;
      for (const [index, sitting] of sittings.entries()) {
        const received = all[index] ?? [];
        for (const at of placesIn(received)) {
          const spoiled = spoil(received, at, others);
          if (spoiled === null) continue;
          tried++;
          const hint = `${JSON.stringify(received[at])} of connection ${index}: ${name}`;
          assert.notEqual(faultOf(model, sitting, spoiled), null, hint);
        }
      }
      assert.ok(tried >= 10, `only ${tried} times ${name}`);
    }
  }));

/** Events that are followed by another one. */
function placesIn(received: readonly Json[]): number[] {
  return [...received.keys()].filter(
    (at) => at + 1 < received.length && received[at].type !== "ready" && received[at + 1].type !== "ready",
  );
}

test("the checker sees what is missing at the end, and a text that is not the one that was sent", () =>
  withRecorded(({ model, sittings }) => {
    const last = sittings.filter(({ ended }) => ended() === undefined).at(-1);
    assert.ok(last);
    const received = durable(last.received);
    const withoutEnd: Sitting = { ...last, received: received.slice(0, -1), ended: () => undefined };
    assert.notEqual(findFault(model, withoutEnd, true), null);
    const at = received.findIndex(({ type }) => type === "message.new");
    const message = { ...received[at].message, content: "not what was said" };
    assert.notEqual(faultOf(model, last, received.with(at, { ...received[at], message })), null);
  }));

test.run();
