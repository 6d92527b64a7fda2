import { oneRoom, range } from "../population.ts";
import { withClient } from "../postgres.ts";
import { type Stage, withStage } from "../stage.ts";
import { parley } from "../systems/parley.ts";
import { type Bench, type Outcome, percentile, type Scenario } from "./scenario.ts";

const pageItems = 50;
const places = ["start", "middle", "end"] as const;
/** Pages are not all the same: each begins a little further on. A prime, so that they spread. */
const stride = 37;

export const history: Scenario = {
  id: "history",
  title: "History",
  description: ({ sizes: { history } }) =>
    `A discussion of ${history.messages.toLocaleString("en-GB")} messages: pages of ${pageItems} by REST, ` +
    `${history.requests} each near its start, middle and end, in turn and one at a time.`,
  runs: 1,
  columns: places.flatMap((place) => [
    { title: `${place}, p50 ms`, metric: `${place}_p50_ms`, digits: 2, range: true },
    { title: `${place}, p99 ms`, metric: `${place}_p99_ms`, digits: 2, range: true },
  ]),
  variants: () => [{ id: "parley", title: "Parley", system: parley.id, measure }],
};

function measure(bench: Bench): Promise<Outcome> {
  const { messages, requests } = bench.sizes.history;
  return withStage(bench.postgres, parley, oneRoom(2), {}, async (stage) => {
    await load(stage, messages);
    await bench.postgres.checkpoint();
    const order = (count: number) => ({
      port: stage.running.ports[0] ?? 0,
      person: stage.people[1] ?? { id: "", token: "" },
      requests: range(count).flatMap((index) => places.map((place) => pageAt(stage, place, messages, index))),
    });
    await stage.request(order(Math.ceil(requests / 10)));
    const { latencies } = await stage.request(order(requests));
    const metrics = places.flatMap((place) => {
      const sorted = latencies[place] ?? [];
      return [
        [`${place}_p50_ms`, percentile(sorted, 0.5)],
        [`${place}_p99_ms`, percentile(sorted, 0.99)],
      ];
    });
    return { metrics: Object.fromEntries(metrics), problems: [] };
  });
}

/** In one statement, without an event for each: as if all of them had been pruned from the log by now. */
async function load({ databaseUrl, roomIds, people }: Stage, messages: number): Promise<void> {
  await withClient(databaseUrl, async (client) => {
    await client.query("ALTER TABLE messages DISABLE TRIGGER USER");
    await client.query(
      `INSERT INTO messages (discussion_id, seq, sender_id, content)
       SELECT $1, i, $2, rpad('message ' || i || ' ', 100, 'the quick brown fox jumps over the lazy dog ')
       FROM generate_series(1, $3::bigint) AS i`,
      [roomIds[0], people[0]?.id, messages],
    );
    await client.query("ALTER TABLE messages ENABLE TRIGGER USER");
    await client.query("VACUUM ANALYZE messages");
  });
}

/** The page before a message that lies a little after the start or the middle, or before the end. */
function pageAt({ roomIds }: Stage, place: (typeof places)[number], messages: number, index: number) {
  const offset = (index * stride) % Math.min(10_000, Math.floor(messages / 4));
  const before = {
    start: pageItems + 1 + offset,
    middle: Math.floor(messages / 2) + offset,
    end: messages + 1 - offset,
  }[place];
  return {
    label: place,
    path: `/api/v1/discussions/${roomIds[0]}/messages?before=${before}&limit=${pageItems}`,
    firstSeq: before - pageItems,
    items: pageItems,
  };
}
