import assert from "node:assert/strict";
import { assertProblem, register } from "../support/client.ts";
import { openTestStream } from "../support/streams.ts";
import {
  type Behaviour,
  contentsOf,
  createDirect,
  createGroup,
  endedWith,
  eventsOf,
  heard,
  heardMessage,
  ofType,
  openReady,
} from "./help.ts";
import { openRaw, streamPath } from "./raw.ts";

/** Who hears what, as memberships come and go. */
export const members: Behaviour[] = [
  {
    name: "the user stream hears a discussion from the joining to the removal, live and replayed",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const marks = await createDirect(ann, bob);
      const live = await openReady(kind, bob);
      const group = await createGroup(ann, "group", []);
      const path = `/discussions/${group.id}`;
      await ann.send(group.id, "before the first joining");
      await ann.ok("POST", `${path}/members`, { user_ids: [bob.user.id] });
      await ann.send(group.id, "heard");
      await ann.ok("DELETE", `${path}/members/${bob.user.id}`);
      await ann.send(group.id, "between");
      await ann.ok("PATCH", path, { name: "between" });
      await ann.ok("POST", `${path}/members`, { user_ids: [bob.user.id] });
      await ann.send(group.id, "heard again");
      await bob.ok("DELETE", `${path}/members/${bob.user.id}`);
      await ann.send(group.id, "after leaving");
      await ann.send(marks.id, "the end");
      await heardMessage(live, "the end");
      const names = eventsOf(live).map(({ type, message }) => message?.content ?? type);
      const once = ["member.added", "heard", "member.removed"];
      assert.deepEqual(names, [...once, "member.added", "heard again", "member.removed", "the end"]);
      const replayed = await openReady(kind, bob, { since: marks.cursor });
      assert.deepEqual(eventsOf(replayed), eventsOf(live));
      for (const stream of [live, replayed]) stream.cut();
    },
  },
  {
    name: "members hear of others who join, change and go, each once",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const [bob, carl] = [await register(t.url, "bob"), await register(t.url, "carl")];
      const group = await createGroup(ann, "group", [], { visibility: "public" });
      const path = `/discussions/${group.id}`;
      const hers = await openReady(kind, ann, { discussionId: group.id });
      await ann.ok("POST", `${path}/members`, { user_ids: [bob.user.id] });
      const his = await openReady(kind, bob, { discussionId: group.id });
      await carl.ok("POST", `${path}/join`);
      await carl.ok("POST", `${path}/join`);
      await ann.ok("POST", `${path}/members`, { user_ids: [carl.user.id, bob.user.id] });
      await ann.ok("PATCH", `${path}/members/${bob.user.id}`, { role: "admin" });
      await ann.ok("PATCH", `${path}/members/${bob.user.id}`, { role: "admin" });
      await carl.ok("DELETE", `${path}/members/${carl.user.id}`);
      await ann.send(group.id, "the end");
      for (const stream of [hers, his]) await heardMessage(stream, "the end");
      const names = (stream: typeof hers) =>
        eventsOf(stream).map(({ type, member, user_id }) => `${type} ${member?.user_id ?? user_id}`);
      const [b, c] = [bob.user.id, carl.user.id];
      const both = [
        `member.added ${c}`,
        `member.updated ${b}`,
        `member.removed ${c}`,
        "message.new undefined",
      ];
      assert.deepEqual(names(his), both);
      assert.deepEqual(names(hers), [`member.added ${b}`, ...both]);
      for (const stream of [hers, his]) stream.cut();
    },
  },
  {
    name: "a stream of one discussion from a cursor before the joining begins with the joining",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const group = await createGroup(ann, "group", []);
      await ann.send(group.id, "before");
      await ann.ok("POST", `/discussions/${group.id}/members`, { user_ids: [bob.user.id] });
      await ann.send(group.id, "after");
      const stream = await openReady(kind, bob, { discussionId: group.id, since: group.cursor });
      await ann.send(group.id, "live");
      await heardMessage(stream, "live");
      assert.deepEqual(
        stream.received.map(({ type, message }) => message?.content ?? type),
        ["member.added", "after", "ready", "live"],
      );
      stream.cut();
    },
  },
  {
    name: "a user stream hears a new discussion from its creation, and nothing of those of others",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const carl = await register(t.url, "carl");
      const stream = await openReady(kind, bob);
      const foreign = await createDirect(ann, carl);
      await ann.send(foreign.id, "not for bob");
      await createGroup(ann, "open", [], { visibility: "public" });
      const own = await createDirect(ann, bob);
      await ann.send(own.id, "for bob");
      await heardMessage(stream, "for bob");
      assert.deepEqual(
        stream.received.map(({ type, discussion_id }) => [type, discussion_id]),
        [
          ["ready", undefined],
          ["discussion.created", own.id],
          ["message.new", own.id],
        ],
      );
      stream.cut();
    },
  },
  {
    name: "removal ends the stream of that discussion with 4503, and no other",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const group = await createGroup(ann, "group", [bob]);
      const other = await createDirect(ann, bob);
      const [removed, kept, whole, hers] = await Promise.all([
        openReady(kind, bob, { discussionId: group.id }),
        openReady(kind, bob, { discussionId: other.id }),
        openReady(kind, bob),
        openReady(kind, ann, { discussionId: group.id }),
      ]);
      await ann.send(group.id, "last");
      await ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`);
      await ann.send(group.id, "secret");
      await endedWith(removed, 4503);
      assert.deepEqual(contentsOf(removed), ["last"]);
      assert.deepEqual(eventsOf(removed).at(-1).type, "member.removed");
      await ann.send(other.id, "lives on");
      for (const stream of [kept, whole]) {
        await heardMessage(stream, "lives on");
        assert.equal(stream.ended(), undefined);
      }
      assert.deepEqual(contentsOf(whole), ["last", "lives on"]);
      await heardMessage(hers, "secret");
      assert.equal(ofType(hers, "member.removed").length, 1);
      const headers = { authorization: `Bearer ${bob.token}` };
      const again = await openRaw(kind, t.url, streamPath(kind, group.id), { headers });
      assertProblem(again, 404, "discussion_not_found");
      for (const stream of [kept, whole, hers]) stream.cut();
    },
  },
  {
    name: "who was removed and added again while away goes on with the old cursor",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const group = await createGroup(ann, "group", [bob]);
      const path = `/discussions/${group.id}/members`;
      await ann.send(group.id, "one");
      await ann.ok("DELETE", `${path}/${bob.user.id}`);
      await ann.send(group.id, "secret");
      await ann.ok("POST", path, { user_ids: [bob.user.id] });
      await ann.send(group.id, "two");
      const stream = await openReady(kind, bob, { discussionId: group.id, since: group.cursor });
      await ann.send(group.id, "three");
      await heardMessage(stream, "three");
      assert.deepEqual(contentsOf(stream), ["one", "two", "three"]);
      await ann.ok("DELETE", `${path}/${bob.user.id}`);
      await endedWith(stream, 4503);
    },
  },
  {
    name: "who comes back after the removal and is added again then hears of edits as before",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const group = await createGroup(ann, "group", [bob]);
      const path = `/discussions/${group.id}`;
      const { seq } = await ann.send(group.id, "before");
      await ann.ok("DELETE", `${path}/members/${bob.user.id}`);
      const stream = await openReady(kind, bob, { since: group.cursor });
      await ann.ok("POST", `${path}/members`, { user_ids: [bob.user.id] });
      await ann.ok("PATCH", `${path}/messages/${seq}`, { content: "changed" });
      await ann.send(group.id, "after");
      await heardMessage(stream, "after");
      assert.deepEqual(
        eventsOf(stream).map(({ type, message }) => [type, message?.content ?? ""]),
        [
          ["message.new", "before"],
          ["member.removed", ""],
          ["member.added", ""],
          ["message.updated", "changed"],
          ["message.new", "after"],
        ],
      );
      stream.cut();
    },
  },
  {
    name: "a deleted discussion is told of exactly once and ends its own streams with 4503",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const group = await createGroup(ann, "group", [bob]);
      const other = await createDirect(ann, bob);
      const ones = [
        await openReady(kind, ann, { discussionId: group.id }),
        await openReady(kind, bob, { discussionId: group.id }),
      ];
      const wholes = [await openReady(kind, ann), await openReady(kind, bob)];
      await ann.send(group.id, "gone soon");
      for (const stream of [...ones, ...wholes]) await heardMessage(stream, "gone soon");
      await ann.ok("DELETE", `/discussions/${group.id}`);
      for (const stream of ones) {
        await endedWith(stream, 4503);
        assert.deepEqual(
          eventsOf(stream).map(({ type }) => type),
          ["message.new", "discussion.deleted"],
        );
      }
      await ann.send(other.id, "lives on");
      for (const stream of wholes) {
        await heardMessage(stream, "lives on");
        assert.equal(ofType(stream, "discussion.deleted").length, 1);
        assert.equal(ofType(stream, "discussion.deleted")[0].discussion_id, group.id);
        assert.deepEqual(ofType(stream, "member.removed"), []);
        assert.equal(stream.ended(), undefined);
        stream.cut();
      }
      const replayed = await openReady(kind, bob, { since: group.cursor });
      assert.deepEqual(
        ofType(replayed, "discussion.deleted").map(({ discussion_id }) => discussion_id),
        [group.id],
      );
      assert.ok(!JSON.stringify(replayed.received).includes("gone soon"), "its text is gone from the log");
      replayed.cut();
      const headers = { authorization: `Bearer ${bob.token}` };
      const again = await openRaw(kind, t.url, streamPath(kind, group.id), { headers });
      assertProblem(again, 404, "discussion_not_found");
    },
  },
  {
    name: "a stranger gets 404 for a private discussion and 403 for a public one not joined",
    async act(kind, t) {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const hidden = await createGroup(ann, "hidden", []);
      const open = await createGroup(ann, "open", [], { visibility: "public" });
      const headers = { authorization: `Bearer ${bob.token}` };
      const tryTo = (id: string) => openRaw(kind, t.url, streamPath(kind, id), { headers });
      assertProblem(await tryTo(hidden.id), 404, "discussion_not_found");
      assertProblem(await tryTo("01900000-0000-7000-8000-000000000000"), 404, "discussion_not_found");
      assertProblem(await tryTo(open.id), 403, "not_a_member");
      await bob.ok("POST", `/discussions/${open.id}/join`);
      const stream = await openTestStream(kind, bob, { discussionId: open.id, since: open.cursor });
      await heard(stream, "member.added");
      stream.cut();
      await ann.ok("PATCH", `/discussions/${open.id}`, { visibility: "private" });
      await bob.ok("DELETE", `/discussions/${open.id}/members/${bob.user.id}`);
      assertProblem(await tryTo(open.id), 404, "discussion_not_found");
    },
  },
];
