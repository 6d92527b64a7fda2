// time limit: 240 s
import assert from "node:assert/strict";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "uvu";
import { assertProblem, type Client, type Json, register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { openTestStream, type StreamKind } from "../support/streams.ts";
import {
  contentsOf,
  createDirect,
  createGroup,
  createRandom,
  endedWith,
  eventsOf,
  heard,
  heardMessage,
  ofType,
  openReady,
  Progress,
  seed,
  viaInstance,
  withSql,
} from "./help.ts";
import { openRaw, streamPath } from "./raw.ts";

const kinds: StreamKind[] = ["sse", "ws"];

test("what is written on either instance is heard on both, in one order", () =>
  withServer(async (t) => {
    const second = await t.another();
    const ann = await register(t.url, "ann");
    const bob = await register(second.url, "bob");
    const groups = await Promise.all(["a", "b"].map((name) => createGroup(ann, name, [bob])));
    const opening = kinds.flatMap((kind) =>
      [t.url, second.url].flatMap((url) => [
        openReady(kind, viaInstance(ann, url)),
        openReady(kind, viaInstance(bob, url)),
      ]),
    );
    const streams = await Promise.all(opening);
    const sent = Array.from({ length: 200 }, (_, i) => {
      const sender = viaInstance(i % 3 ? ann : bob, i % 2 ? t.url : second.url);
      return sender.send(groups[i % 5 < 2 ? 0 : 1].id, `message ${i}`);
    });
    await Promise.all(sent);
    for (const stream of streams) await heard(stream, "message.new", 200);
    const [first, ...others] = streams.map(eventsOf);
    for (const other of others) assert.deepEqual(other, first);
    for (const { id } of groups) {
      const seqs = first
        ?.filter(({ discussion_id }) => discussion_id === id)
        .map(({ message }) => message.seq);
      assert.deepEqual(
        seqs,
        seqs?.map((_, index) => index + 1),
      );
    }
    for (const stream of streams) stream.cut();
  }));

test("the same client_id through both instances at once stores one message and makes one event", () =>
  withServer(async (t) => {
    const second = await t.another();
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const stream = await openReady("ws", ann);
    const elsewhere = viaInstance(ann, second.url);
    for (let i = 0; i < 10; i++) {
      const more = { client_id: `c${i}` };
      const both = [ann, elsewhere].map((client) => client.send(discussion.id, `once ${i}`, more));
      const [one, other] = await Promise.all(both);
      assert.deepEqual(one, other);
    }
    await ann.send(discussion.id, "the end");
    await heardMessage(stream, "the end");
    assert.deepEqual(contentsOf(stream), [...Array.from({ length: 10 }, (_, i) => `once ${i}`), "the end"]);
    stream.cut();
  }));

test("a client that changes instances with its cursor, while others write, misses and repeats nothing", () =>
  withServer(async (t) => {
    const second = await t.another();
    const urls = [t.url, second.url];
    const ann = await register(t.url, "ann");
    const bob = await register(second.url, "bob");
    const discussion = await createDirect(ann, bob);
    const count = 300;
    const write = async (client: Client, half: number) => {
      for (let i = 0; i < count / 2; i++) {
        await viaInstance(client, urls[i % 2] as string).send(discussion.id, `${half} ${i}`);
      }
    };
    const read = async (kind: StreamKind, discussionId?: string): Promise<Json[]> => {
      const got: Json[] = [];
      let since: string | undefined = discussion.cursor;
      for (let turn = 0; got.length < count; turn++) {
        const client = viaInstance(bob, urls[turn % 2] as string);
        const stream = await openTestStream(kind, client, { discussionId, since });
        await heard(stream, "message.new", Math.min(1 + (turn % 13), count - got.length));
        since = stream.cursor();
        got.push(...eventsOf(stream));
        stream.cut();
      }
      return got;
    };
    const [, , ...readings] = await Promise.all([
      write(ann, 1),
      write(bob, 2),
      ...kinds.flatMap((kind) => [read(kind), read(kind, discussion.id)]),
    ]);
    const [first, ...others] = readings;
    assert.deepEqual(
      first?.map(({ message }: Json) => message.seq),
      Array.from({ length: count }, (_, i) => i + 1),
    );
    for (const other of others) assert.deepEqual(other, first);
  }));

for (const kind of kinds) {
  test(`${kind}: joining and removal by one instance change the streams of the other`, () =>
    withServer(async (t) => {
      const second = await t.another();
      const ann = await register(t.url, "ann");
      const bob = viaInstance(await register(t.url, "bob"), second.url);
      const group = await createGroup(ann, "group", []);
      const path = `/discussions/${group.id}`;
      const whole = await openReady(kind, bob);
      await ann.send(group.id, "before");
      await ann.ok("POST", `${path}/members`, { user_ids: [bob.user.id] });
      await ann.send(group.id, "member");
      await heardMessage(whole, "member");
      const one = await openReady(kind, bob, { discussionId: group.id, since: group.cursor });
      await ann.ok("DELETE", `${path}/members/${bob.user.id}`);
      await ann.send(group.id, "after");
      await endedWith(one, 4503);
      const own = await createDirect(ann, bob);
      await ann.send(own.id, "the end");
      await heardMessage(whole, "the end");
      assert.deepEqual(contentsOf(one), ["member"]);
      assert.deepEqual(
        eventsOf(whole).map(({ type, message }) => message?.content ?? type),
        ["member.added", "member", "member.removed", "discussion.created", "the end"],
      );
      const headers = { authorization: `Bearer ${bob.token}` };
      const again = await openRaw(kind, second.url, streamPath(kind, group.id), { headers });
      assertProblem(again, 404, "discussion_not_found");
      whole.cut();
    }));

  test(`${kind}: a discussion deleted by one instance ends its streams on the other`, () =>
    withServer(async (t) => {
      const second = await t.another();
      const ann = await register(t.url, "ann");
      const bob = viaInstance(await register(t.url, "bob"), second.url);
      const group = await createGroup(ann, "group", [bob]);
      const one = await openReady(kind, bob, { discussionId: group.id });
      const whole = await openReady(kind, bob);
      await ann.ok("DELETE", `/discussions/${group.id}`);
      await endedWith(one, 4503);
      await heard(whole, "discussion.deleted");
      assert.equal(whole.ended(), undefined);
      whole.cut();
    }));
}

/** A way to Postgres on which what it says can be held back, as notifications are on a busy machine. */
async function openSlowWay(databaseUrl: string) {
  const to = new URL(databaseUrl);
  const replies: Socket[] = [];
  const server = createServer((client) => {
    const upstream = connect(Number(to.port), to.hostname);
    upstream.pipe(client).pipe(upstream);
    replies.push(upstream);
    for (const socket of [client, upstream]) {
      socket.on("error", () => {});
      socket.on("close", () => [client, upstream].forEach((each) => void each.destroy()));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const way = new URL(databaseUrl);
  way.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: way.href,
    holdBack: () => {
      for (const upstream of replies) upstream.unpipe();
    },
    close: () => {
      server.close();
      for (const upstream of replies) upstream.destroy();
    },
  };
}

for (const kind of kinds) {
  test(`${kind}: what was stored before a stream was asked for comes before ready`, () =>
    withServer(async (t) => {
      const way = await openSlowWay(t.databaseUrl);
      try {
        const late = await t.another({ LISTEN_DATABASE_URL: way.url });
        await eventually(async () => assert.equal((await fetch(`${late.url}/readyz`)).status, 200));
        const ann = await register(t.url, "ann");
        const discussion = await createDirect(ann, ann);
        const { cursor } = await viaInstance(ann, late.url).ok("GET", "/discussions");
        way.holdBack();
        await ann.send(discussion.id, "stored");
        const now = (await ann.ok("GET", "/discussions")).cursor;
        for (const discussionId of [undefined, discussion.id]) {
          const stream = await openReady(kind, viaInstance(ann, late.url), { discussionId, since: cursor });
          assert.deepEqual(
            stream.received.map(({ type, message }) => message?.content ?? type),
            ["stored", "ready"],
          );
          assert.equal(stream.cursor(), now);
          stream.cut();
        }
      } finally {
        way.close();
      }
    }));
}

/** The cursors of what a user must have heard, by the log itself: all from a joining to the removal. */
async function expectedCursors(databaseUrl: string, user: Json, discussionId: string | undefined) {
  const { rows } = await withSql(databaseUrl, (db) =>
    db.query(`select l.epoch || '.' || e.position as cursor, e.discussion_id, e.user_id, e.type
      from log_events as e, log_epoch as l where e.discussion_id is not null order by e.position`),
  );
  const joined = new Set<string>();
  const expected: string[] = [];
  for (const { cursor, discussion_id, user_id, type } of rows) {
    const isOwn = user_id === user.id;
    if (isOwn && ["member.enrolled", "member.added"].includes(type)) joined.add(discussion_id);
    const isCovered = discussionId === undefined || discussionId === discussion_id;
    if (isCovered && joined.has(discussion_id) && type !== "member.enrolled") expected.push(cursor);
    if (isOwn && type === "member.removed") joined.delete(discussion_id);
  }
  return expected;
}

interface Wanderer {
  kind: StreamKind;
  discussionId: string | undefined;
  cursor: string;
  heard: string[];
}

/** Reads on from the last cursor, on some instance; gives false if the discussion may not be seen now. */
async function wander(
  wanderer: Wanderer,
  client: Client,
  enough: (received: Json[]) => boolean,
  linger?: () => Promise<void>,
) {
  const { kind, discussionId, cursor } = wanderer;
  const stream = await openTestStream(kind, client, { discussionId, since: cursor }).catch((error: Error) => {
    assert.match(error.message, /\b404\b/);
  });
  if (!stream) return false;
  await stream.until((received) => enough(received) || stream.ended() === 4503);
  await linger?.();
  wanderer.heard.push(...eventsOf(stream).map((event) => event.cursor));
  wanderer.cursor = stream.cursor() ?? cursor;
  stream.cut();
  return true;
}

test("who is added and removed all the time, on any instance, hears exactly the times of membership", () =>
  withServer(async (t) => {
    console.log(`seed ${seed}`);
    const random = createRandom(seed);
    const urls = [t.url, (await t.another()).url];
    const somewhere = (client: Client) => viaInstance(client, urls[random() < 0.5 ? 0 : 1] as string);
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const { cursor } = await bob.ok("GET", "/discussions");
    const marks = await createDirect(ann, bob);
    const groups = await Promise.all(["a", "b", "c"].map((name) => createGroup(ann, name, [])));
    const steps = new Progress();
    const stepsWanted = 3 * 120;
    const change = async ({ id }: Json) => {
      const path = `/discussions/${id}/members`;
      for (let isMember = false, i = 0; i < stepsWanted / 3; i++) {
        if (random() < 0.6) {
          await somewhere(ann).send(id, isMember ? "heard" : "secret");
        } else {
          if (isMember) await somewhere(ann).ok("DELETE", `${path}/${bob.user.id}`);
          else await somewhere(ann).ok("POST", path, { user_ids: [bob.user.id] });
          isMember = !isMember;
        }
        steps.add(1);
      }
      await ann.ok("POST", path, { user_ids: [bob.user.id] });
    };
    const targets = [undefined, undefined, ...groups.map(({ id }) => id)];
    const wanderers = targets.flatMap((discussionId) =>
      kinds.map((kind): Wanderer => ({ kind, discussionId, cursor, heard: [] })),
    );
    const follow = async (wanderer: Wanderer) => {
      while (steps.count < stepsWanted) {
        // Sometimes before the replay is over, sometimes a little later; never waits for what may not come.
        const most = Math.floor(random() * 8);
        const isEnough = (received: Json[]) =>
          received.length >= most || received.some(({ type }) => type === "ready");
        const before = steps.count;
        const wanted = Math.floor(random() * 20);
        const linger = () => steps.until(() => steps.count > before + wanted || steps.count >= stepsWanted);
        const opened = await wander(wanderer, somewhere(bob), isEnough, linger);
        if (!opened) await linger();
      }
    };
    await Promise.all([...groups.map(change), ...wanderers.map(follow)]);
    await ann.send(marks.id, "the end");
    for (const wanderer of wanderers) {
      const isReady = (received: Json[]) => received.at(-1)?.type === "ready";
      assert.ok(await wander(wanderer, somewhere(bob), isReady));
      const expected = await expectedCursors(t.databaseUrl, bob.user, wanderer.discussionId);
      assert.ok(expected.length > 20, "there was something to hear");
      assert.deepEqual(wanderer.heard, expected, `${wanderer.kind} of ${wanderer.discussionId ?? "all"}`);
    }
  }));

/**
 * Memberships that change in the middle of a log that is longer than what an instance keeps in memory: bob is
 * in the first discussion all the time, and twice in the second one.
 */
async function writeLongLog(databaseUrl: string, ann: Client, bob: Client, one: Json, two: Json) {
  const insert = `insert into messages (discussion_id, sender_id, content)
    select $1, $2, $3 || ' ' || i from generate_series(1, $4::int) as i`;
  const write = async (to: Json, content: string, count: number) => {
    for (let left = count; left > 0; left -= 500) {
      const values = [to.id, ann.user.id, content, Math.min(left, 500)];
      await withSql(databaseUrl, (db) => db.query(insert, values));
    }
  };
  const members = `/discussions/${two.id}/members`;
  await write(one, "begin", 1_200);
  await write(two, "secret", 300);
  for (const heardContent of ["first stay", "second stay"]) {
    await ann.ok("POST", members, { user_ids: [bob.user.id] });
    await write(two, heardContent, 700);
    await write(one, "between", 600);
    await ann.ok("DELETE", `${members}/${bob.user.id}`);
    await write(two, "secret", 700);
  }
  await write(one, "long after", 5_500);
  await ann.send(one.id, "the end");
}

for (const kind of kinds) {
  test(`${kind}: an instance that started later replays a long log exactly as it was heard live`, () =>
    withServer(async (t) => {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const one = await createDirect(ann, bob);
      const two = await createGroup(ann, "two", []);
      const live = await openReady(kind, bob, { since: two.cursor });
      await writeLongLog(t.databaseUrl, ann, bob, one, two);
      await live.until(() => live.received.at(-1)?.message?.content === "the end", 30_000);
      const late = viaInstance(bob, (await t.another()).url);
      const replayed = await openTestStream(kind, late, { since: two.cursor });
      await replayed.until((received) => received.at(-1)?.type === "ready", 30_000);
      assert.equal(ofType(live, "message.new").length, 1_200 + 2 * 1_300 + 5_500 + 1);
      assert.ok(!contentsOf(live).some((content) => content.startsWith("secret")));
      assert.deepEqual(
        eventsOf(replayed).map(({ cursor }) => cursor),
        eventsOf(live).map(({ cursor }) => cursor),
      );
      assert.deepEqual(eventsOf(replayed), eventsOf(live));
      assert.equal(ofType(replayed, "ready").length, 1);
      for (const stream of [live, replayed]) stream.cut();
    }));
}

test.run();
