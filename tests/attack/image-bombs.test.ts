// time limit: 240 s
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import { createImages } from "../../server/commands/images.ts";
import { assertProblem, type Client, type Json, register } from "../support/client.ts";
import { download, type ImageFormat, picture, sendBody, upload } from "../support/files.ts";
import { type Program, withProgram } from "../support/process.ts";
import { createRandom } from "../support/random.ts";
import {
  blackPng,
  circularExif,
  deflatedZeros,
  gifOf,
  largeAvif,
  pngChunk,
  pngHead,
  resizedAvif,
  resizedJpeg,
  scannedJpeg,
  textChunk,
  withChunks,
  withSegment,
} from "./files.ts";

const megabyte = 1024 * 1024;

/** The most memory that a program had while `act` went on, beyond what it had before. */
async function peakOf(program: Program, act: () => Promise<void>): Promise<number> {
  const before = await program.residentBytes();
  let peak = before;
  let looking = true;
  const watch = (async () => {
    while (looking) {
      peak = Math.max(peak, await program.residentBytes());
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  try {
    await act();
  } finally {
    looking = false;
    await watch;
  }
  return peak - before;
}

/** Awaits the work of one picture. */
type Timed = <T>(work: Promise<T>) => Promise<T>;

/**
 * Does something while somebody only wants to chat, who must get on: no wait for an answer is as long as half
 * of the work of the picture that takes longest, or as twenty of the longest waits when all is quiet, if that
 * is more. Gives the peak of memory.
 */
async function besideChat(
  program: Program,
  client: Client,
  act: (timed: Timed) => Promise<void>,
): Promise<number> {
  let ended = false;
  let longest = 0;
  const timed: Timed = async (work) => {
    const started = performance.now();
    const result = await work;
    longest = Math.max(longest, performance.now() - started);
    return result;
  };
  const quiet = await longestGap(client, (count) => count === 50);
  const chat = longestGap(client, (count) => ended && count > 0);
  const peak = await peakOf(program, () => act(timed)).finally(() => {
    ended = true;
  });
  const gap = await chat;
  const [shown, worked, usual] = [gap, longest, quiet].map(Math.round);
  const figures = `${shown} ms without an answer, ${worked} for one picture, quiet ${usual}`;
  console.log(figures);
  assert.ok(gap < Math.max(20 * quiet, longest / 2), figures);
  return peak;
}

/** Sends one message after another; gives how long the slowest took, in ms. */
async function longestGap(client: Client, isEnough: (count: number) => boolean): Promise<number> {
  const { id } = await client.ok("POST", "/discussions", { kind: "direct", user_id: client.user.id });
  let longest = 0;
  for (let count = 0; !isEnough(count); count++) {
    const at = performance.now();
    await client.send(id, `still here ${count}`);
    longest = Math.max(longest, performance.now() - at);
  }
  return longest;
}

function assertPlain(file: Json, name: string): void {
  assert.ok(!("width" in file) && !("height" in file), `${name}: ${JSON.stringify(file)}`);
}

/** More pixels, or more memory for them, than anybody may ask for. */
async function tooLarge(): Promise<Record<string, Buffer>> {
  const jpeg = await picture("jpeg");
  return {
    "a PNG of 2.5 billion pixels": await blackPng({ width: 50_000, height: 50_000, depth: 1, color: 0 }),
    "a PNG that tells of 2⁶² pixels": Buffer.concat([
      pngHead({ width: 2 ** 31 - 1, height: 2 ** 31 - 1, depth: 16, color: 6 }),
      pngChunk("IDAT", await deflatedZeros(1000)),
    ]),
    "an interlaced PNG that must be held as a whole": await blackPng({
      ...{ width: 7_000, height: 7_000, depth: 16, color: 6, interlaced: true },
    }),
    "a kilobyte of AVIF with 50 million pixels": largeAvif,
    "an AVIF that tells of 256 pixels and has 50 million": resizedAvif(largeAvif, 16, 16),
    "an AVIF that tells of four billion and has 50 million": resizedAvif(largeAvif, 65_535, 65_535),
    "a JPEG that tells of four billion": resizedJpeg(jpeg, 65_500, 65_500),
    "a GIF of four billion": gifOf(65_535, 1),
  };
}

/** Small pictures with something in them that unpacks, repeats or loops. */
async function loaded(): Promise<Record<string, Buffer>> {
  const [png, jpeg] = [await picture("png"), await picture("jpeg")];
  const bomb = await deflatedZeros(500 * megabyte);
  const control = Buffer.alloc(8);
  control.writeUInt32BE(0xffffffff);
  return {
    "a PNG whose profile unpacks to 500 MB": withChunks(png, textChunk("iCCP", bomb)),
    "a PNG whose text unpacks to 500 MB, four times": withChunks(
      png,
      ...Array.from({ length: 4 }, () => textChunk("zTXt", bomb)),
    ),
    "a PNG that says it is animated, with four billion frames": withChunks(png, pngChunk("acTL", control)),
    "a JPEG with EXIF that runs in a circle": withSegment(jpeg, 1, circularExif()),
    "a JPEG with ten megabytes of EXIF": withSegment(jpeg, 1, Buffer.alloc(65_000, "Exif\0\0MM\0*"), 150),
    "a JPEG with a profile in 255 pieces": withSegment(
      jpeg,
      2,
      Buffer.concat([Buffer.from("ICC_PROFILE\0\x01\xff", "latin1"), Buffer.alloc(40_000, 0xff)]),
      255,
    ),
    "a JPEG with 882 scans": scannedJpeg(6_144, 7_168, 63),
    "a GIF with 400,000 frames": gifOf(1, 400_000),
  };
}

test("pixel bombs are plain files: the memory of one picture, and others chat on", () =>
  withProgram({}, async (program) => {
    const [ann, bob] = [await register(program.url, "ann"), await register(program.url, "bob")];
    const bombs = Object.entries(await tooLarge());
    // What a picture takes that may be looked at, so that what is measured is the bombs'.
    await upload(ann, await picture("png", { width: 3_000, height: 3_000 }));
    const peak = await besideChat(program, bob, async (timed) => {
      for (const [name, bytes] of bombs) {
        const file = await timed(upload(ann, bytes, "holiday.png", "image/png"));
        assertPlain(file, name);
        const served = await download(ann, file.url);
        assert.match(served.headers.get("content-disposition") ?? "", /^attachment/, name);
        const avatar = await timed(
          sendBody(ann, "PUT", "/users/me/avatar", bytes, { "content-type": "image/png" }),
        );
        assertProblem(avatar, 400, "invalid_request");
      }
    });
    assert.ok(peak < 350 * megabyte, `${Math.round(peak / megabyte)} MiB more for bombs`);
  }));

test("pictures that unpack, repeat or loop inside are bounded too, as files and as avatars", () =>
  withProgram({ ATTACHMENT_MAX_BYTES: `${32 * megabyte}` }, async (program) => {
    const [ann, bob] = [await register(program.url, "ann"), await register(program.url, "bob")];
    const bombs = Object.entries(await loaded());
    await upload(ann, await picture("png", { width: 3_000, height: 3_000 }));
    const peak = await besideChat(program, bob, async (timed) => {
      for (const [name, bytes] of bombs) {
        const file = await timed(upload(ann, bytes, "holiday.png", "image/png"));
        assert.equal((await download(ann, file.url)).bytes.length, bytes.length, name);
        const avatar = await timed(
          sendBody(ann, "PUT", "/users/me/avatar", bytes, { "content-type": "image/png" }),
        );
        assert.ok([204, 400, 413].includes(avatar.status), `${name}: ${avatar.status}`);
      }
    });
    assert.ok(peak < 350 * megabyte, `${Math.round(peak / megabyte)} MiB more for bombs`);
  }));

test("drawings and pages are never read: no entity is unpacked, and nothing is fetched", () =>
  withProgram({}, async (program) => {
    const ann = await register(program.url, "ann");
    const asked: string[] = [];
    const trap = createServer((request, response) => {
      asked.push(request.url ?? "");
      response.end();
    });
    await new Promise<void>((resolve) => trap.listen(0, "127.0.0.1", resolve));
    const away = `http://127.0.0.1:${(trap.address() as AddressInfo).port}`;
    try {
      const laughs = Array.from(
        { length: 30 },
        (_, n) => `<!ENTITY l${n + 1} "${`&l${n};`.repeat(10)}">`,
      ).join("");
      const svg = (inside: string) => `<svg xmlns="http://www.w3.org/2000/svg" ${inside}</svg>`;
      const drawings = [
        `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY l0 "ha">${laughs}]>${svg(">&l30;")}`,
        `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>${svg(">&x;")}`,
        `<?xml version="1.0"?><!DOCTYPE svg SYSTEM "${away}/a.dtd">${svg(`><image href="${away}/b.png"/>`)}`,
        svg('width="1000000000" height="1000000000"><rect width="100%" height="100%"/>'),
        svg(`onload="fetch('${away}/c')"><script href="${away}/d"/>`),
        `<html><img src="${away}/e"><iframe src="${away}/f"></iframe></html>`,
        `%PDF-1.7\n1 0 obj<</OpenAction<</S/URI/URI(${away}/g)>>>>endobj`,
        `#EXTM3U\n${away}/h.m3u8\n`,
        `push graphic-context\nfill 'url(${away}/i)'\n`,
      ];
      for (const text of drawings) {
        const file = await upload(ann, text, "drawing.svg", "image/svg+xml");
        assertPlain(file, text);
        const { headers, bytes } = await download(ann, file.url);
        assert.equal(String(bytes), text);
        assert.match(headers.get("content-disposition") ?? "", /^attachment/);
        assert.doesNotMatch(headers.get("content-type") ?? "", /svg|html|javascript/);
        const avatar = await sendBody(ann, "PUT", "/users/me/avatar", Buffer.from(text), {
          "content-type": "image/svg+xml",
        });
        assertProblem(avatar, 415, "unsupported_media_type");
      }
      assert.deepEqual(asked, []);
    } finally {
      trap.closeAllConnections();
      trap.close();
    }
  }));

test("pictures that are cut or changed anywhere are read or not, and never end the process", async () => {
  const random = createRandom();
  const images = createImages();
  const formats: ImageFormat[] = ["png", "jpeg", "webp", "gif", "avif"];
  const small = { width: 48, height: 32, noise: true };
  for (const format of formats) {
    const whole = await picture(format, small);
    const look = (bytes: Buffer) => images.look("ann", async () => bytes);
    assert.deepEqual((await look(whole))?.width, 48, format);
    for (let round = 0; round < 120; round++) {
      const changed = Buffer.from(whole);
      for (let change = 0; change < random.between(0, 6); change++) {
        const at = random.chance(0.5) ? random.between(0, 100) : random.between(0, changed.length);
        changed[Math.floor(at)] = Math.floor(random.between(0, 256));
      }
      const cut = random.chance(0.3) ? changed.subarray(0, random.between(0, changed.length)) : changed;
      const read = await look(cut);
      assert.ok(read === null || read.thumbnail.subarray(8, 12).equals(Buffer.from("WEBP")));
    }
    assert.ok(await look(whole), "and goes on reading");
  }
});

test("a JPEG may have more scans than any has, but not so many that it takes a minute", async () => {
  const images = createImages();
  const look = (bytes: Buffer) => images.look("ann", async () => bytes);
  assert.equal((await look(scannedJpeg(1_024, 1_024, 4)))?.width, 1_024, "57 scans");
  assert.equal(await look(scannedJpeg(1_024, 1_024, 5)), null, "71 scans");
});

test("who brings many pictures waits for each of them alone", async () => {
  const images = createImages();
  const small = await picture("png", { width: 10, height: 10 });
  const order: string[] = [];
  const look = (user: string, name: string) =>
    images.look(user, async () => {
      order.push(name);
      return small;
    });
  await Promise.all([
    ...[1, 2, 3, 4].map((n) => look("ann", `ann ${n}`)),
    look("bob", "bob"),
    images.square("cid", async () => {
      order.push("cid");
      return small;
    }),
  ]);
  assert.deepEqual(order, ["ann 1", "bob", "cid", "ann 2", "ann 3", "ann 4"]);
});

test.run();
