import assert from "node:assert/strict";
import sharp from "sharp";
import { test } from "uvu";
import { circularExif, withSegment } from "../attack/files.ts";
import { createRandom } from "../support/random.ts";

// What the chat page takes out of photos before they are uploaded.
const { cleanJpeg, withoutCameraData } = await import("../../web/photo.js" as string);

const secret = "secret place";

/** A photo as a camera makes it. */
function photo(orientation: number, progressive = false): Promise<Buffer> {
  const noise = { type: "gaussian" as const, mean: 128, sigma: 40 };
  return sharp({ create: { width: 90, height: 60, channels: 3, noise } as never })
    .withExif({ IFD0: { Copyright: secret }, IFD3: { GPSLatitudeRef: "N", GPSLatitude: "51/1 30/1 0/1" } })
    .withXmp(`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf>${secret}</rdf></x:xmpmeta>`)
    .withIccProfile("p3")
    .withMetadata({ orientation })
    .jpeg({ progressive })
    .toBuffer();
}

function clean(bytes: Buffer): Buffer | null {
  const parts = cleanJpeg(new Uint8Array(bytes));
  return parts && Buffer.concat(parts);
}

const pixels = (bytes: Buffer) => sharp(bytes).autoOrient().raw().toBuffer();

test("a photo keeps its pixels, its colours and its way up, and loses what its camera told", async () => {
  for (const progressive of [false, true]) {
    for (const orientation of [1, 3, 6, 8]) {
      const taken = await photo(orientation, progressive);
      assert.ok(taken.includes(secret) && (await sharp(taken).metadata()).exif);
      const ready = clean(taken) ?? Buffer.alloc(0);
      assert.ok(!ready.includes(secret));
      const { exif, xmp, iptc, icc, orientation: kept } = await sharp(ready).metadata();
      assert.deepEqual([xmp, iptc, kept ?? 1], [undefined, undefined, orientation]);
      assert.ok((exif?.length ?? 0) < 40 && icc, "a profile, and no more EXIF than it takes to turn");
      assert.ok((await pixels(ready)).equals(await pixels(taken)));
      assert.ok(clean(ready)?.equals(ready), "nothing is left to take");
    }
  }
});

test("what stands elsewhere in a photo goes too: IPTC, and what is behind its end", async () => {
  const taken = await photo(1);
  const behind = Buffer.concat([taken, await photo(6), Buffer.from(secret)]);
  assert.ok(clean(behind)?.equals(clean(taken) ?? Buffer.alloc(0)));
  const iptc = withSegment(taken, 13, Buffer.from(`Photoshop 3.0\0${secret}`));
  const index = withSegment(iptc, 2, Buffer.from(`MPF\0${secret}`));
  assert.ok(!clean(index)?.includes(secret));
  assert.ok(!clean(withSegment(taken, 1, circularExif()))?.includes(secret));
});

test("what is no JPEG is left as it is, and nothing makes it fail", async () => {
  const random = createRandom();
  const taken = await photo(6);
  const file = (bytes: Buffer, type: string) => new File([bytes as never], "a.jpg", { type });
  for (const other of [file(taken, "image/png"), file(Buffer.from("no photo"), "image/jpeg")]) {
    assert.equal(await withoutCameraData(other), other);
  }
  for (let length = 0; length < taken.length; length += 7) {
    const cut = clean(taken.subarray(0, length));
    assert.ok(cut === null || !cut.includes(secret), "what breaks off is cleaned too");
  }
  for (let round = 0; round < 2_000; round++) {
    const changed = Buffer.from(taken);
    for (let change = 0; change < 8; change++) {
      const at = random.between(0, random.chance(0.7) ? 800 : changed.length);
      changed[Math.floor(at)] = Math.floor(random.between(0, 256));
    }
    const ready = clean(changed);
    assert.ok(ready === null || ready.length <= changed.length + 36);
  }
  const sent = await withoutCameraData(file(taken, "image/jpeg"));
  assert.deepEqual([sent.name, sent.type], ["a.jpg", "image/jpeg"]);
  assert.ok(Buffer.from(await sent.arrayBuffer()).equals(clean(taken) ?? Buffer.alloc(0)));
});

test.run();
