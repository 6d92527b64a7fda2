import { TextDecoder } from "node:util";
import { fileTypeFromBuffer } from "file-type";
import { limits } from "../limits.ts";

/** Images that are looked into: those that browsers show and that the image library reads. */
export const imageTypes: ReadonlySet<string> = new Set([
  "image/png",
  "image/apng",
  "image/jpeg",
  "image/gif",
  "image/webp",
  "image/avif",
]);

const playedTypes: ReadonlySet<string> = new Set([
  "video/mp4",
  "video/webm",
  "audio/mpeg",
  "audio/mp4",
  "audio/x-m4a",
  "audio/aac",
  "audio/ogg",
  "audio/ogg; codecs=opus",
  "audio/wav",
  "audio/flac",
  "audio/x-flac",
]);

/**
 * Whether a browser may show a file in place. Nothing else: not what could run scripts (HTML, SVG, PDF), and
 * no image that we could not read, which may be a trap for those who open it.
 */
export function isShownInPlace(file: { media_type: string; width: number | null }): boolean {
  return playedTypes.has(file.media_type) || (imageTypes.has(file.media_type) && file.width !== null);
}

/** Finds out what a file is while it passes. */
export interface Sniffer {
  /** The same bytes, looked at. */
  bytes: AsyncIterable<Buffer>;
  size(): number;
  /** Once all have passed: by its first bytes; else text/plain if all is UTF-8; else unknown. */
  mediaType(): Promise<string>;
}

export function sniff(bytes: AsyncIterable<Buffer>): Sniffer {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let head = Buffer.alloc(0);
  let size = 0;
  let isText = true;

  const look = (piece: Buffer) => {
    size += piece.length;
    if (head.length < limits.sniffedBytes) {
      head = Buffer.concat([head, piece.subarray(0, limits.sniffedBytes - head.length)]);
    }
    isText &&= !piece.includes(0) && decodes(decoder, piece);
  };
  return {
    bytes: (async function* () {
      for await (const piece of bytes) {
        look(piece);
        yield piece;
      }
    })(),
    size: () => size,
    mediaType: async () => {
      const found = await detect(head);
      if (found) return found;
      return isText && decodes(decoder) ? "text/plain" : "application/octet-stream";
    },
  };
}

/** What a file's first bytes say; undefined for text and what is unknown. */
export async function detect(head: Buffer): Promise<string | undefined> {
  try {
    return (await fileTypeFromBuffer(head.subarray(0, limits.sniffedBytes)))?.mime;
  } catch {
    // Of some kinds it wants to see more than there is.
    return undefined;
  }
}

/** Without a piece: whether the end is no broken character. */
function decodes(decoder: TextDecoder, piece?: Buffer): boolean {
  try {
    decoder.decode(piece, { stream: piece !== undefined });
    return true;
  } catch {
    return false;
  }
}
