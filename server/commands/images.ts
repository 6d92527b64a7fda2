import sharp, { type Sharp } from "sharp";
import { limits } from "../limits.ts";
import { createLine } from "../line.ts";

/** An image that could be read. Width and height are as it is seen; the thumbnail is WebP. */
export interface Picture {
  width: number;
  height: number;
  thumbnail: Buffer;
}

/** Reads images, which strangers made, within bounds of memory and time. */
export interface Images {
  /** Loads and reads an image when it is its turn. Null if it is broken or too large. */
  look(load: () => Promise<Buffer>): Promise<Picture | null>;
  /** A square picture of it, as WebP, in which nothing but pixels is left of the image. Null as above. */
  square(load: () => Promise<Buffer>): Promise<Buffer | null>;
}

/** Of everything that libvips can read, which includes SVG and PDF, only what browsers show. */
const loaders = ["Jpeg", "Png", "Nsgif", "Webp", "Heif"].map((kind) => `VipsForeignLoad${kind}Buffer`);

export function createImages(): Images {
  sharp.block({ operation: ["VipsForeignLoad"] });
  sharp.unblock({ operation: loaders });
  // One thread for each image; nothing is kept of those that are done.
  sharp.concurrency(1);
  sharp.cache(false);
  const inTurn = createLine(limits.imagesAtOnce, Number.POSITIVE_INFINITY);
  return {
    look: (load) => inTurn(async () => orNull(makePicture, await load())),
    square: (load) => inTurn(async () => orNull(makeSquare, await load())),
  };
}

async function makePicture(bytes: Buffer): Promise<Picture> {
  const { autoOrient } = await open(bytes).metadata();
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

function makeSquare(bytes: Buffer): Promise<Buffer> {
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

/** Whatever the library throws says something about the image: it is called with nothing else. */
async function orNull<T>(read: (bytes: Buffer) => Promise<T>, bytes: Buffer): Promise<T | null> {
  try {
    return await read(bytes);
  } catch {
    return null;
  }
}
