import assert from "node:assert/strict";
import sharp from "sharp";
import { test } from "uvu";
import { initials } from "../../server/api/avatar-drawing.ts";
import { assertProblem, type Client, password, register } from "../support/client.ts";
import { download, type ImageFormat, picture, sendBody } from "../support/files.ts";
import { withServer } from "../support/server.ts";

const env = { RATE_LIMITS: "off" };
const unknownId = "0198c0de-0000-7000-8000-000000000000";

function putImage(client: Client, bytes: Buffer | string, type = "image/png") {
  return sendBody(client, "PUT", "/users/me/avatar", Buffer.from(bytes as string), { "content-type": type });
}

function putForm(client: Client, bytes: Buffer, name = "file") {
  const form = new FormData();
  form.set(name, new Blob([bytes as unknown as string], { type: "image/png" }), "me.png");
  return sendBody(client, "PUT", "/users/me/avatar", form);
}

test("who has no avatar has a drawing of the initials, the same each time and for everybody", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann", { display_name: "Ann de Lee" });
    const bob = await register(t.url, "bob");
    const mine = await download(ann, ann.user.avatar_url);
    assert.equal(mine.status, 200);
    assert.equal(mine.headers.get("content-type"), "image/svg+xml");
    assert.match(String(mine.bytes), /^<svg .*>AL<\/text><\/svg>$/);
    const other = await t.another();
    const elsewhere = Object.assign(await register(other.url, "cid"), { token: bob.token });
    for (const client of [ann, bob, elsewhere]) {
      const seen = await download(client, ann.user.avatar_url);
      assert.ok(seen.bytes.equals(mine.bytes));
      assert.equal(seen.headers.get("etag"), mine.headers.get("etag"));
    }
    const his = await download(ann, bob.user.avatar_url);
    assert.notEqual(String(his.bytes), String(mine.bytes));
  }, env));

test("a name cannot break out of the drawing", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann", { display_name: "<b>\"'& & <script>" });
    const { bytes } = await download(ann, ann.user.avatar_url);
    assert.match(String(bytes), /^<svg [^<]*><rect [^<]*\/><text [^<]*>[^<>&]*<\/text><\/svg>$/);
  }, env));

test("initials are the first letters of the first and last word, as people see them", () => {
  const cases: [string, string][] = [
    ["Ann", "A"],
    ["ann lee", "AL"],
    ["Ann van der Lee-Smith", "AS"],
    ["  élodie  ", "É"],
    ["e\u0301lodie", "E\u0301"],
    ["王小明", "王"],
    ["👩‍🚀 Ann", "👩‍🚀A"],
    ["1 2", "12"],
    ["---", "?"],
    ["<&>", "?"],
    [`a${"\u0301".repeat(60)}`, `A${"\u0301".repeat(7)}`],
  ];
  for (const [name, expected] of cases) assert.equal(initials(name), expected, name);
});

test("an uploaded avatar is its middle square, of bounded size, and nothing but pixels of it", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const bob = await register(t.url, "bob");
    const drawn = await download(bob, ann.user.avatar_url);
    const formats: ImageFormat[] = ["png", "jpeg", "webp", "gif", "avif"];
    for (const format of formats) {
      const image = await picture(format, { width: 900, height: 300, orientation: 6 });
      for (const put of [putImage, putForm]) {
        assert.equal((await put(ann, image)).status, 204, format);
        const { bytes, headers } = await download(bob, ann.user.avatar_url);
        assert.equal(headers.get("content-type"), "image/webp");
        assert.notEqual(headers.get("etag"), drawn.headers.get("etag"));
        const { width, height, exif, format: served } = await sharp(bytes).metadata();
        assert.deepEqual([width, height, exif, served], [256, 256, undefined, "webp"]);
        assert.ok(!bytes.includes("secret place"));
        await ann.ok("DELETE", "/users/me/avatar");
      }
    }
    await ann.ok("DELETE", "/users/me/avatar");
    assert.ok((await download(bob, ann.user.avatar_url)).bytes.equals(drawn.bytes), "back to the drawing");
  }, env));

test("what is no image, or cannot be read, changes nothing", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    assert.equal((await putImage(ann, await picture("png"))).status, 204);
    const before = await download(ann, ann.user.avatar_url);
    const svg = '<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>';
    const jpeg = await picture("jpeg", { noise: true });
    const png = await picture("png");
    const wrong: [Buffer | string, number][] = [
      ["", 415],
      ["x", 415],
      [svg, 415],
      [`<?xml version="1.0"?>${svg}`, 415],
      ["%PDF-1.7\n", 415],
      [jpeg.subarray(0, jpeg.length / 2), 400],
      [png.subarray(0, 60), 400],
      [await picture("png", { width: 10_000, height: 6_000 }), 400],
    ];
    for (const [bytes, status] of wrong) {
      const code = status === 415 ? "unsupported_media_type" : "invalid_request";
      assertProblem(await putImage(ann, bytes), status, code);
    }
    assertProblem(await putForm(ann, png, "picture"), 400, "invalid_request");
    assertProblem(await putImage(ann, Buffer.alloc(5 * 1024 * 1024 + 1)), 413, "payload_too_large");
    assert.ok((await download(ann, ann.user.avatar_url)).bytes.equals(before.bytes));
  }, env));

test("avatars are for those who are logged in, and of users that there are", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    assertProblem(await ann.call("GET", `/users/${unknownId}/avatar`), 404, "user_not_found");
    assertProblem(await ann.call("GET", "/users/x/avatar"), 400, "invalid_request");
    const { avatar_url } = ann.user;
    const known = (await download(ann, avatar_url)).headers.get("etag") ?? "";
    assert.equal((await download(ann, avatar_url, { "if-none-match": known })).status, 304);
    ann.token = "";
    assert.equal((await download(ann, avatar_url)).status, 401);
    assertProblem(await putImage(ann, await picture("png")), 401, "unauthenticated");
    assertProblem(await ann.call("DELETE", "/users/me/avatar"), 401, "unauthenticated");
  }, env));

test("an erased account's avatar is gone", () =>
  withServer(async (t) => {
    const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
    await putImage(bob, await picture("png"));
    await bob.ok("DELETE", "/users/me", { password });
    const { bytes, headers } = await download(ann, bob.user.avatar_url);
    assert.equal(headers.get("content-type"), "image/svg+xml");
    assert.match(String(bytes), />DU</);
  }, env));

test.run();
