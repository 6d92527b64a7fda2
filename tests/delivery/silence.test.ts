// time limit: 90 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { register } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import { createDirect, heardMessage, openReady } from "./help.ts";
import { openRaw, streamPath } from "./raw.ts";

test("a socket that answers no ping is cut off within a minute; one that answers is not", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const discussion = await createDirect(ann, ann);
    const answering = await openReady("ws", ann);
    // Answers nothing by itself, like a client whose network went away.
    const silent = await openRaw("ws", t.url, streamPath("ws"), {
      headers: { authorization: `Bearer ${ann.token}` },
    });
    const pings = () => [...silent.bytes()].filter((byte) => byte === 0x89).length;
    await silent.until(() => silent.hasEnded(), 60_000);
    assert.equal(pings(), 1, "it was asked once");
    assert.equal(answering.ended(), undefined);
    await ann.send(discussion.id, "still there");
    await heardMessage(answering, "still there");
    answering.cut();
  }));

test.run();
