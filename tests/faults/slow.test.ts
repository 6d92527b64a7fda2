// time limit: 180 s
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { connect } from "node:net";
import pg from "pg";
import { test } from "uvu";
import { WebSocket } from "ws";
import { register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";

test("a ping is answered with its data", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const headers = { authorization: `Bearer ${ann.token}` };
    const socket = new WebSocket(`${t.url.replace("http", "ws")}/api/v1/ws`, { headers });
    await new Promise((resolve) => socket.once("open", resolve));
    const data = randomBytes(125);
    const answered = new Promise<Buffer>((resolve) => socket.once("pong", resolve));
    socket.ping(data);
    assert.deepEqual(await answered, data);
    socket.terminate();
  }));

test("a client that floods with pings and never reads is cut off", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const socket = connect(Number(new URL(t.url).port), "localhost");
    let closed = false;
    socket.on("error", () => {});
    socket.once("close", () => {
      closed = true;
    });
    socket.pause();
    socket.write(
      "GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\nSec-WebSocket-Version: 13\r\n` +
        `Authorization: Bearer ${ann.token}\r\n\r\n`,
    );
    // Masked with zeros: a client's frame whose payload reads as it is.
    const ping = Buffer.concat([Buffer.from([0x89, 0x80 | 125, 0, 0, 0, 0]), Buffer.alloc(125, "x")]);
    const burst = Buffer.concat(Array.from({ length: 500 }, () => ping));
    let written = 0;
    await eventually(() => {
      // A paused socket does not see that it was cut off; a write to it does, so some go on for ever.
      const bursts = written < 200 * 1024 * 1024 ? 20 : 1;
      if (!closed && socket.writableLength < 1024 * 1024) {
        for (let i = 0; i < bursts; i++) socket.write(burst);
        written += bursts * burst.length;
      }
      assert.ok(closed || socket.destroyed, `${written} bytes of pings and still open`);
    }, 60_000);
    await ann.ok("GET", "/users/me");
  }));

test("a log that is pruned under a replay ends the stream instead of leaving events out", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id, cursor } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const client = new pg.Client({ connectionString: t.databaseUrl });
    await client.connect();
    try {
      await client.query(
        `INSERT INTO messages (discussion_id, seq, sender_id, content)
         SELECT $1, n, $2, repeat('x', 4000) FROM generate_series(1, 10000) AS n`,
        [id, ann.user.id],
      );
      const replay = await openSlowly(`${t.url}/api/v1/discussions/${id}/events?since=${cursor}`, ann.token);
      // The buffers between are full and the replay waits, far from the part of the log that is in memory.
      const [newest] = (await client.query("SELECT max(position)::int AS position FROM events")).rows;
      await client.query("DELETE FROM events WHERE position < $1", [newest.position - 4000]);
      const text = await replay.readToEnd();
      const seqs = [...text.matchAll(/"seq":(\d+)/g)].map((match) => Number(match[1]));
      assert.ok(seqs.length > 0 && seqs.length < 6000, `${seqs.length} messages came`);
      assert.deepEqual(
        seqs,
        seqs.map((_, index) => index + 1),
        "what came is a stretch without holes",
      );
      assert.match(text, /event: closed\ndata: {"type":"closed","code":1012/);
    } finally {
      await client.end();
    }
  }));

/** An SSE stream whose client reads the head and then nothing, until it is told to read to the end. */
function openSlowly(url: string, token: string): Promise<{ readToEnd(): Promise<string> }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent: false, headers: { authorization: `Bearer ${token}` } });
    asked.once("error", reject);
    asked.once("response", (response) => {
      assert.equal(response.statusCode, 200);
      response.pause();
      const readToEnd = async () => {
        const chunks: Buffer[] = [];
        for await (const chunk of response) chunks.push(chunk);
        return Buffer.concat(chunks).toString("utf8");
      };
      resolve({ readToEnd });
    });
    asked.end();
  });
}

test.run();
