/** Carries out a plan against the model and the real server at once, and compares the two all along. */
import assert from "node:assert/strict";
import { ask } from "../chat/help.ts";
import type { Client } from "../support/client.ts";
import type { Actors, Command, Outcome, Request, Way } from "./commands/command.ts";
import { createDirect, createGroup } from "./commands/discussions.ts";
import { lookAround, lookInto } from "./commands/looks.ts";
import { send } from "./commands/messages.ts";
import { type Deed, explain } from "./judge.ts";
import { Model } from "./model.ts";
import { Reader } from "./readers.ts";
import {
  type Act,
  type Coming,
  type Listening,
  type Plan,
  pick,
  placeOf,
  type Step,
  toCommand,
} from "./steps.ts";
import type { Sitting } from "./tellings.ts";
import { type Crowd, count, createCrowd, type Ground, readEnd, readRows } from "./world.ts";

const mostReaders = 6;
const byRest: Way = { instance: 0, byFrame: false };

/** What was there when a run was over, and all connections of its readers. */
export interface Recorded {
  model: Model;
  sittings: Sitting[];
}

/** Runs a plan in a world of its own. Fails with the script of what was done, and what was wrong with it. */
export async function run(ground: Ground, plan: Plan): Promise<Recorded> {
  const { epoch, newest } = await readEnd(ground);
  const crowd = await createCrowd(ground);
  const one = new Run(ground, crowd, new Model(epoch, newest, crowd.people));
  try {
    await one.begin();
    for (const step of plan.steps) await one.take(step);
    await one.finish();
    for (const listening of plan.late) await one.comeLate(listening);
    return one.recorded();
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${one.script()}`, { cause: error });
  } finally {
    one.leave();
  }
}

class Run implements Actors {
  readonly #ground: Ground;
  readonly #clients: Crowd["clients"];
  #model: Model;
  readonly #readers: Reader[] = [];
  readonly #lines: string[] = [];

  constructor(ground: Ground, crowd: Crowd, model: Model) {
    this.#ground = ground;
    this.#clients = crowd.clients;
    this.#model = model;
  }

  script(): string {
    return this.#lines.map((line, index) => `  ${String(index + 1).padStart(2)}. ${line}`).join("\n");
  }

  recorded(): Recorded {
    return { model: this.#model, sittings: this.#readers.flatMap(({ sittings }) => sittings) };
  }

  /** Somebody is in a group from the start, so that few steps are in vain. */
  async begin(): Promise<void> {
    const [ann, bob, carl] = this.#model.people.map(({ id }) => id) as [string, string, string];
    await this.#carryOut([createGroup(ann, byRest, "All", [bob, carl], "public")]);
    await this.#carryOut([createDirect(ann, byRest, bob)]);
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "act":
        return this.#carryOut(this.#commandsOf([step.act]));
      case "together":
        return this.#carryOut(this.#commandsOf(step.acts), ...this.#coming(step));
      case "burst":
        return this.#carryOut(this.#commandsOf(this.#bySocket(step.acts)));
      case "listen":
        return this.#carryOut([], ...this.#coming({ returns: [], listens: [step.listening] }));
      case "return":
        return this.#carryOut([], ...this.#coming({ returns: [step.return], listens: [] }));
      case "cut": {
        const reader = pick(this.#openReaders(), step.which);
        if (!reader) return;
        this.#lines.push(`${reader.label} is cut off, and has not seen the last ${step.forgotten}`);
        reader.cut(step.forgotten);
        count(this.#ground, "cuts");
      }
    }
  }

  /** Everybody comes back, something is said everywhere, and all have heard all. */
  async finish(): Promise<void> {
    await this.#carryOut([], this.#awayReaders());
    await this.#sayTheEnd();
    await Promise.all(this.#readers.map((reader) => reader.settle(this.#model)));
    for (const reader of this.#readers) reader.check(this.#model);
    const living = this.#model.people.filter(({ isErased }) => !isErased);
    await Promise.all(living.map(({ id }, index) => this.#lookOver(id, index % 2)));
    await Promise.all(this.#readers.map((reader) => reader.checkState(this.#model)));
  }

  /** Comes with some old cursor and leaves when everything was replayed. */
  async comeLate(listening: Listening): Promise<void> {
    const [reader] = this.#newcomer(listening);
    if (!reader) return;
    await this.#carryOut([], [reader], listening.instance);
    reader.check(this.#model);
    reader.cut(0);
  }

  leave(): void {
    for (const reader of this.#readers) {
      reader.cut(0);
      count(this.#ground, "connections", reader.sittings.length);
      for (const { type } of reader.sittings.flatMap(({ received }) => received)) count(this.#ground, type);
    }
  }

  async act(actorId: string, { instance, byFrame }: Way, request: Request): Promise<Outcome> {
    const socket = byFrame && request.frame ? this.#socketOf(actorId) : undefined;
    if (socket) {
      const via = socket;
      const { type, ref: _, code = null, detail: __, message, ...rest } = await ask(socket, request.frame);
      assert.ok(type === "ack" || type === "error", `a frame is answered by ${type}`);
      const body = message ?? (Object.keys(rest).length > 0 ? rest : null);
      return { status: null, code, body, via };
    }
    const { method, path, body } = request;
    const answer = await this.#client(actorId, instance).call(method, path, body);
    const isRefused = answer.status >= 300;
    return { status: answer.status, code: isRefused ? answer.body.code : null, body: answer.body };
  }

  #client(personId: string, instance: number): Client {
    const client = this.#clients.get(personId)?.[instance % 2];
    if (!client) throw new Error(`nobody is ${personId}`);
    return client;
  }

  /** A socket of all of somebody's discussions that is open. */
  #socketOf(personId: string) {
    const reader = this.#openReaders().find(
      ({ kind, userId, discussionId }) => kind === "ws" && userId === personId && discussionId === null,
    );
    return reader?.last?.stream;
  }

  #openReaders(): Reader[] {
    return this.#readers.filter((reader) => reader.isOpen() && !reader.isOver(this.#model));
  }

  #awayReaders(): Reader[] {
    return this.#readers.filter((reader) => !reader.isOpen() && !reader.isOver(this.#model));
  }

  /** Who comes, or comes back, and where. */
  #coming({ returns: [back], listens: [listening] }: Coming): [Reader[], number] {
    const reader = back && pick(this.#awayReaders(), back.which);
    if (reader) count(this.#ground, "returns");
    const isFull = this.#readers.length >= mostReaders;
    const newcomers = listening && !isFull ? this.#newcomer(listening) : [];
    return [[...newcomers, ...(reader ? [reader] : [])], back?.instance ?? listening?.instance ?? 0];
  }

  /** The same by one person who has a socket: all as frames, none waiting for the answers. */
  #bySocket(acts: readonly Act[]): Act[] {
    const living = this.#model.people.filter(({ isErased }) => !isErased);
    const who = Math.max(
      0,
      living.findIndex(({ id }) => this.#socketOf(id) !== undefined),
    );
    return acts.map((act) => ({ ...act, who, way: act.way | 2, text: act.text % 11 }));
  }

  #commandsOf(acts: readonly Act[]): Command[] {
    return acts.flatMap((act) => toCommand(this.#model, act) ?? []);
  }

  /** Carries out commands at the same time, while some readers come back. */
  async #carryOut(commands: readonly Command[], coming: readonly Reader[] = [], instance = 0): Promise<void> {
    const model = this.#model;
    model.step++;
    const lines = [
      ...commands.map((command) => command.line(model)),
      ...coming.map(
        (reader) => `${reader.label} comes (instance ${instance}, from ${reader.position ?? "now"})`,
      ),
    ];
    /** In the order of their beginning. */
    const deeds: Deed[] = [];
    const note = (index: number, outcome: unknown) => {
      lines[index] += ` → ${outcome}`;
    };
    const results = await Promise.allSettled([
      ...commands.map(async (command, index) => {
        const outcome = await command.run(this);
        note(index, outcome.code ?? outcome.status ?? "ack");
        count(this.#ground, outcome.code ?? "carried out");
        deeds[index] = { command, outcome };
      }),
      ...coming.map(async (reader, index) => {
        const client = this.#client(reader.userId, instance);
        note(commands.length + index, await reader.sit(client, model.epoch, model.end));
      }),
    ]);
    if (lines.length > 0)
      this.#lines.push(lines.length > 1 ? `at once: ${lines.join(";\n      and ")}` : `${lines}`);
    for (const result of results) if (result.status === "rejected") throw result.reason;
    const rows = commands.length > 0 ? await readRows(this.#ground, model.end) : [];
    const before = coming.length > 0 ? model.copy() : model;
    const states = [before, ...(deeds.length > 0 ? explain(model, deeds, rows) : [])];
    this.#model = states.at(-1) ?? model;
    for (const reader of coming) reader.admit(states);
  }

  /** Somebody new who listens, if that can be. */
  #newcomer({ who, where, kind, since, back }: Listening): Reader[] {
    const model = this.#model;
    const person = pick(model.people, who);
    const place = person && where > 0 ? placeOf(model, where - 1, person.id) : undefined;
    if (!person || (where > 0 && !place)) return [];
    const reader = new Reader({
      label: `${person.name}'s ${kind} ${this.#readers.length + 1} of ${place?.label ?? "all"}`,
      kind,
      userId: person.id,
      discussionId: place?.id ?? null,
      loads: since === "loaded" && !person.isErased,
      since: since === "old" ? Math.max(model.start, model.end - back) : null,
    });
    this.#readers.push(reader);
    return [reader];
  }

  async #sayTheEnd(): Promise<void> {
    for (const { userId, discussionId } of this.#openReaders()) {
      if (discussionId === null && this.#model.discussionsOf(userId).length === 0)
        await this.#carryOut([createDirect(userId, byRest, userId)]);
    }
    const model = this.#model;
    const farewells = [...model.discussions.values()].flatMap(({ id, deletedAt, members }) => {
      const speaker = members.find(({ user_id }) => !model.person(user_id).isErased);
      return deletedAt === null && speaker ? [send(speaker.user_id, byRest, id, { content: "the end" })] : [];
    });
    await this.#carryOut(farewells);
  }

  /** That somebody sees all as the model says. */
  async #lookOver(personId: string, instance: number): Promise<void> {
    const model = this.#model;
    const way = { instance, byFrame: false };
    const places = model.discussionsOf(personId).map(({ id }) => lookInto(personId, way, id));
    for (const command of [lookAround(personId, way), ...places])
      explain(model, [{ command, outcome: await command.run(this) }], []);
  }
}
