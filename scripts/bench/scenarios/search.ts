import type pg from "pg";
import { type CorpusRoom, planted, writeCorpus } from "../corpus.ts";
import { type Population, range } from "../population.ts";
import { withClient } from "../postgres.ts";
import { type Stage, withStage } from "../stage.ts";
import { parley } from "../systems/parley.ts";
import { cpuSince, readCpu } from "../usage.ts";
import { type Bench, type Outcome, percentile, type Scenario } from "./scenario.ts";

const pageItems = 50;
const writers = 20;
/** Who asks, after the writers, and in which rooms they are; see roomPlan(). */
const readers = { many: writers, large: writers + 1, small: writers + 2, quiet: writers + 3 } as const;
const { common, rare, chinese, phrase } = planted;

interface Question {
  /** The column's title. */
  title: string;
  reader: keyof typeof readers;
  q: string;
  /** Also asks for one of the reader's rooms, or for what the writer who writes least has sent. */
  only?: "room" | "sender";
}

const questions: Record<string, Question> = {
  rare: { title: "rare word", reader: "many", q: rare.text },
  part: { title: "part of one", reader: "many", q: rare.text.slice(3, 8) },
  common: { title: "common word", reader: "many", q: common.text },
  common_large: { title: "in a large room", reader: "large", q: common.text },
  common_room: { title: "in one of 500 rooms", reader: "many", q: common.text, only: "room" },
  common_sender: { title: "by one sender", reader: "many", q: common.text, only: "sender" },
  common_small: { title: "of 3 small rooms", reader: "small", q: common.text },
  elsewhere: { title: "only elsewhere", reader: "quiet", q: common.text },
  words: { title: "two words", reader: "many", q: phrase.text },
  phrase: { title: "phrase", reader: "many", q: `"${phrase.text}"` },
  chinese: { title: "Chinese", reader: "many", q: chinese.text },
  letters: { title: "two letters", reader: "many", q: common.text.slice(0, 2) },
  absent: { title: "absent word", reader: "many", q: "xylophone" },
};

export const search: Scenario = {
  id: "search",
  title: "Search",
  description: ({ sizes: { search } }) =>
    `${search.messages.toLocaleString("en-GB")} messages in 525 discussions, indexed; each question ` +
    `${search.requests} times by REST, one at a time. p99 in milliseconds. The asker is in 500 discussions ` +
    "that hold half of the messages, unless the column says else.",
  runs: 1,
  columns: [
    ...Object.entries(questions).map(([name, { title }]) => ({ title, metric: `${name}_p99_ms`, digits: 1 })),
    { title: "indexed/s", metric: "indexed_per_second", digits: 0 },
    { title: "bytes per message", metric: "bytes_per_message", digits: 0 },
  ],
  variants: () => [{ id: "parley", title: "Parley", system: parley.id, measure }],
};

async function measure(bench: Bench): Promise<Outcome> {
  const { messages, requests } = bench.sizes.search;
  const plan = roomPlan(messages);
  const metrics: Record<string, number> = {};
  // The server starts when all is there: what comes into the log later it would read.
  const system: typeof parley = {
    ...parley,
    prepare: async (databaseUrl, population) => {
      const seeded = await parley.prepare(databaseUrl, population);
      const senderIds = seeded.people.slice(0, writers).map(({ id }) => id);
      const rooms = plan.map((room, index) => ({ ...room, id: seeded.roomIds[index] ?? "", senderIds }));
      await withClient(databaseUrl, async (client) => {
        await writeCorpus(client, rooms);
        Object.assign(metrics, await indexAll(client));
      });
      return seeded;
    },
  };
  return withStage(bench.postgres, system, population(plan), {}, async (stage) => {
    const problems: string[] = [];
    const slowest: number[] = [];
    for (const [name, question] of Object.entries(questions)) {
      const order = await orderOf(stage, name, question);
      await stage.request({ ...order, requests: order.requests.slice(0, 1) });
      const processes = { postgres: bench.postgres.processes };
      const before = readCpu(processes);
      const { latencies } = await stage.request({
        ...order,
        requests: range(requests).flatMap(() => order.requests),
      });
      const sorted = latencies[name] ?? [];
      metrics[`${name}_p50_ms`] = percentile(sorted, 0.5);
      metrics[`${name}_p99_ms`] = percentile(sorted, 0.99);
      // On a machine that does other things, too, this says more than the time.
      metrics[`${name}_postgres_cpu_ms`] = (cpuSince(before, processes).postgres / requests) * 1_000;
      slowest.push(percentile(sorted, 0.99));
    }
    metrics.slowest_p99_ms = Math.max(...slowest);
    return { metrics, problems };
  });
}

type PlannedRoom = Omit<CorpusRoom, "id" | "senderIds"> & { reader: keyof typeof readers | null };

/** A room with a quarter of all messages, 500 with half of them, 3 small ones, a quiet one, and the rest. */
function roomPlan(messages: number): PlannedRoom[] {
  const rooms = (count: number, share: number, reader: PlannedRoom["reader"]): PlannedRoom[] =>
    range(count).map(() => ({ messages: Math.floor((messages * share) / count), reader, quiet: false }));
  const quiet: PlannedRoom = { messages: Math.floor(messages * 0.06), reader: "quiet", quiet: true };
  return [
    ...rooms(1, 0.25, "large"),
    ...rooms(500, 0.5, "many"),
    ...rooms(3, 0.0003, "small"),
    quiet,
    ...rooms(20, 0.19, null),
  ];
}

function population(plan: PlannedRoom[]): Population {
  const rooms = plan.map(({ reader }) => [...range(writers), ...(reader ? [readers[reader]] : [])]);
  return { people: writers + Object.keys(readers).length, rooms };
}

/** As the server's own loop does it when nothing else is going on. */
async function indexAll(client: pg.Client): Promise<Record<string, number>> {
  const startedAt = performance.now();
  let indexed = 0;
  for (let made = -1; made !== 0; indexed += made) {
    const { rows } = await client.query("SELECT index_messages(300, 65536) AS made");
    made = rows[0].made;
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  await client.query("VACUUM ANALYZE messages, search_documents");
  const { rows } = await client.query("SELECT pg_total_relation_size('search_documents') AS bytes");
  return { indexed_per_second: indexed / seconds, bytes_per_message: Number(rows[0].bytes) / indexed };
}

/** A request, with how many items its answer has: as many as a look at every message finds. */
async function orderOf(stage: Stage, label: string, { reader, q, only }: Question) {
  const person = stage.people[readers[reader]] ?? { id: "", token: "" };
  const roomIds = stage.roomIds.filter((_, index) =>
    stage.population.rooms[index]?.includes(readers[reader]),
  );
  const roomId = only === "room" ? roomIds[0] : undefined;
  const senderId = only === "sender" ? stage.people[writers - 1]?.id : undefined;
  const words = q.startsWith('"') ? [q.slice(1, -1)] : q.split(" ");
  const pattern = (word: string) => (word.length === 2 && word < "~" ? `% ${word}%` : `%${word}%`);
  const items = await withClient(stage.databaseUrl, async (client) => {
    const { rows } = await client.query(
      `SELECT count(*) FROM (
         SELECT FROM messages WHERE ' ' || content LIKE ALL ($1) AND discussion_id = ANY ($2::uuid[])
           AND ($3::uuid IS NULL OR sender_id = $3) LIMIT ${pageItems}
       ) AS found`,
      [words.map(pattern), roomId ? [roomId] : roomIds, senderId],
    );
    return Number(rows[0].count);
  });
  const parameters = new URLSearchParams({ q, limit: `${pageItems}` });
  if (roomId) parameters.set("discussion_id", roomId);
  if (senderId) parameters.set("sender_id", senderId);
  return {
    port: stage.running.ports[0] ?? 0,
    person,
    requests: [{ label, path: `/api/v1/search?${parameters}`, firstSeq: null, items }],
  };
}
