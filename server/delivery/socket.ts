import type { Duplex } from "node:stream";
import type { Peer } from "crossws";
import { type Closing, closings } from "../errors.ts";
import { limits } from "../limits.ts";
import { drained } from "./sse.ts";
import type { Wire } from "./stream.ts";

/**
 * A WebSocket's wire. Frames are made once for all sockets and written straight to the TCP socket: crossws
 * would frame each event anew for each peer. Between frames that is safe, as nothing here is compressed or
 * fragmented, so that each write of either side is a whole number of frames.
 */
export function socketWire(peer: Peer, socket: Duplex): Wire {
  return {
    format: "frame",
    write: (bytes) => {
      if (!socket.destroyed && socket.writable) socket.write(bytes);
    },
    buffered: () => socket.writableLength,
    drained: () => drained(socket),
    close: (closing) => closeSocket(peer, socket, closing),
  };
}

/** The close frame queues behind what is buffered; who does not read it in time is cut off. */
function closeSocket(peer: Peer, socket: Duplex, closing: Closing): void {
  peer.close(closings[closing], closing);
  const timer = setTimeout(() => peer.terminate(), limits.closeGraceMs);
  socket.once("close", () => clearTimeout(timer));
}
