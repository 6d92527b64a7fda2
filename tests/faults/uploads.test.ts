// time limit: 180 s
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { H3Event } from "h3";
import { test } from "uvu";
import { receiveFile } from "../../server/api/uploads.ts";
import { assertProblem, Client, type Json, register } from "../support/client.ts";
import { filePart, openRequest, rawForm, sendBody, tryUpload, upload } from "../support/files.ts";
import { query } from "../support/postgres.ts";
import { withProgram } from "../support/process.ts";
import { eventually, withServer } from "../support/server.ts";

const env = { RATE_LIMITS: "off" };
const megabyte = 1024 * 1024;
const largest = 10 * megabyte;

/** Rows that uploads have left in the database. */
async function countRows(databaseUrl: string): Promise<Json> {
  const [row] = await query(
    databaseUrl,
    `SELECT (SELECT count(*) FROM attachments)::int AS attachments,
      (SELECT count(*) FROM attachment_chunks)::int AS chunks,
      (SELECT count(*) FROM attachment_removals)::int AS removals`,
  );
  return row;
}

const nothing = { attachments: 0, chunks: 0, removals: 0 };

function assertNothingLeft(databaseUrl: string): Promise<void> {
  return eventually(async () => assert.deepEqual(await countRows(databaseUrl), nothing));
}

function sendForm(client: Client, { type, body }: { type: string; body: Buffer }) {
  return sendBody(client, "POST", "/attachments", body, { "content-type": type });
}

test("the largest file is taken, and one byte more is refused, with nothing left of it", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    assertProblem(await tryUpload(ann, Buffer.alloc(largest + 1)), 413, "payload_too_large");
    const chunked = new ReadableStream({
      start: (controller) => {
        controller.enqueue(rawForm([[filePart, "x".repeat(largest + 1)]]).body);
        controller.close();
      },
    });
    const { type } = rawForm([]);
    const init = { method: "POST", body: chunked, duplex: "half" as const };
    const headers = { authorization: `Bearer ${ann.token}`, "content-type": type };
    const answer = await fetch(`${t.url}/api/v1/attachments`, { ...init, headers });
    assert.equal(answer.status, 413);
    await assertNothingLeft(t.databaseUrl);
    const { size } = await upload(ann, Buffer.alloc(largest));
    assert.equal(size, largest);
    assert.deepEqual(await countRows(t.databaseUrl), { attachments: 1, chunks: 40, removals: 0 });
  }, env));

test("what is too large is refused before it has come in", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { type, body } = rawForm([[filePart, "x".repeat(largest + 100_000)]]);
    const told = openRequest(ann, "/attachments", { "content-type": type, "content-length": body.length });
    told.sent.flushHeaders();
    assert.equal((await told.answer).status, 413, "by its length, without its body");
    told.sent.destroy();
    const untold = openRequest(ann, "/attachments", { "content-type": type });
    untold.sent.write(body.subarray(0, largest + 1000));
    const { status, body: problem } = await untold.answer;
    assert.equal(status, 413, "by its bytes, without its end");
    assert.equal(problem.code, "payload_too_large");
    untold.sent.destroy();
    const avatar = await sendBody(ann, "PUT", "/users/me/avatar", Buffer.alloc(6 * megabyte), {
      "content-type": "image/png",
    });
    assertProblem(avatar, 413, "payload_too_large");
    await assertNothingLeft(t.databaseUrl);
  }, env));

test("who reads only when all is sent gets to read the refusal; who never stops sending is cut off", () =>
  withServer(
    async (t) => {
      const ann = await register(t.url, "ann");
      const socket = connect(Number(new URL(t.url).port), "localhost");
      let answer = "";
      let closed = false;
      socket.on("error", () => {});
      socket.on("close", () => {
        closed = true;
      });
      const { type, body } = rawForm([[filePart, "x".repeat(8 * megabyte)]]);
      socket.write(
        `POST /api/v1/attachments HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ann.token}\r\n` +
          `Content-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`,
      );
      const send = (bytes: Buffer) =>
        new Promise<void>((resolve) => {
          socket.write(`${bytes.length.toString(16)}\r\n`);
          socket.write(bytes);
          socket.write("\r\n", () => resolve());
        });
      await send(body);
      socket.on("data", (data) => {
        answer += data;
      });
      await eventually(() => assert.match(answer, /^HTTP\/1.1 413 .*payload_too_large/s));
      assert.equal(closed, false);
      for (let sent = 0; !closed && sent < 200; sent++) await send(Buffer.alloc(megabyte));
      await eventually(() => assert.equal(closed, true));
      await assertNothingLeft(t.databaseUrl);
    },
    { ...env, ATTACHMENT_MAX_BYTES: "100000" },
  ));

test("who breaks off leaves nothing behind", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { type, body } = rawForm([[filePart, "x".repeat(3 * megabyte)]]);
    for (const bytes of [10, 200, megabyte, body.length - 1]) {
      const headers = { "content-type": type, "content-length": body.length };
      const { sent } = openRequest(ann, "/attachments", headers);
      sent.on("error", () => {});
      sent.write(body.subarray(0, bytes));
      if (bytes >= megabyte) {
        await eventually(async () => assert.ok((await countRows(t.databaseUrl)).chunks > 0));
      }
      sent.destroy();
      await assertNothingLeft(t.databaseUrl);
    }
    await upload(ann, "still there");
  }, env));

test("who falls silent is given up, and leaves nothing behind", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { type, body } = rawForm([[filePart, "x".repeat(megabyte)]]);
    const headers = { "content-type": type, "content-length": body.length };
    const silent = openRequest(ann, "/attachments", headers);
    silent.sent.write(body.subarray(0, megabyte / 2));
    const { status, body: problem } = await silent.answer;
    assert.equal(status, 408);
    assert.equal(problem.code, "request_timeout");
    await assertNothingLeft(t.databaseUrl);
    silent.sent.destroy();
  }, env));

test("an upload whose session ends under it is not kept", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { type, body } = rawForm([[filePart, "x".repeat(megabyte)]]);
    const { sent, answer } = openRequest(ann, "/attachments", { "content-type": type });
    sent.write(body.subarray(0, megabyte / 2));
    await eventually(async () => assert.ok((await countRows(t.databaseUrl)).chunks > 0));
    await ann.ok("POST", "/auth/logout");
    sent.end(body.subarray(megabyte / 2));
    const { status, body: problem } = await answer;
    assert.deepEqual([status, problem.code], [401, "session_revoked"]);
    await assertNothingLeft(t.databaseUrl);
  }, env));

test("a form that is not as it must be is refused, whatever is wrong with it", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const good = rawForm([[filePart, "content"]]);
    const field = 'Content-Disposition: form-data; name="note"';
    const parts: [string, string][][] = [
      [],
      [[field, "x"]],
      [['Content-Disposition: form-data; name="file"', "not a file"]],
      [[filePart.replace('"file"', '"files"'), "x"]],
      [
        [filePart, "x"],
        [filePart, "y"],
      ],
      [
        [filePart, "x"],
        [field, "y"],
      ],
      [
        [field, "y"],
        [filePart, "x"],
      ],
      [["Content-Type: text/plain", "no name"]],
      [["X: y".repeat(10_000), "long headers"]],
    ];
    for (const part of parts) {
      const answer = await sendForm(ann, rawForm(part));
      assertProblem(answer, 400, "invalid_request");
    }
    for (let length = 0; length < good.body.length - 4; length += 3) {
      const answer = await sendForm(ann, { ...good, body: good.body.subarray(0, length) });
      assertProblem(answer, 400, "invalid_request");
    }
    const types: [string, number][] = [
      ["multipart/form-data", 400],
      ["multipart/form-data; boundary=", 400],
      ["multipart/form-data; boundary=other", 400],
      ["multipart/mixed; boundary=b0undary", 415],
      ["application/json", 415],
      ["text/plain", 415],
    ];
    for (const [type, status] of types) {
      assert.equal((await sendForm(ann, { ...good, type })).status, status, type);
    }
    await assertNothingLeft(t.databaseUrl);
    assert.equal((await sendForm(ann, good)).status, 201);
  }, env));

test("a name may hold what JSON and headers would mistake for their own", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const name = 'say \\"hi\\"; filename=other.html';
    const form = rawForm([[`Content-Disposition: form-data; name="file"; filename="${name}"`, "x"]]);
    const { status, body } = await sendForm(ann, form);
    assert.equal(status, 201);
    assert.equal(body.name, 'say "hi"; filename=other.html');
    const { headers } = await fetch(t.url + body.url, { headers: { authorization: `Bearer ${ann.token}` } });
    assert.equal(
      headers.get("content-disposition"),
      'attachment; filename="say \\"hi\\"; filename=other.html"',
    );
  }, env));

test("forms with bytes changed at random are taken or refused, and always answered", () =>
  withServer(
    async (t) => {
      const ann = await register(t.url, "ann");
      const { body, type } = rawForm([[filePart, "--b0undar\r\n--b0undary-\r\ncontent"]]);
      const interesting = [...Buffer.from('\r\n-"=;:b\0\xff', "latin1")];
      let seed = 12345;
      const random = (below: number) => {
        seed = (seed * 1103515245 + 12345) % 2 ** 31;
        return Math.floor((seed / 2 ** 31) * below);
      };
      for (let round = 0; round < 60; round++) {
        const changed = Buffer.from(body);
        for (let change = 0; change <= random(4); change++) {
          changed[random(changed.length)] = interesting[random(interesting.length)] ?? 0;
        }
        const answer = await sendForm(ann, { type, body: changed });
        assert.ok([201, 400].includes(answer.status), JSON.stringify([answer.body, String(changed)]));
      }
      await eventually(async () => assert.equal((await countRows(t.databaseUrl)).removals, 0));
    },
    { ...env, ATTACHMENT_MAX_BYTES: "100000" },
  ));

test("one user has a bounded number of uploads in progress, and leaves room to others", () =>
  withServer(async (t) => {
    const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
    const { type, body } = rawForm([[filePart, "x".repeat(megabyte)]]);
    const open = Array.from({ length: 8 }, () => openRequest(ann, "/attachments", { "content-type": type }));
    for (const { sent } of open) sent.write(body.subarray(0, megabyte / 2));
    await eventually(async () => assert.equal((await countRows(t.databaseUrl)).removals, 8));
    const refused = await tryUpload(ann, "x");
    assertProblem(refused, 429, "rate_limited");
    assert.equal(refused.headers.get("retry-after"), `${refused.body.retry_after}`);
    await upload(bob, "x");
    open[0]?.sent.destroy();
    await eventually(() => upload(ann, "x"));
    for (const { sent } of open.slice(1)) sent.end(body.subarray(megabyte / 2));
    for (const { answer } of open.slice(1)) assert.equal((await answer).status, 201);
  }, env));

test("no more is read of a file than is stored, however large it is", async () => {
  let stored = 0;
  let ahead = 0;
  const server = createServer(async (request, response) => {
    const event = { runtime: { node: { req: request } } } as unknown as H3Event;
    await receiveFile(event, 100 * megabyte, async (file) => {
      for await (const piece of file.bytes) {
        ahead = Math.max(ahead, request.socket.bytesRead - stored);
        stored += piece.length;
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    });
    response.end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, resolve));
  try {
    const client = new Client(`http://localhost:${(server.address() as AddressInfo).port}`);
    const { type, body } = rawForm([[filePart, "x".repeat(20 * megabyte)]]);
    const { sent, answer } = openRequest(client, "/", { "content-type": type });
    sent.end(body);
    assert.equal((await answer).status, 200);
  } finally {
    server.closeAllConnections();
    server.close();
  }
  assert.equal(stored, 20 * megabyte);
  assert.ok(ahead < megabyte, `${ahead} bytes were read and not stored`);
});

test("nothing of an upload stays in memory", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const content = Buffer.alloc(4 * megabyte, "x");
    const round = async () => {
      const files = await Promise.all([1, 2, 3].map(() => upload(ann, content)));
      await ann.send(id, "", { attachment_ids: files.map((file) => file.id) });
      const { sent } = openRequest(ann, "/attachments", { "content-type": rawForm([]).type });
      sent.on("error", () => {});
      sent.write(rawForm([[filePart, "x".repeat(megabyte)]]).body.subarray(0, megabyte / 2));
      await eventually(async () => assert.equal((await countRows(t.databaseUrl)).removals, 1));
      sent.destroy();
      await eventually(async () => assert.equal((await countRows(t.databaseUrl)).removals, 0));
    };
    await round();
    const before = await heldBytes();
    for (let index = 0; index < 5; index++) await round();
    const grown = Math.round(((await heldBytes()) - before) / megabyte);
    assert.ok(grown < 8, `${grown} MiB more after 60 MiB of uploads`);
  }, env));

test("an upload is not held in memory while it comes in, however large it is", async () => {
  const folder = await mkdtemp(join(tmpdir(), "parley-"));
  const size = 200 * megabyte;
  const settings = {
    ...env,
    ATTACHMENTS_URL: pathToFileURL(folder).href,
    ATTACHMENT_MAX_BYTES: `${size}`,
    MALLOC_ARENA_MAX: "1",
  };
  try {
    await withProgram(settings, async (program) => {
      const ann = await register(program.url, "ann");
      await upload(ann, Buffer.alloc(megabyte));
      const before = await program.residentBytes();
      let most = before;
      const piece = Buffer.alloc(megabyte, "x");
      const { type, body } = rawForm([[filePart, ""]]);
      const at = body.indexOf("\r\n\r\n") + 4;
      const pieces = async function* () {
        yield body.subarray(0, at);
        for (let sent = 0; sent < size; sent += piece.length) {
          yield piece;
          most = Math.max(most, await program.residentBytes());
        }
        yield body.subarray(at);
      };
      const stream = ReadableStream.from(pieces());
      const answer = await sendBody(ann, "POST", "/attachments", stream, { "content-type": type });
      assert.deepEqual([answer.status, answer.body.size], [201, size]);
      const grown = Math.round((most - before) / megabyte);
      assert.ok(grown < 100, `${grown} MiB more in an upload of 200 MiB`);
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

/** Memory that is in use, once what is not has been collected. */
async function heldBytes(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collectGarbage = runInNewContext("gc");
  for (let index = 0; index < 3; index++) {
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

test.run();
