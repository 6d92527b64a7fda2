import assert from "node:assert/strict";
import { assertProblem, register } from "../support/client.ts";
import { newestPosition, pruneLog } from "../support/postgres.ts";
import { openTestStream } from "../support/streams.ts";
import {
  type Behaviour,
  contentsOf,
  createDirect,
  createGroup,
  eventsOf,
  heard,
  heardMessage,
  ofType,
  openReady,
} from "./help.ts";
import { openRaw, streamPath } from "./raw.ts";

/** Where a stream starts: ready, since, resume and reset. */
export const start: Behaviour[] = [
  {
    name: "ready comes once, after the replay and before live events",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const discussion = await createDirect(ann, bob);
      await ann.send(discussion.id, "replayed 1");
      await ann.send(discussion.id, "replayed 2");
      const { cursor } = await ann.ok("GET", `/discussions/${discussion.id}`);
      const streams = [
        await openReady(kind, bob, { since: discussion.cursor }),
        await openReady(kind, bob, { since: discussion.cursor, discussionId: discussion.id }),
      ];
      await ann.send(discussion.id, "live");
      for (const stream of streams) {
        await heardMessage(stream, "live");
        const names = stream.received.map(({ type, message }) => message?.content ?? type);
        assert.deepEqual(names, ["replayed 1", "replayed 2", "ready", "live"]);
        assert.deepEqual(stream.received[2], { type: "ready", cursor });
        stream.cut();
      }
    },
  },
  {
    name: "the cursor of ready resumes exactly",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      await ann.send(discussion.id, "before");
      for (const discussionId of [undefined, discussion.id]) {
        const first = await openReady(kind, ann, { discussionId });
        first.cut();
        await ann.send(discussion.id, "missed");
        const second = await openReady(kind, ann, { discussionId, since: first.cursor() });
        assert.deepEqual(contentsOf(second), ["missed"]);
        second.cut();
      }
    },
  },
  {
    name: "without since a stream starts from now",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const discussion = await createDirect(ann, bob);
      await ann.send(discussion.id, "before");
      for (const discussionId of [undefined, discussion.id]) {
        const stream = await openReady(kind, bob, { discussionId });
        await ann.send(discussion.id, "after");
        await heardMessage(stream, "after");
        assert.deepEqual(
          stream.received.map(({ type, message }) => message?.content ?? type),
          ["ready", "after"],
        );
        stream.cut();
      }
    },
  },
  {
    name: "since the cursor of a list, a discussion or a history, nothing is missed or repeated",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const discussion = await createDirect(ann, bob);
      await ann.send(discussion.id, "before");
      const reads = [
        "/discussions",
        `/discussions/${discussion.id}`,
        `/discussions/${discussion.id}/messages`,
      ];
      const bodies = [];
      for (const path of reads) {
        bodies.push(await bob.ok("GET", path));
        await ann.send(discussion.id, `after ${path}`);
      }
      const afters = reads.map((path) => `after ${path}`);
      for (const [index, { cursor }] of bodies.entries()) {
        assert.equal(typeof cursor, "string", `${reads[index]} has a cursor`);
        for (const discussionId of [undefined, discussion.id]) {
          const stream = await openReady(kind, bob, { discussionId, since: cursor });
          assert.deepEqual(contentsOf(stream), afters.slice(index));
          assert.equal(eventsOf(stream).length, 3 - index);
          stream.cut();
        }
      }
    },
  },
  {
    name: "a stream that comes back with its last cursor after each event goes on exactly",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const one = await createDirect(ann, bob);
      const two = await createGroup(ann, "two", [bob]);
      const sent: string[] = [];
      for (let i = 0; i < 12; i++) {
        sent.push(`message ${i}`);
        await ann.send(i % 2 ? one.id : two.id, `message ${i}`);
      }
      const got: string[] = [];
      let since: string | undefined = two.cursor;
      while (got.length < sent.length) {
        const stream = await openTestStream(kind, bob, { since });
        await heard(stream, "message.new");
        const [first] = eventsOf(stream);
        stream.cut();
        got.push(first.message.content);
        assert.notEqual(first.cursor, since);
        since = first.cursor;
      }
      assert.deepEqual(got, sent);
      const last = await openReady(kind, bob, { since });
      assert.deepEqual(eventsOf(last), []);
      last.cut();
    },
  },
  {
    name: "a user's cursor serves every stream of that user, and both kinds alike",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      const one = await openReady(kind, ann, { discussionId: discussion.id });
      await ann.send(discussion.id, "first");
      await heardMessage(one, "first");
      one.cut();
      await ann.send(discussion.id, "second");
      const other = await openReady(kind === "ws" ? "sse" : "ws", ann, { since: one.cursor() });
      assert.deepEqual(contentsOf(other), ["second"]);
      other.cut();
    },
  },
  {
    name: "a cursor of another epoch, ahead of the log or expired gets one reset and then live events",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      for (let i = 0; i < 5; i++) await ann.send(discussion.id, `old ${i}`);
      const expired = discussion.cursor;
      await pruneLog(t.databaseUrl, (await newestPosition(t.databaseUrl)) - 1);
      const { cursor: now } = await ann.ok("GET", "/discussions");
      const [epoch, position] = now.split(".");
      const wrong = {
        cursor_expired: expired,
        cursor_ahead: `${epoch}.${Number(position) + 1_000}`,
        epoch_changed: `${epoch === "0ther" ? "another" : "0ther"}.${position}`,
      };
      for (const discussionId of [undefined, discussion.id]) {
        for (const [reason, since] of Object.entries(wrong)) {
          const { cursor } = await ann.ok("GET", "/discussions");
          const stream = await openReady(kind, ann, { discussionId, since });
          const live = `live after ${reason} ${discussionId}`;
          await ann.send(discussion.id, live);
          await heardMessage(stream, live);
          const [reset, ready, event, ...more] = stream.received;
          assert.deepEqual(reset, { type: "reset", reason, cursor });
          assert.deepEqual(ready, { type: "ready", cursor });
          assert.equal(event.message.content, live);
          assert.deepEqual(more, []);
          stream.cut();
          const again = await openReady(kind, ann, { discussionId, since: reset.cursor });
          assert.deepEqual(contentsOf(again), [live]);
          assert.deepEqual(ofType(again, "reset"), []);
          again.cut();
        }
      }
    },
  },
  {
    name: "the oldest cursor whose next event is still kept does not get a reset",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const discussion = await createDirect(ann, ann);
      await ann.send(discussion.id, "pruned");
      const { cursor } = await ann.ok("GET", "/discussions");
      await ann.send(discussion.id, "kept");
      await pruneLog(t.databaseUrl, Number(cursor.split(".")[1]));
      const stream = await openReady(kind, ann, { since: cursor });
      assert.deepEqual(
        stream.received.map(({ type }) => type),
        ["message.new", "ready"],
      );
      stream.cut();
    },
  },
  {
    name: "a malformed since is refused",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const headers = { authorization: `Bearer ${ann.token}` };
      const malformed = [
        "nonsense",
        "17",
        "abc.",
        ".5",
        "abc.-1",
        "abc.1e3",
        "abc.1.2",
        "abc.\0",
        "' or 1",
        "é.1",
      ];
      malformed.push("a".repeat(5_000));
      for (const since of malformed) {
        const path = `${streamPath(kind)}?since=${encodeURIComponent(since)}`;
        assertProblem(await openRaw(kind, t.url, path, { headers }), 400, "invalid_request");
      }
    },
  },
];
