import { setTimeout as sleep } from "node:timers/promises";
import { within } from "../../server/within.ts";
import type { Random } from "../../tests/support/random.ts";
import type { Control, Heard, History } from "./history.ts";
import { Gate } from "./load/gate.ts";
import { startMembershipChanges } from "./load/membership.ts";
import type { Notebook } from "./load/notebook.ts";
import { Person, type Service } from "./load/person.ts";
import { Prober } from "./load/prober.ts";
import { type Actor, startRestWriter } from "./load/rest-writer.ts";
import { startSocketWriter } from "./load/socket-writer.ts";
import { Subscriber } from "./load/subscriber.ts";

/** How much is going on. */
export interface LoadSize {
  restWriters: number;
  socketWriters: number;
  /** Of each kind, for all of a person's discussions and for each one. */
  listeners: number;
  pauseMs: number;
}

export const usualLoad: LoadSize = { restWriters: 4, socketWriters: 3, listeners: 2, pauseMs: 20 };

/** So long everybody may take to hear the end, once all is well. */
const catchUpMs = 60_000;

interface WritingActor extends Actor {
  notebook: Notebook;
  /** Does not even finish what it has begun. */
  giveUp?(): void;
}

/**
 * People who write, read, change what they wrote, come and go, while their connections break now and then,
 * at all instances.
 */
export class Load {
  readonly #random: Random;
  readonly #service: Service;
  readonly #size: LoadSize;
  readonly #people: Person[] = [];
  readonly #discussionIds: string[] = [];
  #writers: WritingActor[] = [];
  #listeners: Subscriber[] = [];
  #membership: ReturnType<typeof startMembershipChanges> | undefined;
  #guest: Person | undefined;
  readonly #changes = new Gate();
  readonly #returns = new Gate();
  /** Who sends the marks by which it is known that all works. */
  #prober: Prober | undefined;

  constructor(service: Service, random: Random, size: LoadSize) {
    this.#service = service;
    this.#random = random;
    this.#size = size;
  }

  async start(): Promise<void> {
    const { restWriters, socketWriters, pauseMs } = this.#size;
    const writers = await this.#register("writer", restWriters + socketWriters);
    const [owner, guest] = [...(await this.#register("owner", 1)), ...(await this.#register("guest", 1))];
    const [prober] = await this.#register("prober", 1);
    if (!owner || !guest || !prober) throw new Error("nobody is there");
    this.#guest = guest;
    await this.#openDiscussions(owner, [...writers, prober]);
    this.#prober = new Prober(prober, this.#discussionIds, this.#random.fork("prober"));
    this.#writers = writers.map((person, index) => {
      const random = this.#random.fork(person.name);
      const writing = { person, discussionIds: this.#discussionIds, random, pauseMs, changes: this.#changes };
      return index < restWriters ? startRestWriter(writing) : startSocketWriter(writing);
    });
    await this.#listen([...writers, owner], guest);
    const [discussionId = ""] = this.#discussionIds;
    const random = this.#random.fork("membership");
    const gates = { changes: this.#changes, returns: this.#returns };
    const changing = { owner, guest, discussionId, random, pauseMs: 300, ...gates };
    this.#membership = startMembershipChanges(changing);
  }

  /** Everything that was written down so far. */
  history(): History {
    return {
      attempts: this.#notebooks().flatMap((notebook) => notebook.settled()),
      subscriptions: this.#subscribers().map(({ record }) => record),
    };
  }

  acknowledged(): number {
    return this.#notebooks().flatMap(({ attempts }) => attempts.filter(({ seq }) => seq !== null)).length;
  }

  repeats(): number {
    return this.#people.reduce((sum, { repeats }) => sum + repeats, 0);
  }

  listeners(): number {
    return this.#listeners.length;
  }

  connections(): number {
    return this.#subscribers().reduce((sum, { record }) => sum + record.connections, 0);
  }

  /** Throws before the load was started. */
  get prober(): Prober {
    if (!this.#prober) throw new Error("the load was not started");
    return this.#prober;
  }

  /** For strangers' connections that are to be let in. */
  tokenOfGuest(): string {
    return this.#guest?.token ?? "";
  }

  /** Resets that subscribers were told of. */
  resets(): number {
    const isReset = ({ kind }: Heard | Control) => kind === "reset";
    return this.#subscribers().reduce((sum, { record }) => sum + record.heard.filter(isReset).length, 0);
  }

  /** While it acts nobody changes what was stored, nor who is a member; people send and read on. */
  async whileUnchanged<T>(act: () => Promise<T>): Promise<T> {
    await this.#changes.close();
    try {
      return await act();
    } finally {
      this.#changes.open();
    }
  }

  /** Cuts everybody's connection, and lets nobody come back while it acts. */
  async whileAway<T>(act: () => Promise<T>): Promise<T> {
    await this.#returns.close();
    try {
      this.cutAll();
      return await act();
    } finally {
      this.#returns.open();
    }
  }

  /** A backup was restored: what is answered from now on is of another history. */
  beginEra(): void {
    for (const notebook of this.#notebooks()) notebook.beginEra();
  }

  /** Cuts every subscriber's connection; gives how many there were. */
  cutAll(): number {
    return this.#subscribers().filter((subscriber) => subscriber.cut()).length;
  }

  /**
   * Sends a mark into each discussion, at a certain instance and no other, and resolves when all have heard
   * it. Rejects if that takes longer.
   */
  async probe(place: number, limitMs: number): Promise<void> {
    const { prober } = this;
    const deadline = performance.now() + limitMs;
    for (const discussionId of this.#discussionIds) {
      const seq = await prober.mark(place, discussionId, deadline - performance.now());
      const isHeard = (subscriber: Subscriber) =>
        !this.#concerns(subscriber, discussionId) ||
        (subscriber.isReady && subscriber.hasHeard(discussionId, seq));
      while (!this.#listeners.every(isHeard)) {
        const deaf = this.#listeners.filter((subscriber) => !isHeard(subscriber));
        if (performance.now() > deadline) throw new Error(`not heard by ${namesOf(deaf)}`);
        await sleep(10);
      }
    }
  }

  /**
   * Lets all finish what they have begun and waits until everybody has heard the end; then cuts everybody
   * off once more and sends another mark, so that repeats would show.
   */
  async quiesce(): Promise<void> {
    const ends = [...this.#writers, ...(this.#membership ? [this.#membership] : [])];
    const ended = Promise.all(ends.map((actor) => actor.stop()));
    await within(catchUpMs, ended, () => new Error("the writers do not finish what they have begun"));
    await this.probe(0, catchUpMs);
    this.cutAll();
    // Whoever is ready again has been told all that was stored before.
    const deadline = performance.now() + catchUpMs;
    const isBack = (subscriber: Subscriber) => subscriber.isReady || subscriber.record.over !== null;
    while (!this.#subscribers().every(isBack)) {
      const away = this.#subscribers().filter((subscriber) => !isBack(subscriber));
      if (performance.now() > deadline) throw new Error(`did not come back: ${namesOf(away)}`);
      await sleep(20);
    }
    await this.probe(1, catchUpMs);
  }

  close(): void {
    for (const subscriber of this.#subscribers()) subscriber.stop();
    for (const person of this.#people) person.giveUp();
    for (const writer of this.#writers) {
      void writer.stop().catch(() => {});
      writer.giveUp?.();
    }
    void this.#membership?.stop().catch(() => {});
  }

  #notebooks(): Notebook[] {
    const notebooks = this.#writers.map(({ notebook }) => notebook);
    return this.#prober ? [...notebooks, this.#prober.notebook] : notebooks;
  }

  #subscribers(): Subscriber[] {
    return [...this.#listeners, ...(this.#membership?.subscribers ?? [])];
  }

  /** The guest is in none of the discussions at the end. */
  #concerns({ record }: Subscriber, discussionId: string): boolean {
    const isGuest = record.name.startsWith("guest");
    return !isGuest && (record.discussion_id === null || record.discussion_id === discussionId);
  }

  async #register(name: string, count: number): Promise<Person[]> {
    const people = Array.from({ length: count }, (_, index) => {
      const own = count === 1 ? name : `${name}${index + 1}`;
      return new Person(own, this.#service, index, this.#random.fork(`requests of ${own}`));
    });
    this.#people.push(...people);
    for (const person of people) await person.register();
    return people;
  }

  async #openDiscussions(owner: Person, members: Person[]): Promise<void> {
    const member_ids = members.map(({ id }) => id);
    for (const name of ["first", "second", "third"]) {
      const discussion = await owner.ask("POST", "/discussions", { kind: "group", name, member_ids });
      this.#discussionIds.push(discussion.id);
    }
  }

  async #listen(people: Person[], guest: Person): Promise<void> {
    const scopes = [null, ...this.#discussionIds.slice(0, 2)];
    for (const kind of ["sse", "ws"] as const) {
      this.#listeners.push(await this.#subscriber(guest, kind, null));
      for (const scope of scopes) {
        for (let number = 0; number < this.#size.listeners; number++) {
          const person = people[(this.#listeners.length * 3) % people.length];
          if (person) this.#listeners.push(await this.#subscriber(person, kind, scope));
        }
      }
    }
    for (const subscriber of this.#listeners) subscriber.start();
  }

  async #subscriber(person: Person, kind: "sse" | "ws", discussionId: string | null): Promise<Subscriber> {
    const { cursor } = await person.ask(
      "GET",
      discussionId ? `/discussions/${discussionId}` : "/discussions",
    );
    const number = this.#listeners.length + 1;
    // A reader of its own: whoever loses a connection moves on without the others of the same person.
    const reader = new Person(person.name, this.#service, number, this.#random.fork(`reader ${number}`));
    Object.assign(reader, { id: person.id, token: person.token });
    this.#people.push(reader);
    const name = `${person.name}'s ${kind} ${number}${discussionId ? " of one discussion" : ""}`;
    const random = this.#random.fork(name);
    // Half of them are never cut by themselves: what they hear has to be unbroken by the server alone.
    const patienceMs = number % 2 === 0 ? 4_000 : 0;
    return new Subscriber({
      name,
      person: reader,
      kind,
      discussionId,
      since: cursor,
      random,
      returns: this.#returns,
      patienceMs,
    });
  }
}

function namesOf(subscribers: readonly Subscriber[]): string {
  return subscribers.map(({ record }) => record.name).join(", ");
}
