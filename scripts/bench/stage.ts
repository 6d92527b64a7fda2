import { once } from "node:events";
import { join } from "node:path";
import type { ConnectionPlan } from "./generator/client.ts";
import type {
  Answer,
  FillOrder,
  LoadOrder,
  LoadResult,
  OpenOrder,
  OpenResult,
  Order,
  RequestOrder,
  RequestResult,
  SenderPlan,
  Verdict,
} from "./generator/orders.ts";
import type { Population, Seeded } from "./population.ts";
import type { BenchPostgres } from "./postgres.ts";
import { forkModule, stop } from "./processes.ts";
import type { Running, StartOptions, System } from "./systems/system.ts";

/** Connections that are opened at the same time where the opening itself is not measured. */
const openAtOnce = 64;
/** socket.io acknowledges more than it can deliver; what waits then takes a while. */
const deliveryLimitMs = 90_000;

/** A system that runs with people in it, and a load generator in front of it. */
export interface Stage extends Seeded {
  population: Population;
  databaseUrl: string;
  running: Running;
  open(plan: OpenPlan): Promise<OpenResult>;
  load(order: Omit<LoadOrder, "type" | "processes">): Promise<LoadResult>;
  fill(order: Omit<FillOrder, "type">): Promise<void>;
  judge(): Promise<Verdict>;
  close(): Promise<void>;
  request(order: Omit<RequestOrder, "type">): Promise<RequestResult>;
}

/** Which connections are opened, and who sends by which; see OpenOrder. */
export interface OpenPlan {
  connections: { person: number; room: number | null; format: "ws" | "sse"; since?: string }[];
  /** Indices of people and connections; see SenderPlan. */
  senders: { person: number; room: number; connection: number | null; heardBy: number }[];
  atOnce?: number;
  backlog?: number;
}

/** Sets a stage on a fresh database, and takes it down however `act` ends. */
export async function withStage<T>(
  postgres: BenchPostgres,
  system: System,
  population: Population,
  options: Partial<StartOptions>,
  act: (stage: Stage) => Promise<T>,
): Promise<T> {
  const database = system.hasDatabase ? await postgres.createDatabase() : undefined;
  try {
    const databaseUrl = database?.url ?? "";
    const seeded = await system.prepare(databaseUrl, population);
    await postgres.checkpoint();
    const running = await system.start(databaseUrl, { instances: 1, collectable: false, ...options });
    try {
      return await withGenerator((send) =>
        act(createStage({ postgres, system, population, seeded, databaseUrl, running, send })),
      );
    } finally {
      await running.stop();
    }
  } finally {
    await database?.drop();
  }
}

type SendOrder = <Result>(order: Order) => Promise<Result>;

async function withGenerator<T>(act: (send: SendOrder) => Promise<T>): Promise<T> {
  const child = forkModule(join(import.meta.dirname, "generator/main.ts"));
  const ended = once(child, "exit").then(() => {
    throw new Error("the load generator ended");
  });
  ended.catch(() => {});
  const send: SendOrder = async (order) => {
    const answered = once(child, "message");
    child.send(order);
    const [answer] = (await Promise.race([answered, ended])) as [Answer];
    if (!answer.ok) throw new Error(answer.error);
    return answer.result as never;
  };
  try {
    return await act(send);
  } finally {
    await stop(child);
  }
}

interface Parts {
  postgres: BenchPostgres;
  system: System;
  population: Population;
  seeded: Seeded;
  databaseUrl: string;
  running: Running;
  send: SendOrder;
}

function createStage(parts: Parts): Stage {
  const { postgres, population, seeded, databaseUrl, running, send } = parts;
  const processes = { server: running.pids, postgres: databaseUrl === "" ? [] : postgres.processes };
  return {
    ...seeded,
    population,
    databaseUrl,
    running,
    open: (plan) => send<OpenResult>({ ...openOrder(parts, plan), processes }),
    load: (order) => send<LoadResult>({ type: "load", processes, ...order }),
    fill: (order) => send<void>({ type: "fill", ...order }),
    judge: () => send<Verdict>({ type: "judge" }),
    close: () => send<void>({ type: "close" }),
    request: (order) => send<RequestResult>({ type: "request", ...order }),
  };
}

/** People in words of the system; connections are spread over its instances. */
function openOrder(
  { system, population, seeded, running }: Parts,
  plan: OpenPlan,
): Omit<OpenOrder, "processes"> {
  const personOf = (index: number) => seeded.people[index] ?? { id: "", token: "" };
  const roomsOf = new Map<number, number[]>();
  for (const [room, members] of population.rooms.entries()) {
    for (const member of members) roomsOf.set(member, [...(roomsOf.get(member) ?? []), room]);
  }
  const connections = plan.connections.map(({ person, room, format, since }, index): ConnectionPlan => {
    const port = running.ports[index % running.ports.length] ?? 0;
    const roomId = room === null ? null : (seeded.roomIds[room] ?? "");
    return { port, person: personOf(person), format, roomId, since: since ?? null };
  });
  const senders = plan.senders.map(({ person, room, ...connections }): SenderPlan => {
    return { person: personOf(person), room, roomId: seeded.roomIds[room] ?? "", ...connections };
  });
  return {
    type: "open",
    system: system.id,
    connections,
    hears: plan.connections.map(({ person, room }) => (room === null ? (roomsOf.get(person) ?? []) : [room])),
    senders,
    atOnce: plan.atOnce ?? openAtOnce,
    backlog: plan.backlog ?? 0,
    deliveryLimitMs,
  };
}
