import assert from "node:assert/strict";
import { test } from "uvu";
import { register } from "./support/client.ts";
import { withServer } from "./support/server.ts";
import { openTestStream } from "./support/streams.ts";

// The whole road in one test: in by REST, through the log, out on every stream, back from history.
test("one message reaches everybody the same", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann", { display_name: "Ann" });
    const bob = await register(t.url, "bob", { display_name: "Bob" });

    const discussion = await ann.ok("POST", "/discussions", { kind: "direct", user_id: bob.user.id });
    assert.equal(discussion.title, "Bob");
    assert.equal(discussion.last_seq, 0);

    const streams = await Promise.all([
      openTestStream("sse", bob, { since: discussion.cursor }),
      openTestStream("ws", bob, { since: discussion.cursor }),
      openTestStream("sse", ann, { discussionId: discussion.id, since: discussion.cursor }),
      openTestStream("ws", ann, { discussionId: discussion.id, since: discussion.cursor }),
    ]);
    for (const stream of streams)
      await stream.until((received) => received.some(({ type }) => type === "ready"));

    const sent = await ann.send(discussion.id, "Hello, Bob", { client_id: "first" });
    assert.equal(sent.seq, 1);
    assert.equal(sent.sender_id, ann.user.id);

    for (const stream of streams) {
      await stream.until((received) => received.some(({ type }) => type === "message.new"));
      const events = stream.received.filter(({ cursor, type }) => cursor && type !== "ready");
      assert.equal(events.length, 1);
      assert.deepEqual(events[0].message, sent);
      assert.equal(events[0].discussion_id, discussion.id);
    }
    const cursors = new Set(streams.map((stream) => stream.cursor()));
    assert.equal(cursors.size, 1);

    const history = await bob.ok("GET", `/discussions/${discussion.id}/messages`);
    assert.deepEqual(history.items, [sent]);
    assert.equal(history.cursor, [...cursors][0]);

    const again = await ann.call("POST", `/discussions/${discussion.id}/messages`, {
      content: "Hello, Bob",
      client_id: "first",
    });
    assert.equal(again.status, 200);
    assert.deepEqual(again.body, sent);

    const seen = await bob.ok("GET", `/discussions/${discussion.id}`);
    assert.equal(seen.title, "Ann");
    assert.equal(seen.unread_count, 1);
    assert.deepEqual(seen.last_message, sent);

    const socket = streams[3];
    socket?.send({ type: "message.send", ref: "r1", content: "by socket", reply_to_seq: 1 });
    await socket?.until((received) => received.some(({ type, ref }) => type === "ack" && ref === "r1"));
    for (const stream of streams) {
      await stream.until((received) => received.filter(({ type }) => type === "message.new").length === 2);
      stream.cut();
    }
  }));

test.run();
