/** Who has something to write. */
interface Flushable {
  flush(): void;
}

const waiting: Flushable[] = [];

/**
 * Flushes at the end of this turn of the event loop: all that is pushed in it, whatever it was read from,
 * goes out in one write, an ack together with its event.
 */
export function flushSoon(stream: Flushable): void {
  if (waiting.push(stream) === 1) setImmediate(flushAll);
}

function flushAll(): void {
  for (const stream of waiting.splice(0)) stream.flush();
  lastPieces = [];
  lastJoined = Buffer.alloc(0);
}

let lastPieces: readonly Buffer[] = [];
let lastJoined = Buffer.alloc(0);

/** The pieces as one. Streams of one discussion have equal lists, one after another, and share the result. */
export function joinPieces(pieces: readonly Buffer[]): Buffer {
  if (pieces.length === 1) return pieces[0] as Buffer;
  const isSame =
    pieces.length === lastPieces.length && pieces.every((piece, index) => piece === lastPieces[index]);
  if (!isSame) {
    lastPieces = pieces;
    lastJoined = Buffer.concat(pieces);
  }
  return lastJoined;
}
