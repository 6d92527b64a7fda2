import sharp, { type Metadata, type Sharp } from "sharp";
import { limits } from "../limits.ts";
import { createLine, createLines } from "../line.ts";
import { createPlaces } from "./places.ts";

/** An image that could be read. Width and height are as it is seen; the thumbnail is WebP. */
export interface Picture {
  width: number;
  height: number;
  thumbnail: Buffer;
}

/**
 * Reads images, which strangers made, within bounds of memory and time. Throws rate_limited to whom too many
 * wait.
 */
export interface Images {
  /** Loads and reads an image of a user when it is its turn. Null if it is broken or too large. */
  look(userId: string, load: () => Promise<Buffer>): Promise<Picture | null>;
  /** A square picture of it, as WebP, in which nothing but pixels is left of the image. Null as above. */
  square(userId: string, load: () => Promise<Buffer>): Promise<Buffer | null>;
}

/** Of everything that libvips can read, which includes SVG and PDF, only what browsers show. */
const loaders = ["Jpeg", "Png", "Nsgif", "Webp", "Heif"].map((kind) => `VipsForeignLoad${kind}Buffer`);

export function createImages(): Images {
  sharp.block({ operation: ["VipsForeignLoad"] });
  sharp.unblock({ operation: loaders });
  // One thread for each image; nothing is kept of those that are done.
  sharp.concurrency(1);
  sharp.cache(false);
  const inPlace = createPlaces(Number.POSITIVE_INFINITY, limits.imagesPerUser);
  const inOwnTurn = createLines(1, Number.POSITIVE_INFINITY);
  const inTurn = createLine(limits.imagesAtOnce, Number.POSITIVE_INFINITY);
  // Who brings many waits for each of them alone: in the line of all, nobody stands twice.
  const read = <T>(make: (bytes: Buffer) => Promise<T>, userId: string, load: () => Promise<Buffer>) =>
    inPlace(userId, () => inOwnTurn(userId, () => inTurn(async () => orNull(make, await load()))));
  return {
    look: (userId, load) => read(makePicture, userId, load),
    square: (userId, load) => read(makeSquare, userId, load),
  };
}

async function makePicture(bytes: Buffer): Promise<Picture> {
  const { autoOrient } = await requireRoom(bytes);
  // Also shows that all of the image can be read, not only its head.
  const thumbnail = await open(bytes)
    .resize({
      width: limits.thumbnailPixels,
      height: limits.thumbnailPixels,
      fit: "inside",
      withoutEnlargement: true,
    })
    .webp({ quality: 75 })
    .toBuffer();
  return { width: autoOrient.width, height: autoOrient.height, thumbnail };
}

async function makeSquare(bytes: Buffer): Promise<Buffer> {
  await requireRoom(bytes);
  return open(bytes)
    .resize({ width: limits.avatarPixels, height: limits.avatarPixels, fit: "cover" })
    .webp({ quality: 80 })
    .toBuffer();
}

/** Turned as its camera was held; of an animation, the first picture. */
function open(bytes: Buffer): Sharp {
  return sharp(bytes, { limitInputPixels: limits.imagePixels, failOn: "error" })
    .timeout({ seconds: limits.imageSeconds })
    .autoOrient();
}

/** What the head of an image tells; throws if reading all of it would take too much memory, or time. */
async function requireRoom(bytes: Buffer): Promise<Metadata> {
  const metadata = await open(bytes).metadata();
  if (metadata.format === "jpeg" && countScans(bytes) > limits.imageScans) throw new Error("too many scans");
  const held = bytesPerPixel(metadata) * metadata.width * metadata.height;
  if (held > limits.imageHeldBytes) throw new Error(`reading it would take ${held} bytes`);
  return metadata;
}

/**
 * What is held of an image while it is read: with some kinds little, with others all of it, in several forms.
 * Measured with the worst of each kind that sharp 0.35 reads.
 */
function bytesPerPixel({ format, channels, depth, isProgressive }: Metadata): number {
  const samples = channels * (depth === "uchar" ? 1 : 2);
  switch (format) {
    case "heif":
      return samples > 3 ? 26 : 19;
    case "gif":
    case "webp":
      return 5;
    case "jpeg":
      return isProgressive ? 2 * channels : 0;
    default:
      return isProgressive ? samples + 1 : 0;
  }
}

/** A marker cannot come about by chance: within a scan 0xff is followed by zero. */
function countScans(jpeg: Buffer): number {
  const marker = Buffer.from([0xff, 0xda]);
  let count = 0;
  for (let at = jpeg.indexOf(marker); at >= 0; at = jpeg.indexOf(marker, at + marker.length)) count++;
  return count;
}

/** Whatever the library throws says something about the image: it is called with nothing else. */
async function orNull<T>(read: (bytes: Buffer) => Promise<T>, bytes: Buffer): Promise<T | null> {
  try {
    return await read(bytes);
  } catch {
    return null;
  }
}
