import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import type { Pool } from "../../sql/database.ts";
import { type LogEvent, type LogPage, readEvents, readLogEnd, renewEpoch, settleLog } from "../../sql/log.ts";
import { limits } from "../limits.ts";
import { repeat } from "../repeat.ts";
import { within } from "../within.ts";
import { type Announcement, parseAnnouncement, readRange } from "./announcement.ts";
import { Arrivals } from "./arrivals.ts";
import { type Bookmark, isSame, markEnd } from "./bookmark.ts";
import { EncodedEvent } from "./encoding.ts";
import { type Listener, startListener } from "./listener.ts";
import { RecentEvents } from "./recent.ts";

export interface FeedOptions {
  pool: Pool;
  /** For the listener: a direct connection. */
  listen: { url: string; ssl: { rejectUnauthorized: boolean } | undefined };
  log: Logger;
  /** The next events of the log: each exactly once, in order, without holes. */
  onEvents(events: readonly EncodedEvent[]): void;
  /** A payload of the channel `signals`, which comes by the same connection. Must not throw. */
  onSignal(payload: string): void;
  /** The log is not the one it was, or has lost what comes next: no stream can go on exactly. */
  onBreak(): void;
}

/**
 * Follows the log: one per process. NOTIFY wakes it and usually brings the events along; what does not follow
 * on its position it reads from the table: a lost, merged or late NOTIFY costs time, never an event.
 */
export class Feed {
  readonly #options: FeedOptions;
  readonly #recent = new RecentEvents(limits.recentEvents, limits.recentBytes);
  #listener: Listener | undefined;
  #stopWatchdog = () => {};
  #epoch = "";
  #position = 0;
  /** When the event at the position happened; empty while that was not seen. */
  #at = "";
  /** False: what comes next may be of another log, until the table was read. */
  #isVerified = true;
  #reading: Promise<void> | undefined;
  #readAgain = false;
  #announced: Announcement[] = [];
  #healthy = false;
  #stopped = false;
  /** The newest position that a NOTIFY told of, or that was read after listening began. */
  #heardTo = 0;
  /** The log's end at the last check: by the next one it must have been heard of. */
  #owed = 0;
  #firstListening = Promise.withResolvers<void>();
  #arrivals = new Arrivals();

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  get epoch(): string {
    return this.#epoch;
  }

  get position(): number {
    return this.#position;
  }

  /** Whether it listens and, when last looked at, the log held nothing that was not seen here. */
  isCaughtUp(): boolean {
    return this.#healthy && (this.#listener?.isConnected() ?? false);
  }

  /** What `/metrics` shows. `behind`: how many events short of the log's end, as that was last looked at. */
  status() {
    const behind = Math.max(0, this.#owed - this.#position);
    const listening = this.#listener?.isConnected() ?? false;
    return { listening, caughtUp: this.isCaughtUp(), position: this.#position, behind };
  }

  /** The events after a position from memory; null if they are no longer there. */
  recentAfter(position: number): readonly EncodedEvent[] | null {
    return position >= this.#position ? [] : this.#recent.after(position);
  }

  /**
   * Waits until the event at a position went out; if its announcement does not come soon, reads. A bounded
   * time, after which it may not have: then nothing in memory is to be trusted, as it may have been changed.
   */
  async reach(position: number): Promise<void> {
    if (this.#position >= position) return;
    await this.#arrivals.wait(position, limits.announcementMs).catch(() => {
      if (!this.#reading) return this.#readGap();
    });
  }

  /** Begins at the log's end, with the newest events in memory, and listens. Throws what Postgres throws. */
  async start(): Promise<void> {
    if (await settleLog(this.#options.pool)) {
      this.#options.log.warn("the database is a copy, restored from a backup: the log has a new epoch");
    }
    const { epoch, oldest, newest } = await readLogEnd(this.#options.pool, 0);
    this.#epoch = epoch;
    this.#position = Math.max(oldest - 1, newest - limits.recentEvents / 2);
    // Nobody is connected yet: reading the newest events only fills the memory, for clients that come back.
    await this.#readToEnd();
    this.#healthy = true;
    this.#listener = startListener({
      ...this.#options.listen,
      log: this.#options.log,
      channels: { events: (payload) => this.#hear(payload), signals: this.#options.onSignal },
      onLost: () => {
        this.#isVerified = false;
      },
      onConnected: () => void this.#listening(),
    });
    this.#stopWatchdog = repeat(limits.watchdogMs, () => this.#check());
    await within(limits.listenerConnectMs, this.#firstListening.promise);
  }

  stop(): void {
    this.#stopped = true;
    this.#stopWatchdog();
    this.#listener?.stop();
  }

  async #listening(): Promise<void> {
    this.#firstListening.resolve();
    await this.verify();
    this.#heardTo = Math.max(this.#heardTo, this.#position);
  }

  /**
   * To be called when a connection to Postgres is a new one: there may be another server at its end, with
   * another log, in which positions come a second time. Nothing is believed before the table was read.
   */
  verify(): Promise<void> {
    this.#isVerified = false;
    return this.#readGap();
  }

  /**
   * Events that this process itself has just stored: their announcement would bring the same, a little later.
   * They are taken if nothing is missing before them; else the announcement does it.
   */
  take(events: readonly LogEvent[]): void {
    // What is stored during a read is announced, too, if there is anybody to hear it.
    if (this.#reading && !this.#listener?.isConnected()) this.#readAgain = true;
    if (this.#reading || this.#stopped || events[0]?.position !== this.#position + 1) return;
    if (!this.#isVerified) return void this.#readGap();
    try {
      this.#apply(events);
    } catch (error) {
      // The messages are stored: whatever goes wrong here is not the senders' affair.
      this.#options.log.error({ err: error }, "cannot deliver");
      void this.#readGap();
    }
  }

  /** Anybody who may connect can NOTIFY anything: what is no announcement is a reason to look. */
  #hear(payload: string): void {
    try {
      const { to } = readRange(payload);
      this.#heardTo = Math.max(this.#heardTo, to);
      if (to > this.#position) this.#takeAnnouncement(parseAnnouncement(payload));
    } catch (error) {
      this.#options.log.warn({ err: error }, "unreadable notification");
      void this.#readGap();
    }
  }

  #takeAnnouncement(announcement: Announcement): void {
    if (this.#reading) {
      // Kept for after the read, so that under load the feed goes back to announced events.
      if (this.#announced.length < limits.announcedWaiting) this.#announced.push(announcement);
      else this.#readAgain = true;
    } else if (this.#isVerified && announcement.events && announcement.from <= this.#position + 1) {
      this.#apply(announcement.events);
    } else {
      void this.#readGap();
    }
  }

  /** Reads what the table has after the position, again if asked meanwhile; the watchdog mends failures. */
  #readGap(): Promise<void> {
    if (this.#reading) this.#readAgain = true;
    else this.#reading = this.#read();
    return this.#reading;
  }

  async #read(): Promise<void> {
    try {
      do {
        this.#readAgain = false;
        const wasVerified = this.#isVerified;
        this.#isVerified = true;
        if (!wasVerified && (await settleLog(this.#options.pool))) await this.#beginAgain(this.#bookmark());
        await this.#readToEnd();
        this.#takeAnnounced();
      } while (this.#readAgain && !this.#stopped);
    } catch (error) {
      this.#healthy = false;
      this.#isVerified = false;
      if (!this.#stopped) this.#options.log.warn({ err: error }, "cannot read the log");
    } finally {
      this.#reading = undefined;
      this.#announced = [];
    }
  }

  async #readToEnd(): Promise<void> {
    let page: LogPage;
    do {
      const seen = this.#bookmark();
      page = await readEvents(this.#options.pool, seen.position, limits.logPage);
      if (!isSame(page, seen)) return await this.#beginAgain(seen, page.epoch);
      if (this.#epoch !== seen.epoch) return;
      this.#apply(page.events);
    } while (!page.complete && !this.#stopped);
  }

  #takeAnnounced(): void {
    for (const { from, to, events } of this.#announced.splice(0)) {
      if (to <= this.#position) continue;
      if (this.#isVerified && events && from <= this.#position + 1) this.#apply(events);
      else this.#readAgain = true;
    }
  }

  #apply(events: readonly LogEvent[]): void {
    const fresh: EncodedEvent[] = [];
    for (const event of events) {
      if (event.position <= this.#position) continue;
      if (event.position !== this.#position + 1) {
        this.#options.log.error({ position: this.#position, next: event.position }, "the log has a hole");
        this.#position = event.position - 1;
        this.#recent.clear();
        this.#options.onBreak();
      }
      const encoded = new EncodedEvent(this.#epoch, event);
      this.#position = event.position;
      this.#at = event.at;
      this.#recent.push(encoded);
      fresh.push(encoded);
    }
    if (fresh.length > 0) this.#options.onEvents(fresh);
    this.#arrivals.tell(this.#position);
  }

  /**
   * Compares the log with what was seen of it. If an event is there that no NOTIFY told of, also if it came
   * another way, the listener's connection is dead, whatever it looks like, and is replaced.
   */
  async #check(): Promise<void> {
    try {
      // What comes in while the question is under way must not be compared with its answer.
      const seen = this.#bookmark();
      const log = await within(limits.watchdogMs * 2, readLogEnd(this.#options.pool, seen.position));
      if (log.newest < seen.position || !isSame(log, seen)) return await this.#beginAgain(seen, log.epoch);
      if (log.has_moved && (await settleLog(this.#options.pool))) return await this.#beginAgain(seen);
      this.#listener?.check();
      const { newest } = log;
      if (newest > this.#position) await sleep(limits.watchdogMs / 8);
      const isUnheard = newest > this.#position || this.#owed > this.#heardTo;
      if (isUnheard && this.#listener?.isConnected() && !this.#reading) {
        this.#options.log.warn({ heard: this.#heardTo, newest }, "no notification came: listening anew");
        this.#listener.renew();
      }
      this.#owed = newest;
      if (newest > this.#position) await this.#readGap();
      this.#healthy = newest <= this.#position;
    } catch (error) {
      if (this.#healthy) this.#options.log.warn({ err: error }, "cannot see the end of the log");
      this.#healthy = false;
    }
  }

  /**
   * The log is not the one that was followed: a backup was restored, or a standby took over that had not got
   * all of it. Positions then come a second time with other events, so the history gets a new name, unless it
   * has one already: cursors of the lost one must not be believed.
   */
  async #beginAgain({ epoch, position }: Bookmark, itsEpoch = ""): Promise<void> {
    // The other of read and check has seen it at the same time.
    if (this.#epoch !== epoch) return;
    this.#options.log.error({ position, epoch: itsEpoch }, "the log is not the one it was");
    if (epoch === itsEpoch) await renewEpoch(this.#options.pool, epoch);
    const end = await markEnd(this.#options.pool);
    if (this.#epoch !== epoch) return;
    this.#epoch = end.epoch;
    this.#position = end.position;
    this.#at = end.at;
    this.#heardTo = end.position;
    this.#owed = 0;
    this.#recent.clear();
    this.#options.onBreak();
  }

  #bookmark(): Bookmark {
    return { epoch: this.#epoch, position: this.#position, at: this.#at };
  }
}
