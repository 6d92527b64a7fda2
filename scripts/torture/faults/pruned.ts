import { openDatabase } from "../../../sql/database.ts";
import { pruneEvents } from "../../../sql/log.ts";
import { type Fault, times, type World } from "../fault.ts";

const everyMs = 1_000;

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
  const pruneToEnd = async () => {
    const newest = await archive.keepLog(url);
    const count = await pruneEvents(pool, 0, newest - archive.prunedTo());
    archive.notePrune(archive.prunedTo() + count);
    return count;
  };
  try {
    // Most of it before: what happens while everybody is away, they are to miss.
    await archive.keepLog(url);
    return await (areAway ? load.whileAway(pruneToEnd) : pruneToEnd());
  } finally {
    await pool.end();
  }
}
