import { setTimeout as sleep } from "node:timers/promises";
import { openDatabase } from "../../../sql/database.ts";
import { pruneEvents } from "../../../sql/log.ts";
import { type Fault, times, type World } from "../fault.ts";

const everyMs = 1_000;
/** Those who were cut are away a little longer at least: see Subscriber. */
const awayMs = 30;

export const logPruned: Fault = {
  id: "log-pruned",
  title: "the log is pruned to its end, under replays, streams that open, and readers who are away",
  recoveryMs: 10_000,
  resets: ["cursor_expired"],
  plan: (random, seconds) => [
    ...times(Math.max(3, (seconds * 1_000) / everyMs)).map((index) => {
      const areAway = index % 3 !== 2;
      return {
        atMs: index * everyMs + random.between(0, everyMs / 2),
        what: areAway ? "cut everybody, and prune before they are back" : "prune",
        act: (world: World) => prune(world, areAway),
      };
    }),
    {
      atMs: seconds * 1_000,
      what: "see whether somebody was away for too long",
      act: ({ load }) => load.resets(),
    },
  ],
};

/** By the statement of the server's own, as if all were past the retention. Gives how many positions went. */
async function prune({ postgres: { url }, load, archive }: World, areAway: boolean): Promise<number> {
  const pool = await openDatabase({ url, maxConnections: 1 });
  try {
    const prunedTo = await archive.prunedTo(url);
    // Most of it before: while they are away there is no time for it.
    await archive.keepLog(url);
    if (areAway) {
      load.cutAll();
      await sleep(awayMs);
    }
    return await pruneEvents(pool, 0, (await archive.keepLog(url)) - prunedTo);
  } finally {
    await pool.end();
  }
}
