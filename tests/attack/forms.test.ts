// time limit: 120 s
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "uvu";
import { assertProblem, type Client, register } from "../support/client.ts";
import { download, filePart, openRequest, rawForm, sendBody, upload } from "../support/files.ts";
import { query } from "../support/postgres.ts";
import { settledBytes, withProgram } from "../support/process.ts";
import { eventually, withServer } from "../support/server.ts";

const env = { RATE_LIMITS: "off" };
const megabyte = 1024 * 1024;

function sendForm(client: Client, { type, body }: { type: string; body: Buffer }, path = "/attachments") {
  const method = path === "/attachments" ? "POST" : "PUT";
  return sendBody(client, method, path, body, { "content-type": type });
}

/** Sends bytes as they are, as one request behind the other; gives the statuses of all answers. */
async function sendRaw(url: string, bytes: string): Promise<number[]> {
  const socket = connect(Number(new URL(url).port), "localhost");
  let text = "";
  socket.setEncoding("latin1");
  socket.on("error", () => {});
  socket.on("data", (data) => {
    text += data;
  });
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.write(Buffer.from(bytes, "latin1"));
  await closed;
  return [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map((match) => Number(match[1]));
}

test("forms that play tricks are read as one file or refused, and nothing of the refused stays", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const part = (headers: string, content = "x", boundary = "b0undary") =>
      rawForm([[headers, content]], boundary);
    const inner = rawForm([[filePart, "inside"]], "inner").body.toString("latin1");
    const many = Array.from({ length: 5_000 }, () => [filePart, "x"] as const);
    const forms: [name: string, form: { type: string; body: Buffer }, status: number, stored?: string][] = [
      ["a boundary of 70 characters", part(filePart, "x", "b".repeat(70)), 201, "x"],
      ["a boundary of 200 characters", part(filePart, "x", "b".repeat(200)), 201, "x"],
      ["a boundary of 8,000 characters", part(filePart, "x", "b".repeat(8_000)), 400],
      ["a boundary of one dash", part(filePart, "x", "-"), 201, "x"],
      [
        "a boundary of signs",
        { ...part(filePart, "x", "'()+_,-./:=?"), type: 'multipart/form-data; boundary="\'()+_,-./:=?"' },
        201,
        "x",
      ],
      [
        "two boundaries",
        { ...part(filePart), type: "multipart/form-data; boundary=b0undary; boundary=x" },
        201,
      ],
      [
        "a form in a form",
        part(`${filePart}\r\nContent-Type: multipart/mixed; boundary=inner`, inner),
        201,
        inner,
      ],
      [
        "a form in a form that is no file",
        part(
          'Content-Disposition: form-data; name="file"\r\nContent-Type: multipart/mixed; boundary=inner',
          inner,
        ),
        400,
      ],
      ["base64", part(`${filePart}\r\nContent-Transfer-Encoding: base64`, "eHh4"), 201, "eHh4"],
      [
        "quoted-printable",
        part(`${filePart}\r\nContent-Transfer-Encoding: quoted-printable`, "=3Cb"),
        201,
        "=3Cb",
      ],
      ["an encoding of its own", part(`${filePart}\r\nContent-Encoding: gzip`, "\x1f\x08"), 201, "\x1f\x08"],
      ["a length of its own", part(`${filePart}\r\nContent-Length: 999999`, "x"), 201, "x"],
      ["two names", part('Content-Disposition: form-data; name="x"; name="file"; filename="a"'), 201],
      ["two dispositions", part(`Content-Disposition: form-data; name="x"\r\n${filePart}`), 400],
      ["another disposition", part('Content-Disposition: attachment; name="file"; filename="a"'), 400],
      [
        "a name of the prototype",
        part('Content-Disposition: form-data; name="__proto__"; filename="a"'),
        400,
      ],
      ["headers of the prototype", part(`__proto__: x\r\nconstructor: y\r\n${filePart}`), 201, "x"],
      ["too many headers", part(`${"X: y\r\n".repeat(100)}${filePart}`), 400],
      ["a header of 100 kB", part(`X: ${"y".repeat(100_000)}\r\n${filePart}`), 400],
      ["5,000 files", rawForm(many), 400],
      [
        "5,000 fields",
        rawForm(many.map(([, x]) => ['Content-Disposition: form-data; name="a"', x] as const)),
        400,
      ],
      ["5,000 empty parts", rawForm(many.map(() => ["", ""] as const)), 400],
      [
        "only line feeds",
        { ...part(filePart), body: Buffer.from(part(filePart).body.toString().replaceAll("\r", "")) },
        400,
      ],
      [
        "something before",
        {
          ...part(filePart),
          body: Buffer.concat([Buffer.alloc(5_000, "-"), Buffer.from("\r\n"), part(filePart).body]),
        },
        201,
        "x",
      ],
      [
        "something behind",
        { ...part(filePart), body: Buffer.concat([part(filePart).body, Buffer.alloc(5_000, "-")]) },
        201,
        "x",
      ],
      [
        "another form behind",
        { ...part(filePart), body: Buffer.concat([part(filePart).body, part(filePart, "y").body]) },
        201,
        "x",
      ],
    ];
    let kept = 0;
    for (const [name, form, status, stored] of forms) {
      const answer = await sendForm(ann, form);
      assert.equal(answer.status, status, `${name}: ${JSON.stringify(answer.body)}`);
      if (status !== 201) assertProblem(answer, 400, "invalid_request");
      else kept++;
      if (stored !== undefined) {
        assert.equal((await download(ann, answer.body.url)).bytes.toString("latin1"), stored, name);
      }
      const avatar = await sendForm(ann, form, "/users/me/avatar");
      assert.ok([400, 415].includes(avatar.status), `${name}: ${avatar.status}`);
    }
    await eventually(async () => {
      const [row] = await query(
        t.databaseUrl,
        `SELECT (SELECT count(*) FROM attachments)::int AS attachments,
          (SELECT count(DISTINCT attachment_id) FROM attachment_chunks)::int AS stored,
          (SELECT count(*) FROM attachment_removals)::int AS removals`,
      );
      assert.deepEqual(row, { attachments: kept, stored: kept, removals: 0 });
    });
  }, env));

test("a body that is longer or shorter than it says ends with its request, not in the next one", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { type, body } = rawForm([[filePart, "content"]]);
    const head = (length: string) =>
      `POST /api/v1/attachments HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ann.token}\r\n` +
      `Content-Type: ${type}\r\n${length}\r\nConnection: close\r\n\r\n`;
    const text = body.toString("latin1");
    assert.deepEqual(await sendRaw(t.url, `${head(`Content-Length: ${body.length}`)}${text}`), [201]);
    // What is behind is no request any more, as the first has asked to close the connection.
    const smuggled = `DELETE /api/v1/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    const behind = await sendRaw(t.url, `${head(`Content-Length: ${body.length}`)}${text}${smuggled}`);
    assert.ok(behind.length === 1 && [201, 400].includes(behind[0] ?? 0), `${behind}`);
    assert.deepEqual(await sendRaw(t.url, `${head(`Content-Length: ${body.length - 9}`)}${text}`), [400]);
    for (const length of [
      "Content-Length: -1",
      "Content-Length: 1e3",
      "Content-Length: 0x10",
      `Content-Length: ${body.length}\r\nContent-Length: 5`,
      `Content-Length: ${body.length}\r\nTransfer-Encoding: chunked`,
      "Transfer-Encoding: chunked, identity",
      "Transfer-Encoding: gzip",
    ]) {
      assert.deepEqual(await sendRaw(t.url, head(length) + text), [400], length);
    }
    const huge = `Content-Length: ${Number.MAX_SAFE_INTEGER}`;
    assert.deepEqual(await sendRaw(t.url, head(huge)), [413]);
    await ann.ok("GET", "/users/me");
  }, env));

test("floods before, within and behind the parts of a form are cut off, and nothing of them is held", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    await upload(ann, Buffer.alloc(8 * megabyte));
    const { type, body } = rawForm([[filePart, "content"]]);
    const before = await settledBytes(program);
    const starts: [name: string, start: Buffer][] = [
      ["before the first part", Buffer.from("never a boundary\r\n")],
      ["within the headers of a part", Buffer.from("--b0undary\r\nX: ")],
      ["behind the last part", body],
    ];
    for (const [name, start] of starts) {
      const opened = openRequest(ann, "/attachments", { "content-type": type });
      opened.sent.on("error", () => {});
      opened.sent.write(start);
      let answered = false;
      let sent = 0;
      const answer = opened.answer.then(
        (got) => {
          answered = true;
          return got.status;
        },
        () => {
          answered = true;
          return 0;
        },
      );
      const piece = Buffer.alloc(megabyte, "y");
      while (!answered && sent < 500 * megabyte) {
        await new Promise<void>((resolve) => opened.sent.write(piece, () => resolve()));
        sent += piece.length;
      }
      assert.equal(await answer, 413, name);
      assert.ok(sent < 60 * megabyte, `${name}: ${sent / megabyte} MiB were taken`);
      opened.sent.destroy();
    }
    const grown = (await settledBytes(program)) - before;
    assert.ok(grown < 100 * megabyte, `${Math.round(grown / megabyte)} MiB more`);
    await upload(ann, "still there");
  }));

test("ranges that are many, overlap or lie cost no more than the file, and are never more than it", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bytes = Buffer.alloc(300_000, "0123456789");
    const { url } = await upload(ann, bytes);
    const nines = "9".repeat(400);
    const ranges: [range: string, status: number, length: number][] = [
      ["bytes=0-,0-,0-", 200, bytes.length],
      [`bytes=${Array.from({ length: 2_000 }, (_, n) => `${n}-`).join(",")}`, 200, bytes.length],
      [`bytes=${"0-0,".repeat(2_000)}0-0`, 200, bytes.length],
      [`bytes=0-${nines}`, 206, bytes.length],
      [`bytes=-${nines}`, 206, bytes.length],
      [`bytes=${nines}-`, 416, -1],
      [`bytes=${nines}-${nines}`, 416, -1],
      ["bytes=9007199254740993-", 416, -1],
      ["bytes=-0", 416, -1],
      ["bytes=300000-", 416, -1],
      ["bytes=299999-", 206, 1],
      ["bytes=--5", 200, bytes.length],
      ["bytes=5--5", 200, bytes.length],
      ["bytes=1e3-", 200, bytes.length],
      ["bytes=0x0-0x9", 200, bytes.length],
      ["bytes=9-0", 200, bytes.length],
      ["bytes=", 200, bytes.length],
      ["bytes=-", 200, bytes.length],
      [`bytes=${" ".repeat(10_000)}0-0`, 206, 1],
      ["bites=0-0", 200, bytes.length],
      ["bytes=٠-٩", 200, bytes.length],
    ];
    for (const [range, status, length] of ranges) {
      const headers = { range: Buffer.from(range).toString("latin1") };
      const answer = await download(ann, url, headers);
      const label = range.slice(0, 40);
      assert.equal(answer.status, status, label);
      if (length >= 0) assert.equal(answer.bytes.length, length, label);
    }
    const avatar = await download(ann, ann.user.avatar_url, { range: `bytes=0-0,${"0-,".repeat(2_000)}1-` });
    assert.equal(avatar.status, 200);
  }, env));

test.run();
