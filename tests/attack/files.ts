/** Files that nobody makes by accident. */
import { once } from "node:events";
import { brotliDecompressSync, crc32, createDeflate, createDeflateRaw } from "node:zlib";

/** So many zeros, deflated piece by piece: a gigabyte of them is a megabyte. */
export async function deflatedZeros(bytes: number, raw = false): Promise<Buffer> {
  const deflate = raw ? createDeflateRaw({ level: 9 }) : createDeflate({ level: 9 });
  const pieces: Buffer[] = [];
  deflate.on("data", (piece) => pieces.push(piece));
  const zeros = Buffer.alloc(1024 * 1024);
  for (let left = bytes; left > 0; left -= zeros.length) {
    if (!deflate.write(zeros.subarray(0, Math.min(left, zeros.length)))) await once(deflate, "drain");
  }
  deflate.end();
  await once(deflate, "end");
  return Buffer.concat(pieces);
}

export function pngChunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  checksum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, checksum]);
}

export const pngStart = Buffer.from("89504e470d0a1a0a", "hex");

export interface PngHead {
  width: number;
  height: number;
  depth: number;
  /** 0 grey, 2 RGB, 6 RGB with alpha. */
  color: number;
  interlaced?: boolean;
}

export function pngHead({ width, height, depth, color, interlaced = false }: PngHead): Buffer {
  const data = Buffer.alloc(13);
  data.writeUInt32BE(width, 0);
  data.writeUInt32BE(height, 4);
  data[8] = depth;
  data[9] = color;
  data[12] = interlaced ? 1 : 0;
  return Buffer.concat([pngStart, pngChunk("IHDR", data)]);
}

/** All black, and complete: whoever decodes it gets every pixel that its head tells of. */
export async function blackPng(head: PngHead): Promise<Buffer> {
  const bits = head.depth * (head.color === 0 ? 1 : head.color === 2 ? 3 : 4);
  const rows = (width: number, height: number) => height * (1 + Math.ceil((width * bits) / 8));
  // Adam7: where each pass begins, and its steps.
  const passes = [
    ...[[0, 0, 8, 8] as const, [4, 0, 8, 8] as const, [0, 4, 4, 8] as const, [2, 0, 4, 4] as const],
    ...[[0, 2, 2, 4] as const, [1, 0, 2, 2] as const, [0, 1, 1, 2] as const],
  ];
  const size = head.interlaced
    ? passes.reduce((sum, [x, y, stepX, stepY]) => {
        return sum + rows(Math.ceil((head.width - x) / stepX), Math.ceil((head.height - y) / stepY));
      }, 0)
    : rows(head.width, head.height);
  return Buffer.concat([
    pngHead(head),
    pngChunk("IDAT", await deflatedZeros(size)),
    pngChunk("IEND", Buffer.alloc(0)),
  ]);
}

/** A PNG with more chunks behind its head. */
export function withChunks(png: Buffer, ...chunks: Buffer[]): Buffer {
  const behindHead = pngStart.length + 25;
  return Buffer.concat([png.subarray(0, behindHead), ...chunks, png.subarray(behindHead)]);
}

/** 7,071 × 7,071 pixels of one colour, in a kilobyte. */
export const largeAvif = brotliDecompressSync(
  Buffer.from(
    "G+wDQB6FcZtzeEupkkt99mtBDk0p4OvEi7lN/frWdt0RC5Gjmn9DNJKoaqUTMp7qIs0yWLhq2KkWlgWYfZEY7u6xDeQC2UAp" +
      "EZ/5bJctR0SSSqVhef4VAFA3giP8HUI9XAEB8AFXAVl9PBwq2enLjRxMY2g5eweC/WCoCThG8PZzgk05BSggUvyJCCAGlAk8" +
      "fF0zqAeSdHBBxO4w5BfgA7cNwT5NjCn4B/qDF1fk5PfELg8FlBLkxkRiCPJ3AaSnuvka8OdxuEeNxChAFFLw93EAj4Df4/gU" +
      "wxEE8e/j7BBMCJhcMvDjE6/5+Psego8oqpa8ijG7RrwmygNi/t5WYZxlbllOM2hfbqvOZh5pMuVp0HjJuiJ/ysZcZ2301g0F" +
      "N8rajhh4XCIyWkeKpIyvnRRYY/kIH6VVl0SS35MEi3LMX9aLnf/f7vJ/Mocf973p2YOZd+kWe9uGtgU10ls2clEsPw29uuLH" +
      "NND5HLsy24/dkGhRuKzwMghMdCyqxeaWSVlbSGFYc8yHOIPMxvxrZP99DzODvEfBAgN28TAjZiFryHWdwZgwJmlAdOVsufwr" +
      "5n0yvWJ0mTxx/ZavxU58cdaG8ouM4XhF9N6/CEFQItXfSbc0fzo8SXNKcZgjGQ==",
    "base64",
  ),
);

/** An AVIF that tells another size than its picture has. */
export function resizedAvif(avif: Buffer, width: number, height: number): Buffer {
  const changed = Buffer.from(avif);
  for (let at = changed.indexOf("ispe"); at >= 0; at = changed.indexOf("ispe", at + 4)) {
    changed.writeUInt32BE(width, at + 8);
    changed.writeUInt32BE(height, at + 12);
  }
  return changed;
}

/** A JPEG that tells another size than its picture has. */
export function resizedJpeg(jpeg: Buffer, width: number, height: number): Buffer {
  const changed = Buffer.from(jpeg);
  const at = changed.indexOf(Buffer.from([0xff, 0xc0]));
  changed.writeUInt16BE(height, at + 5);
  changed.writeUInt16BE(width, at + 7);
  return changed;
}

/** With a segment APPn behind the start of the image, so many times. */
export function withSegment(jpeg: Buffer, number: number, data: Buffer, times = 1): Buffer {
  const head = Buffer.from([0xff, 0xe0 + number, 0, 0]);
  head.writeUInt16BE(data.length + 2, 2);
  const segments = Array.from({ length: times }, () => Buffer.concat([head, data]));
  return Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2)]);
}

/**
 * A grey JPEG without a fault, of scans that go through all of it and say nothing: one for each bit of
 * each of `coefficients` of its 63. Width and height are to make a multiple of 16,384 squares of 8 × 8.
 */
export function scannedJpeg(width: number, height: number, coefficients: number): Buffer {
  const segment = (marker: number, data: readonly number[]) =>
    Buffer.from([0xff, marker, 0, data.length + 2, ...data]);
  const sizes = [height >> 8, height & 255, width >> 8, width & 255];
  const oneCode = [1, ...Array(15).fill(0)];
  const squares = (width * height) / 64;
  const parts = [
    Buffer.from([0xff, 0xd8]),
    segment(0xdb, [0, ...Array(64).fill(1)]),
    segment(0xc2, [8, ...sizes, 1, 1, 0x11, 0]),
    segment(0xc4, [0x00, ...oneCode, 0]),
    // The one symbol of the other scans: nothing in this square, nor in the next 16,383.
    segment(0xc4, [0x10, ...oneCode, 0xe0]),
    segment(0xda, [1, 1, 0, 0, 0, 0]),
    Buffer.alloc(squares / 8),
  ];
  const nothing = Buffer.alloc(Math.ceil(((squares / 16_384) * 15) / 8));
  for (let coefficient = 1; coefficient <= coefficients; coefficient++) {
    for (let bit = 13; bit >= 0; bit--) {
      const precision = bit === 13 ? bit : ((bit + 1) << 4) | bit;
      parts.push(segment(0xda, [1, 1, 0, coefficient, coefficient, precision]), nothing);
    }
  }
  return Buffer.concat([...parts, Buffer.from([0xff, 0xd9])]);
}

/** EXIF whose first directory goes on in itself, and whose fields say that they have gigabytes. */
export function circularExif(): Buffer {
  const fields = [0x0112, 0x8769, 0x8825, 0xa005, 0x010f].map((tag, index) => {
    const field = Buffer.alloc(12);
    field.writeUInt16BE(tag, 0);
    field.writeUInt16BE(index === 0 ? 3 : 4, 2);
    field.writeUInt32BE(index === 4 ? 0x7fffffff : 1, 4);
    field.writeUInt32BE(index === 0 ? 0x00060000 : 8, 8);
    return field;
  });
  const count = Buffer.from([0, fields.length]);
  const next = Buffer.from([0, 0, 0, 8]);
  return Buffer.concat([Buffer.from("Exif\0\0MM\0\x2a\0\0\0\x08", "latin1"), count, ...fields, next]);
}

/** A GIF with so many frames, which are squares with pixels that are mostly missing. */
export function gifOf(side: number, frames: number): Buffer {
  const head = Buffer.from("47494638396100000000800000000000ffffff", "hex");
  const frame = Buffer.from("21f90400010000002c0000000000000000000202440100", "hex");
  for (const [buffer, at] of [[head, 6] as const, [frame, 13] as const]) {
    buffer.writeUInt16LE(side, at);
    buffer.writeUInt16LE(side, at + 2);
  }
  return Buffer.concat([head, ...Array(frames).fill(frame), Buffer.from([0x3b])]);
}

export interface ZipEntry {
  name: string;
  data: Buffer;
  /** As the archive tells it; `data` is deflated then, and nobody has looked into it. */
  unpackedSize?: number;
}

/** A ZIP archive. */
export function zip(entries: readonly ZipEntry[]): Buffer {
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, data, unpackedSize } of entries) {
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(unpackedSize === undefined ? 0 : 8, 4);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(unpackedSize ?? data.length, 18);
    common.writeUInt16LE(Buffer.byteLength(name), 22);
    const file = Buffer.concat([Buffer.from("PK\x03\x04"), common, Buffer.from(name), data]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    directory.push(
      Buffer.concat([Buffer.from("PK\x01\x02\x14\0", "latin1"), common, rest, Buffer.from(name)]),
    );
    files.push(file);
    at += file.length;
  }
  const end = Buffer.alloc(18);
  end.writeUInt16LE(entries.length, 4);
  end.writeUInt16LE(entries.length, 6);
  end.writeUInt32LE(Buffer.concat(directory).length, 8);
  end.writeUInt32LE(at, 12);
  return Buffer.concat([...files, ...directory, Buffer.from("PK\x05\x06"), end]);
}

/** A ZIP in a ZIP in a ZIP … */
export function nestedZip(depth: number): Buffer {
  let inner: Buffer = Buffer.from("the end");
  for (let level = 0; level < depth; level++) inner = zip([{ name: `${level}.zip`, data: inner }]);
  return inner;
}

/** What a chunk of text in a PNG unpacks to: far more than the picture. */
export function textChunk(kind: "zTXt" | "iCCP", deflated: Buffer): Buffer {
  return pngChunk(kind, Buffer.concat([Buffer.from("Comment\0\0", "latin1"), deflated]));
}
