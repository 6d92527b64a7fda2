import type pg from "pg";

/** Words that the generated messages are known to contain, and how many of them do. */
export const planted = {
  /** In every fifth message, but for those of quiet rooms. */
  common: { text: "release", part: 0.2 },
  rare: { text: "skyrocketing", part: 0.000_02 },
  chinese: { text: "会议", part: 0.005 },
  phrase: { text: "kernel panic", part: 0.002 },
  first: { text: "kernel", part: 0.01 },
  second: { text: "panic", part: 0.01 },
} as const;

/** A room that messages are written to: its share of all, or, if it is to be small, their number. */
export interface CorpusRoom {
  id: string;
  messages: number;
  senderIds: string[];
  /** Without the common word. */
  quiet: boolean;
}

const messagesPerStatement = 5_000;
const vocabularyWords = 30_000;
const hanCharacters = 3_000;

/**
 * Writes messages to rooms, mixed as if all rooms had been in use all the time: made-up words, of which few
 * are frequent and most are rare (Zipf), and some Chinese, Japanese and Thai. The same in each run. They get
 * positions in the log, but nobody is told of them.
 */
export async function writeCorpus(client: pg.Client, rooms: readonly CorpusRoom[]): Promise<void> {
  const random = createRandom(1);
  const write = createWriter(random);
  const order = Uint16Array.from(rooms.flatMap(({ messages }, index) => Array(messages).fill(index)));
  shuffle(order, random);
  const seqs = rooms.map(() => 0);
  await client.query("ALTER TABLE messages DISABLE TRIGGER USER");
  const { rows } = await client.query("SELECT max(position) AS newest FROM log_events");
  let position = Number(rows[0].newest);
  for (let from = 0; from < order.length; from += messagesPerStatement) {
    const batch = [...order.subarray(from, from + messagesPerStatement)].map((index) => {
      const { id, senderIds, quiet } = rooms[index] as CorpusRoom;
      const seq = (seqs[index] ?? 0) + 1;
      seqs[index] = seq;
      const senderId = senderIds[Math.floor(senderIds.length * random() ** 2)];
      return { id, seq, senderId, position: ++position, content: write(quiet) };
    });
    await client.query(
      `INSERT INTO messages (discussion_id, seq, sender_id, position, content)
       SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[])`,
      [
        batch.map((message) => message.id),
        batch.map((message) => message.seq),
        batch.map((message) => message.senderId),
        batch.map((message) => message.position),
        batch.map((message) => message.content),
      ],
    );
  }
  await client.query("ALTER TABLE messages ENABLE TRIGGER USER");
}

/** Gives a function that makes up messages, of 90 characters on average. */
function createWriter(random: () => number): (quiet: boolean) => string {
  const pick = (letters: string) => letters[Math.floor(random() * letters.length)] ?? "";
  const makeWord = () => {
    let word = "";
    const syllables = 1 + Math.floor(random() * 4);
    for (let n = 0; n < syllables; n++)
      word += pick("bcdfghklmnprstvwz") + pick("aeiou") + pick("  nrst").trim();
    return word;
  };
  const vocabulary = Array.from({ length: vocabularyWords }, makeWord);
  const zipf = (count: number) => Math.floor(count ** random()) - 1;
  const characters = (first: number, count: number, length: number) =>
    Array.from({ length }, () => String.fromCodePoint(first + ((zipf(count) * 7919) % count))).join("");
  return (quiet) => {
    const kind = random();
    const length = 2 + Math.floor(-12 * Math.log(1 - random()));
    const isChinese = kind < 0.1;
    const parts = isChinese
      ? [characters(0x4e00, hanCharacters, length), "，", characters(0x4e00, hanCharacters, length), "。"]
      : kind < 0.12
        ? [characters(0x3041, 80, length), characters(0x4e00, hanCharacters, 3), characters(0x30a1, 80, 4)]
        : kind < 0.14
          ? [characters(0xe01, 46, 2 * length)]
          : Array.from({ length }, () => vocabulary[zipf(vocabularyWords)] ?? "");
    const middle = Math.floor(parts.length / 2);
    for (const [name, { text, part }] of Object.entries(planted)) {
      if (name === "chinese" ? isChinese && random() < part / 0.1 : random() < part) {
        if (name !== "common" || !quiet) parts.splice(middle, 0, text);
      }
    }
    return parts.join(isChinese ? "" : " ");
  };
}

function shuffle(values: Uint16Array, random: () => number): void {
  for (let last = values.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const value = values[last] ?? 0;
    values[last] = values[other] ?? 0;
    values[other] = value;
  }
}

/** mulberry32: from 0 to below 1. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
