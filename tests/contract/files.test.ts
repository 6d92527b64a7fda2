import assert from "node:assert/strict";
import sharp from "sharp";
import { test } from "uvu";
import { assertProblem, type Client, register } from "../support/client.ts";
import { assertGone, download, picture, sendBody, upload } from "../support/files.ts";
import { withServer } from "../support/server.ts";

const env = { RATE_LIMITS: "off" };

/** How a file that Ann uploads is told of and served. */
async function serveFile(ann: Client, bytes: Uint8Array | string, name: string, type = "image/png") {
  const file = await upload(ann, bytes, name, type);
  const served = await download(ann, file.url);
  assert.equal(served.status, 200);
  assert.deepEqual(served.bytes, Buffer.from(bytes as string), "the bytes are as they were");
  const [disposition = ""] = (served.headers.get("content-disposition") ?? "").split(";");
  return { file, disposition, type: served.headers.get("content-type") };
}

test("whatever is served runs nothing, is taken for nothing else, and is asked for each time", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const urls = [ann.user.avatar_url];
    for (const bytes of [await picture("png"), "<script>alert(1)</script>"]) {
      urls.push((await upload(ann, bytes, "a.png")).url);
    }
    urls.push(`${urls[1]}?thumbnail=1`);
    for (const url of urls) {
      const { headers } = await download(ann, url);
      assert.equal(headers.get("x-content-type-options"), "nosniff", url);
      assert.equal(
        headers.get("content-security-policy"),
        "default-src 'none'; frame-ancestors 'none'; sandbox",
        url,
      );
      assert.equal(headers.get("cache-control"), "private, no-cache", url);
      assert.match(headers.get("etag") ?? "", /^"[\w-]+"$/, url);
    }
  }, env));

test("a file is what its bytes say, not its name nor its sender; pages and drawings are never shown", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>';
    const script = "<script>alert(document.cookie)</script>";
    const png = await picture("png");
    const cases: [Uint8Array | string, string, string, string][] = [
      [`<!doctype html><html>${script}</html>`, "a.png", "text/plain; charset=utf-8", "attachment"],
      [svg, "a.svg", "text/plain; charset=utf-8", "attachment"],
      [`<?xml version="1.0"?>${svg}`, "a.svg", "application/xml", "attachment"],
      ["plain: größer, 大きい", "a.html", "text/plain; charset=utf-8", "attachment"],
      ["", "empty", "text/plain; charset=utf-8", "attachment"],
      [Buffer.from([0x41, 0x00, 0x42]), "a.txt", "application/octet-stream", "attachment"],
      [Buffer.from([0xff, 0x41]), "a.txt", "application/octet-stream", "attachment"],
      [Buffer.from("größ").subarray(0, -1), "cut.txt", "application/octet-stream", "attachment"],
      [Buffer.from("%PDF-1.7\n%âãÏÓ\n", "latin1"), "a.png", "application/pdf", "attachment"],
      [png, "a.html", "image/png", "inline"],
      [await picture("jpeg"), "a", "image/jpeg", "inline"],
      [await picture("webp"), "a", "image/webp", "inline"],
      [await picture("gif"), "a", "image/gif", "inline"],
      [await picture("avif"), "a", "image/avif", "inline"],
      // A page behind a picture's first bytes, and a picture with a page behind it.
      [Buffer.concat([png.subarray(0, 60), Buffer.from(script)]), "a.html", "image/png", "attachment"],
      [Buffer.concat([png, Buffer.from(script)]), "a.html", "image/png", "inline"],
      [`GIF89a/*${script}*/=1`, "a.js", "image/gif", "attachment"],
    ];
    for (const [bytes, name, type, disposition] of cases) {
      const served = await serveFile(ann, bytes, name);
      assert.equal(served.type, type, `${name} ${String(bytes).slice(0, 20)}`);
      assert.equal(served.disposition, disposition, `${name} ${type}`);
      assert.equal(served.file.media_type, type.split(";")[0]);
    }
  }, env));

test("images have their size as they are seen, and a thumbnail", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const cases = [
      { format: "png", options: { width: 640, height: 480 }, size: [640, 480] },
      { format: "jpeg", options: { width: 640, height: 480, orientation: 6 }, size: [480, 640] },
      { format: "webp", options: { width: 10, height: 20 }, size: [10, 20] },
      { format: "avif", options: { width: 1000, height: 1 }, size: [1000, 1] },
      { format: "gif", options: { width: 400, height: 300 }, size: [400, 300] },
    ] as const;
    for (const { format, options, size } of cases) {
      const { width, height, url } = await upload(ann, await picture(format, options), `a.${format}`);
      assert.deepEqual([width, height], size, format);
      const thumbnail = await download(ann, `${url}?thumbnail=1`);
      assert.equal(thumbnail.status, 200);
      assert.equal(thumbnail.headers.get("content-type"), "image/webp");
      assert.equal(thumbnail.bytes.subarray(8, 12).toString(), "WEBP");
      assert.ok(!thumbnail.bytes.includes("secret place"), "no metadata");
      const shown = await sharp(thumbnail.bytes).metadata();
      assert.ok(shown.width <= 320 && shown.height <= 320);
      assert.equal(shown.width > shown.height, width > height, "turned like the image");
      await assertGone(bob, `${url}?thumbnail=1`);
    }
    const plain = await upload(ann, "text");
    await assertGone(ann, `${plain.url}?thumbnail=1`, "not_found");
    assertProblem(await ann.call("GET", `/attachments/${plain.id}?thumbnail=2`), 400, "invalid_request");
  }, env));

test("an image that is broken or has too many pixels is a plain file", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const jpeg = await picture("jpeg", { noise: true });
    const bomb = await picture("png", { width: 10_000, height: 6_000 });
    assert.ok(bomb.length < 1_000_000);
    for (const bytes of [jpeg.subarray(0, jpeg.length / 2), bomb, (await picture("avif")).subarray(0, 100)]) {
      const { file, disposition } = await serveFile(ann, bytes, "a.png");
      assert.match(file.media_type, /^image\//);
      assert.ok(!("width" in file) && !("height" in file));
      assert.equal(disposition, "attachment");
      await assertGone(ann, `${file.url}?thumbnail=1`, "not_found");
    }
  }, env));

test("names are kept as text, without paths and what cannot be seen, and are told by RFC 6266", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const cases: [string, string, string][] = [
      ["list.txt", "list.txt", "filename=list.txt"],
      ["two words; x=1.txt", "two words; x=1.txt", 'filename="two words; x=1.txt"'],
      ["/etc/passwd", "passwd", "filename=passwd"],
      ["..\\..\\boot.ini", "boot.ini", "filename=boot.ini"],
      ["..", "file", "filename=file"],
      ["", "file", "filename=file"],
      ["a\u0000b\u001b[1m\u0085.txt", "ab[1m.txt", 'filename="ab[1m.txt"'],
      ["gpj.\u202etxt\u2066.exe", "gpj.txt.exe", "filename=gpj.txt.exe"],
      ["日本🙂.png", "日本🙂.png", "filename*=UTF-8''%E6%97%A5%E6%9C%AC%F0%9F%99%82.png"],
      [`${"x".repeat(300)}.tar.gz`, `${"x".repeat(252)}.gz`, `filename=${"x".repeat(252)}.gz`],
      ["🙂".repeat(300), "🙂".repeat(255), "filename*="],
    ];
    for (const [sent, name, header] of cases) {
      const form = new FormData();
      form.set("file", new Blob(["x"]), sent);
      const { body: file } = await sendBody(ann, "POST", "/attachments", form);
      assert.equal(file.name, name, JSON.stringify(sent));
      const { headers } = await download(ann, file.url);
      const disposition = headers.get("content-disposition") ?? "";
      assert.ok(disposition.startsWith("attachment; "), disposition);
      assert.ok(disposition.includes(header), `${disposition} has ${header}`);
    }
  }, env));

test("any one range is served, with the bytes that it names", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    // Several chunks, the last one not full.
    const bytes = Buffer.from(Uint32Array.from({ length: 175_000 }, (_, index) => index * 2654435761).buffer);
    const { url, size } = await upload(ann, bytes);
    assert.equal(size, 700_000);
    const chunk = 256 * 1024;
    const ranges: [string, number, number][] = [
      ["bytes=0-0", 0, 0],
      ["bytes=0-9", 0, 9],
      [`bytes=${chunk - 1}-${chunk}`, chunk - 1, chunk],
      [`bytes=${chunk}-${2 * chunk - 1}`, chunk, 2 * chunk - 1],
      ["bytes=5-699999", 5, 699_999],
      ["bytes=699999-", 699_999, 699_999],
      ["bytes=600000-9999999", 600_000, 699_999],
      ["bytes=-7", 699_993, 699_999],
      ["bytes=-9999999", 0, 699_999],
    ];
    for (const [range, first, last] of ranges) {
      const part = await download(ann, url, { range });
      assert.equal(part.status, 206, range);
      assert.equal(part.headers.get("content-range"), `bytes ${first}-${last}/700000`);
      assert.equal(part.headers.get("content-length"), `${last - first + 1}`);
      assert.ok(part.bytes.equals(bytes.subarray(first, last + 1)), range);
    }
    for (const range of ["bytes=700000-", "bytes=800000-900000", "bytes=-0"]) {
      const answer = await ann.call("GET", url.replace("/api/v1", ""), undefined, { range });
      assertProblem(answer, 416, "range_not_satisfiable");
      assert.equal(answer.headers.get("content-range"), "bytes */700000");
    }
    for (const range of ["lines=1-2", "bytes", "bytes=x-y", "bytes=9-1", "bytes=0-1,5-6"]) {
      const whole = await download(ann, url, { range });
      assert.equal(whole.status, 200, range);
      assert.ok(whole.bytes.equals(bytes), range);
    }
    const empty = await upload(ann, "");
    assert.equal((await download(ann, empty.url, { range: "bytes=0-" })).status, 416);
    assert.equal((await download(ann, empty.url)).bytes.length, 0);
  }, env));

test("who has a file already is told so, and a range only of the version that is meant", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const { url } = await upload(ann, "0123456789");
    const etag = (await download(ann, url)).headers.get("etag") ?? "";
    for (const known of [etag, `W/${etag}`, `"x", ${etag}`, "*"]) {
      const answer = await download(ann, url, { "if-none-match": known });
      assert.equal(answer.status, 304, known);
      assert.equal(answer.bytes.length, 0);
      assert.equal(answer.headers.get("etag"), etag);
    }
    assert.equal((await download(ann, url, { "if-none-match": '"x"' })).status, 200);
    assert.equal((await download(bob, url, { "if-none-match": etag })).status, 404, "the right comes first");
    const range = { range: "bytes=2-3" };
    assert.equal(String((await download(ann, url, { ...range, "if-range": etag })).bytes), "23");
    for (const other of ['"x"', `W/${etag}`, new Date().toUTCString()]) {
      const whole = await download(ann, url, { ...range, "if-range": other });
      assert.equal(whole.status, 200, other);
      assert.equal(String(whole.bytes), "0123456789");
    }
    const head = await download(ann, url, {}, "HEAD");
    assert.equal(head.status, 200);
    assert.equal(head.headers.get("content-length"), "10");
    assert.equal(head.bytes.length, 0);
    assert.equal((await download(bob, url, {}, "HEAD")).status, 404);
  }, env));

test.run();
