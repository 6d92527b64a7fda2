/**
 * The load generator: a process of its own on raw sockets, so that it is not the bottleneck and what it costs
 * can be told from what the servers cost. Takes one order at a time from its parent and answers each.
 */
import { clientOf } from "../systems/clients.ts";
import { Crowd } from "./crowd.ts";
import { askInTurn } from "./history.ts";
import { Load } from "./load.ts";
import type { Answer, Order, Verdict } from "./orders.ts";

/** Each opening adds one; the last one sends. */
let crowds: Crowd[] = [];

process.on("message", async (order: Order) => {
  let answer: Answer;
  try {
    answer = { ok: true, result: await carryOut(order) };
  } catch (error) {
    answer = { ok: false, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  process.send?.(answer);
});
process.on("disconnect", () => process.exit());

async function carryOut(order: Order): Promise<unknown> {
  switch (order.type) {
    case "open": {
      const crowd = new Crowd(clientOf(order.system), order);
      crowds.push(crowd);
      return crowd.open();
    }
    case "load":
      return new Load(lastCrowd(), order).measure(order);
    case "fill":
      return new Load(lastCrowd(), { ...order, timed: "answer", restPorts: [] }).fill(order);
    case "judge":
      return judge();
    case "close":
      for (const crowd of crowds) crowd.close();
      crowds = [];
      return;
    case "request":
      return askInTurn(order);
  }
}

function lastCrowd(): Crowd {
  const crowd = crowds.at(-1);
  if (!crowd) throw new Error("no connections were opened");
  return crowd;
}

async function judge(): Promise<Verdict> {
  const verdicts = await Promise.all(crowds.map((crowd) => crowd.judge()));
  return {
    problems: verdicts.flatMap(({ problems }) => problems),
    groupsOutOfOrder: verdicts.reduce((sum, { groupsOutOfOrder }) => sum + groupsOutOfOrder, 0),
  };
}
