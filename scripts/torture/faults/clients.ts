import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { query } from "../../../tests/support/postgres.ts";
import type { Random } from "../../../tests/support/random.ts";
import { eventually } from "../../../tests/support/server.ts";
import {
  cutAll,
  first,
  frame,
  openSocket,
  readFrames,
  streamHead,
  type Wire,
} from "../../../tests/support/wire.ts";
import { at, type Fault, times, type World } from "../fault.ts";

const perTick = 25;
const tickMs = 50;
const framesAtOnce = 8;
const ackMs = 10_000;

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

/**
 * Gives how many of the messages were stored, as Postgres tells. The checker sees to it that each frame was
 * carried out as a whole, or not.
 */
async function cutFrames(world: World): Promise<number> {
  const clientIds: string[] = [];
  const beginAt = async (place: number) => {
    const sending = await begin(world, place);
    clientIds.push(sending.clientId);
    return sending;
  };
  try {
    await cutEach(beginAt);
    // Or a server that carries out no frame at all would pass.
    await sendWhole(await beginAt(0));
  } finally {
    cutAll();
  }
  const statement = "SELECT FROM messages WHERE client_id = ANY($1)";
  const stored = await query(world.postgres.url, statement, [clientIds]);
  world.note(`${stored.length} messages of ${clientIds.length} were stored`);
  return stored.length;
}

/** Of the first frame nothing is sent, of the next one byte, and so on, until one is sent as a whole. */
async function cutEach(beginAt: (place: number) => Promise<Sending>): Promise<void> {
  let size = 0;
  let isOver = false;
  const work = async () => {
    while (!isOver) {
      const cutAt = size++;
      const { wire, bytes } = await beginAt(cutAt);
      isOver ||= cutAt >= bytes.length;
      await new Promise<void>((resolve) => wire.socket.write(bytes.subarray(0, cutAt), () => resolve()));
      if (cutAt % 2 === 0) wire.socket.resetAndDestroy();
      else wire.socket.destroy();
      await wire.closed;
    }
  };
  const workers = times(framesAtOnce).map(work);
  for (const worker of workers) {
    worker.catch(() => {
      isOver = true; // Told below.
    });
  }
  await Promise.all(workers);
}

async function sendWhole({ wire, bytes, acknowledge }: Sending): Promise<void> {
  wire.write(bytes);
  await eventually(() => {
    const answer = readFrames(wire).events.find(({ type }) => type === "ack" || type === "error");
    if (answer?.type !== "ack") throw new Error(`a whole frame was answered by ${answer?.code ?? "nothing"}`);
    acknowledge(answer.message.seq);
  }, ackMs);
}

/** A socket, and the frame of a message that is to be sent there. */
interface Sending {
  clientId: string;
  wire: Wire;
  bytes: Buffer;
  acknowledge(seq: number): void;
}

async function begin({ instances, load: { prober } }: World, place: number): Promise<Sending> {
  const { attempt, content } = prober.lend();
  const { discussion_id, client_id } = attempt;
  const wire = await openSocket({ url: at(instances, place % instances.length).url, token: prober.token });
  return {
    clientId: client_id,
    wire,
    bytes: frame(first.text, { type: "message.send", discussion_id, content, client_id }),
    acknowledge: (seq) => prober.notebook.acknowledge(attempt, seq, content),
  };
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
      const request = Buffer.from(streamHead({ token }, random.chance(0.5) ? "ws" : "sse"));
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
