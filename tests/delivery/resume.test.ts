// time limit: 120 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { type Client, type Json, register } from "../support/client.ts";
import { type TestServer, withServer } from "../support/server.ts";
import { openTestStream, type StreamKind, type TestStream } from "../support/streams.ts";
import { createGroup, createRandom, eventsOf, openReady, Progress, seed, withSql } from "./help.ts";

console.log(`seed ${seed} (SEED=${seed} repeats the choices, though not the timing)`);

function registerAll(url: string, names: readonly string[]): Promise<Client[]> {
  return Promise.all(names.map((name) => register(url, name)));
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Reads the state in one of the three ways: up to which seq, and from which cursor a stream continues it. */
async function readSnapshot(client: Client, discussionId: string, way: number) {
  if (way === 0) {
    const { items, cursor } = await client.ok("GET", "/discussions");
    const { last_seq, last_message } = items.find(({ id }: Json) => id === discussionId);
    assert.equal(last_message?.seq ?? 0, last_seq);
    return { lastSeq: last_seq, cursor };
  }
  if (way === 1) {
    const { last_seq, cursor } = await client.ok("GET", `/discussions/${discussionId}`);
    return { lastSeq: last_seq, cursor };
  }
  const { items, cursor } = await client.ok("GET", `/discussions/${discussionId}/messages?limit=1`);
  return { lastSeq: items.at(-1)?.seq ?? 0, cursor };
}

test("a stream from the cursor of a snapshot continues it exactly, while eight writers write", () =>
  withServer(async (t) => {
    const random = createRandom(seed);
    const names = ["ann", "bob", "carl", "dora", "emil", "fay", "gus", "hal"];
    const writers = await registerAll(t.url, names);
    const [ann, ...others] = writers as [Client, ...Client[]];
    const busy = await createGroup(ann, "busy", others);
    const noise = await createGroup(ann, "noise", others);
    const total = 8 * 80;
    const written = new Progress();
    const write = async (writer: Client) => {
      for (let i = 0; i < total / 8; i++) {
        await writer.send(busy.id, `${writer.user.username} ${i}`);
        if (i % 4 === 0) await writer.send(noise.id, "noise");
        written.add(1);
      }
    };
    const subscribe = async (index: number) => {
      const client = writers[index % 8] as Client;
      const kind: StreamKind = random() < 0.5 ? "sse" : "ws";
      const discussionId = random() < 0.5 ? busy.id : undefined;
      const moment = random() * total * 0.95;
      await written.until(() => written.count >= moment);
      const { lastSeq, cursor } = await readSnapshot(client, busy.id, index % 3);
      const stream = await openTestStream(kind, client, { discussionId, since: cursor });
      const isLast = ({ message, discussion_id }: Json) =>
        discussion_id === busy.id && message?.seq === total;
      await stream.until((received) => received.some(isLast) || stream.ended() !== undefined, 60_000);
      assert.equal(stream.ended(), undefined);
      const seqs = eventsOf(stream)
        .filter(({ discussion_id }) => discussion_id === busy.id)
        .map(({ message }) => message.seq);
      assert.deepEqual(seqs, range(lastSeq + 1, total), `${kind} from ${lastSeq}`);
      stream.cut();
      return lastSeq;
    };
    const subscribers = Array.from({ length: 60 }, (_, index) => subscribe(index));
    const [starts] = await Promise.all([Promise.all(subscribers), ...writers.map(write)]);
    assert.ok(new Set(starts).size > 20, "the subscribers opened at different moments");
  }));

/** A client that is cut off again and again, and what it has seen over all its connections. */
interface Reader {
  kind: StreamKind;
  client: Client;
  /** The one discussion of its streams; undefined for all. */
  discussionId: string | undefined;
  cursor: string;
  seen: Json[];
}

const cutsWanted = 500;
/** Messages for each cut: enough for every cut to fall among them, few enough to end in time. */
const messagesPerCut = { least: 4, most: 8 };

/** What all writers of the second test wrote, and how often its readers were cut off. */
class Book {
  readonly contents = new Map<string, string>();
  readonly counts = new Map<string, number>();
  /** Grows with each message and each cut. */
  readonly progress = new Progress();
  cuts = 0;

  get isOver(): boolean {
    return this.cuts >= cutsWanted;
  }

  noteCut(): void {
    this.cuts++;
    this.progress.add(1);
  }

  note({ discussion_id, seq, content }: Json): void {
    this.contents.set(`${discussion_id} ${seq}`, content);
    this.counts.set(discussion_id, (this.counts.get(discussion_id) ?? 0) + 1);
    this.progress.add(1);
  }

  count(discussionId: string | undefined): number {
    return discussionId === undefined ? this.contents.size : (this.counts.get(discussionId) ?? 0);
  }
}

type Write = (discussionId: string, content: string) => Promise<Json[]>;

function writeByRest(client: Client): Write {
  return async (discussionId, content) => [await client.send(discussionId, content)];
}

/** Sends a few frames at once and waits for their acks. */
function writeBySocket(socket: TestStream, random: () => number): Write {
  return async (discussion_id, content) => {
    const before = socket.received.length;
    const contents = range(1, 1 + Math.floor(random() * 4)).map((i) => `${content} ${i}`);
    for (const each of contents)
      socket.send({ type: "message.send", ref: "r", discussion_id, content: each });
    const acks = () => socket.received.slice(before).filter(({ ref }) => ref === "r");
    await socket.until(() => acks().length === contents.length, 30_000);
    return acks().map(({ message }) => message);
  };
}

/** Inserts a few rows by one statement, and sometimes more than is announced whole. */
function writeBySql(databaseUrl: string, client: Client, random: () => number): Write {
  return (discussionId, content) =>
    withSql(databaseUrl, async (db) => {
      const count = random() < 0.05 ? 150 : 1 + Math.floor(random() * 5);
      const { rows } = await db.query(
        `insert into messages (discussion_id, sender_id, content)
        select $1, $2, $3 || ' ' || i from generate_series(1, $4::int) as i
        returning discussion_id, seq::int as seq, content`,
        [discussionId, client.user.id, content, count],
      );
      return rows;
    });
}

async function createWriters(t: TestServer, clients: readonly Client[], random: () => number) {
  const [ann, bob, carl] = clients as [Client, Client, Client];
  const sockets = await Promise.all([bob, carl].map((client) => openReady("ws", client)));
  const writes = [
    writeByRest(ann),
    writeByRest(bob),
    writeByRest(carl),
    ...sockets.map((socket) => writeBySocket(socket, random)),
    writeBySql(t.databaseUrl, ann, random),
  ];
  return { writes, cutSockets: () => sockets.forEach((socket) => void socket.cut()) };
}

/** Writes ahead of the readers, but not by much, until there were enough cuts. */
async function keepWriting(write: Write, name: string, ids: string[], book: Book, random: () => number) {
  const mayWrite = () => book.contents.size < messagesPerCut.most * (book.cuts + 10);
  for (let i = 0; ; i++) {
    await book.progress.until(() => book.isOver || mayWrite());
    if (book.isOver) return;
    const size = random() < 0.03 ? 9_000 : 20;
    const content = `${name} ${i} `.padEnd(Math.floor(random() * size), "x");
    const id = ids[Math.floor(random() * ids.length)] as string;
    for (const message of await write(id, content)) book.note(message);
  }
}

/** Connects with the last cursor and reads; `enough` says when to cut the connection. */
async function readOn(reader: Reader, enough: (fresh: number, received: Json[]) => boolean): Promise<void> {
  const { kind, client, discussionId, cursor } = reader;
  const stream = await openTestStream(kind, client, { discussionId, since: cursor });
  await stream.until((received) => enough(eventsOf(stream).length, received) || stream.ended(), 30_000);
  assert.equal(stream.ended(), undefined);
  reader.seen.push(...eventsOf(stream));
  reader.cursor = stream.cursor() ?? cursor;
  assert.ok(!stream.received.some(({ type }) => type === "reset" || type === "closed"));
  stream.cut();
}

async function readWithCuts(reader: Reader, book: Book, random: () => number): Promise<void> {
  const mayCut = () => book.contents.size >= messagesPerCut.least * book.cuts;
  for (;;) {
    await book.progress.until(() => book.isOver || mayCut());
    if (book.isOver) return;
    const most = Math.floor(random() ** 2 * 60);
    const waitForReady = random() < 0.6;
    await readOn(reader, (fresh, received) => {
      if (fresh >= most) return true;
      const isReady = received.some(({ type }) => type === "ready");
      // Never waits for what nobody may write before there are more cuts.
      return isReady && (!waitForReady || reader.seen.length + fresh >= book.count(reader.discussionId));
    });
    book.noteCut();
  }
}

function createReaders(clients: readonly Client[], groups: readonly Json[]): Reader[] {
  const cursor = groups.at(-1).cursor;
  const targets = [undefined, undefined, undefined, ...groups.map(({ id }) => id)];
  return targets.flatMap((discussionId, index) =>
    (["sse", "ws"] as const).map((kind) => {
      return { kind, client: clients[index % 3] as Client, discussionId, cursor, seen: [] };
    }),
  );
}

/** Asserts that a reader saw of each of its discussions all messages, once, in order and unharmed. */
function assertComplete(reader: Reader, ids: string[], book: Book): void {
  const { kind, discussionId, seen } = reader;
  for (const id of discussionId ? [discussionId] : ids) {
    const messages = seen.filter(({ discussion_id }) => discussion_id === id).map(({ message }) => message);
    const seqs = messages.map(({ seq }) => seq);
    assert.deepEqual(seqs, range(1, book.count(id)), `${kind} of ${discussionId ?? "all"}`);
    for (const { seq, content } of messages) assert.equal(content, book.contents.get(`${id} ${seq}`));
  }
  assert.equal(seen.length, book.count(discussionId), "nothing else was heard");
}

test(`clients that are cut off ${cutsWanted} times miss nothing, repeat nothing and agree on the order`, () =>
  withServer(async (t) => {
    const random = createRandom(seed + 1);
    const clients = await registerAll(t.url, ["ann", "bob", "carl"]);
    const [ann, ...others] = clients as [Client, ...Client[]];
    const groups: Json[] = [];
    for (const name of ["a", "b", "c"]) groups.push(await createGroup(ann, name, others));
    const ids = groups.map(({ id }) => id);
    const readers = createReaders(clients, groups);
    const { writes, cutSockets } = await createWriters(t, clients, random);
    const book = new Book();
    await Promise.all([
      ...writes.map((write, index) => keepWriting(write, `writer ${index}`, ids, book, random)),
      ...readers.map((reader) => readWithCuts(reader, book, random)),
    ]);
    cutSockets();
    const missing = (reader: Reader) => book.count(reader.discussionId) - reader.seen.length;
    await Promise.all(readers.map((reader) => readOn(reader, (fresh) => fresh >= missing(reader))));
    // Once more, so that whatever is repeated or comes too late would be heard.
    await Promise.all(
      readers.map((reader) => readOn(reader, (_, received) => received.at(-1)?.type === "ready")),
    );
    console.log(`${book.cuts} cuts, ${book.count(undefined)} messages`);
    for (const reader of readers) assertComplete(reader, ids, book);
    const orders = readers.filter(({ discussionId }) => !discussionId).map(({ seen }) => seen);
    const { rows } = await withSql(t.databaseUrl, (db) =>
      db.query(
        "select position::int as position from log_events where type = 'message.new' order by position",
      ),
    );
    const positions = rows.map(({ position }) => position);
    assert.equal(orders.length, 6);
    for (const order of orders)
      assert.deepEqual(
        order.map(({ cursor }) => Number(cursor.split(".")[1])),
        positions,
      );
  }));

test.run();
