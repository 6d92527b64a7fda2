import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../../../tests/support/random.ts";
import { cutAll, first, frame, openSocket } from "../../../tests/support/wire.ts";
import { at, type Fault, times, type World } from "../fault.ts";

const perTick = 25;
const tickMs = 50;
const framesAtOnce = 8;

export const clientsInAndOut: Fault = {
  id: "clients-in-and-out",
  title: "thousands of clients connect and go, at any point of their requests",
  recoveryMs: 10_000,
  plan: (random, seconds) => [
    {
      atMs: 0,
      what: `${(1_000 / tickMs) * perTick} connections a second for ${seconds} s`,
      act: (world) => storm(world, random.fork("storm"), seconds * 1_000),
    },
  ],
};

export const framesCut: Fault = {
  id: "frames-cut",
  title: "clients lose their connections at every byte of a frame that sends a message",
  recoveryMs: 10_000,
  plan: (random, seconds) =>
    times(Math.max(1, seconds / 5)).map((index) => ({
      atMs: index * 5_000 + random.between(0, 1_000),
      what: "send a message by a frame that is cut after 0, 1, 2 … bytes, and whole",
      act: cutFrames,
    })),
};

export const everybodyCut: Fault = {
  id: "everybody-cut",
  title: "all subscribers lose their connections at once, again and again",
  recoveryMs: 10_000,
  // On a busy machine nobody may have come back since the last time.
  mayMiss: true,
  plan: (random, seconds) =>
    Array.from({ length: seconds * 2 }, (_, index) => ({
      atMs: index * 500 + random.between(0, 400),
      what: "cut everybody",
      act: ({ load }) => load.cutAll(),
    })),
};

/** Gives how many frames were cut. The checker sees to it that each was carried out as a whole, or not. */
async function cutFrames(world: World): Promise<number> {
  let size = 0;
  let isWhole = false;
  const cutNext = async () => {
    while (!isWhole) {
      const cutAt = size++;
      isWhole = !(await cutFrame(world, cutAt)) || isWhole;
    }
  };
  await Promise.all(times(framesAtOnce).map(cutNext));
  cutAll();
  return size;
}

/** Whether the frame was longer than what was sent of it. */
async function cutFrame({ instances, load }: World, cutAt: number): Promise<boolean> {
  const { attempt, content } = load.prober.lend();
  const wire = await openSocket({
    url: at(instances, cutAt % instances.length).url,
    token: load.prober.token,
  });
  const { discussion_id, client_id } = attempt;
  const bytes = frame(first.text, { type: "message.send", discussion_id, content, client_id });
  await new Promise<void>((resolve) => wire.socket.write(bytes.subarray(0, cutAt), () => resolve()));
  if (cutAt % 2 === 0) wire.socket.resetAndDestroy();
  else wire.socket.destroy();
  await wire.closed;
  return cutAt < bytes.length;
}

/** Gives how many connections came about. */
async function storm(world: World, random: Random, ms: number): Promise<number> {
  const { instances, load, note } = world;
  const token = load.tokenOfGuest();
  const until = performance.now() + ms;
  let [tried, made] = [0, 0];
  while (performance.now() < until) {
    for (let number = 0; number < perTick; number++, tried++) {
      const { url } = random.pick(instances);
      const request = requestOf(token, random.chance(0.5));
      touch(Number(new URL(url).port), request, random).once("connect", () => made++);
    }
    await sleep(tickMs);
  }
  note(`${made} of ${tried} connections came about`);
  return made;
}

/** Asks for a stream and goes: before, within or after the request, or some time after the answer began. */
function touch(port: number, request: Buffer, random: Random): Socket {
  const socket = connect(port, "127.0.0.1");
  const length = random.chance(0.3) ? random.integer(0, request.length) : request.length;
  socket.on("error", () => {});
  socket.write(request.subarray(0, length));
  socket.resume();
  const leave = () => (random.chance(0.5) ? socket.resetAndDestroy() : socket.destroy());
  setTimeout(leave, random.between(0, 400));
  return socket;
}

function requestOf(token: string, isSocket: boolean): Buffer {
  const upgrade = isSocket
    ? `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n`
    : "";
  const path = isSocket ? "ws" : "events";
  return Buffer.from(
    `GET /api/v1/${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n${upgrade}\r\n`,
  );
}
