import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import type { Pool } from "../../sql/database.ts";
import { changePresences, leaveInstance, renewInstance, restorePresences } from "../../sql/presence.ts";
import { limits } from "../limits.ts";
import type { Attendance, Hub } from "./hub.ts";

/**
 * Tells Postgres who has streams at this instance; Postgres tells everybody whose status over all instances
 * changed by that. Changes go out in batches, one at a time; what a batch is to change is decided when it
 * begins, from who is here then, so whatever was missed or failed is made good by the next.
 */
export class Presence implements Attendance {
  readonly #pool: Pool;
  readonly #hub: Hub;
  readonly #log: Logger;
  readonly #instanceId = randomUUID();
  /** Whom Postgres has, or is being told to have, as present here. */
  #stored = new Set<string>();
  /** Who came or went: those of whom Postgres may have to be told. */
  #changed = new Set<string>();
  /** Who has no stream any more, and when they will count as gone; in the order of these times. */
  #leaving = new Map<string, number>();
  /** Whose status changed and could not be announced yet. */
  #waiting = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = 0;
  #step: Promise<void> | undefined;
  #stopped = false;
  /** Times as of performance.now(). */
  #flushAt = 0;
  #renewAt = 0;
  #renewedAt = Number.NEGATIVE_INFINITY;
  #reachableSince = Number.POSITIVE_INFINITY;

  constructor(pool: Pool, hub: Hub, log: Logger) {
    this.#pool = pool;
    this.#hub = hub;
    this.#log = log;
  }

  start(): void {
    this.#hub.reportTo(this);
    this.#wake();
  }

  /** Ends all presences of this instance. Who comes back to another in time never seems to have gone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#step;
    try {
      await leaveInstance(this.#pool, this.#instanceId, limits.presenceGraceMs);
    } catch (error) {
      this.#log.warn({ err: error }, "cannot end the presences of this instance");
    }
  }

  arrived(userId: string): void {
    this.#leaving.delete(userId);
    if (this.#stored.has(userId)) return;
    this.#changed.add(userId);
    this.#wake();
  }

  left(userId: string): void {
    if (!this.#stored.has(userId)) return;
    this.#leaving.set(userId, performance.now() + limits.presenceGraceMs);
    this.#wake();
  }

  /** Another instance is leaving: somebody has to see when its time is over. */
  onLeaving(): void {
    const soon = performance.now() + Math.random() * 500;
    this.#renewAt = Math.min(this.#renewAt, Math.max(soon, this.#renewedAt + limits.presenceRetryMs));
    this.#wake();
  }

  /** One timer for all there is to do. */
  #wake(): void {
    if (this.#step || this.#stopped) return;
    const [firstToLeave = Number.POSITIVE_INFINITY] = this.#leaving.values();
    const flushAt = this.#hasNews() ? this.#flushAt : Number.POSITIVE_INFINITY;
    const at = Math.min(this.#renewAt, firstToLeave, flushAt);
    if (this.#timer && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#begin(), Math.max(0, at - performance.now()));
  }

  #hasNews(): boolean {
    return this.#changed.size > 0 || this.#waiting.size > 0;
  }

  #begin(): void {
    this.#timer = undefined;
    this.#step = this.#act().finally(() => {
      this.#step = undefined;
      this.#wake();
    });
  }

  async #act(): Promise<void> {
    this.#dismiss();
    try {
      if (performance.now() >= this.#renewAt) await this.#renew();
      if (this.#hasNews() && performance.now() >= this.#flushAt) await this.#flush();
    } catch (error) {
      this.#log.warn({ err: error }, "cannot store presences");
      const later = performance.now() + limits.presenceRetryMs * (0.5 + Math.random());
      this.#reachableSince = Number.POSITIVE_INFINITY;
      this.#renewAt = Math.max(this.#renewAt, later);
      this.#flushAt = later;
    }
  }

  /** Whose time is over has gone. */
  #dismiss(): void {
    const now = performance.now();
    for (const [userId, at] of this.#leaving) {
      if (at > now) break;
      this.#leaving.delete(userId);
      this.#changed.add(userId);
    }
  }

  async #flush(): Promise<void> {
    const change = this.#takeChange();
    try {
      const most = { users: limits.presencesTold, notifications: limits.presenceNotifies };
      const result = await changePresences(this.#pool, this.#instanceId, change, most);
      // Others took this instance for gone: it says that it is here, and then who is.
      if (result === null) this.#renewAt = 0;
      for (const userId of result?.still_waiting ?? change.waiting) this.#waiting.add(userId);
      const restMs = limits.presenceNotifyMs * (result?.notifications ?? 0);
      this.#flushAt = performance.now() + Math.max(limits.presenceFlushMs, restMs);
    } catch (error) {
      this.#takeBack(change);
      throw error;
    }
  }

  /** What the next flush is to do, which from here on counts as done. */
  #takeChange(): Change {
    const change: Change = { arrived: [], departed: [], waiting: [] };
    for (const userId of this.#changed) {
      if (change.arrived.length + change.departed.length >= limits.presencesPerFlush) break;
      this.#changed.delete(userId);
      const isHere = this.#hub.streamsOf(userId) > 0 || this.#leaving.has(userId);
      if (isHere && !this.#stored.has(userId)) change.arrived.push(userId);
      if (!isHere && this.#stored.has(userId)) change.departed.push(userId);
    }
    for (const userId of change.arrived) this.#stored.add(userId);
    for (const userId of change.departed) this.#stored.delete(userId);
    for (const userId of this.#waiting) {
      if (change.waiting.length >= limits.presencesTold) break;
      this.#waiting.delete(userId);
      change.waiting.push(userId);
    }
    return change;
  }

  /** It may have been done or not. It will be done again, and be told in any case. */
  #takeBack({ arrived, departed, waiting }: Change): void {
    for (const userId of arrived) this.#stored.delete(userId);
    for (const userId of departed) this.#stored.add(userId);
    for (const userId of [...arrived, ...departed]) this.#changed.add(userId);
    for (const userId of [...arrived, ...departed, ...waiting]) this.#waiting.add(userId);
  }

  async #renew(): Promise<void> {
    const now = performance.now();
    // Where Postgres was away, the others need time to say that they are still here.
    const trustAt = this.#reachableSince + limits.leaseTrustMs;
    this.#renewedAt = now;
    this.#renewAt = now + limits.leaseRenewMs * (0.8 + Math.random() * 0.4);
    const renewed = await renewInstance(this.#pool, this.#instanceId, limits.leaseMs, now >= trustAt);
    this.#reachableSince = Math.min(this.#reachableSince, now);
    for (const userId of renewed.ended) this.#waiting.add(userId);
    if (renewed.next_end_ms !== null) {
      const endAt = Math.max(now + renewed.next_end_ms, this.#reachableSince + limits.leaseTrustMs);
      // Whoever is first does it for all.
      this.#renewAt = Math.min(this.#renewAt, endAt + 100 + Math.random() * 500);
    }
    if (renewed.is_new) this.#beginAnew();
    else if (renewed.present !== this.#stored.size)
      await restorePresences(this.#pool, this.#instanceId, [...this.#stored]);
  }

  /** Nobody is stored as present here: all who are here have come. */
  #beginAnew(): void {
    this.#stored.clear();
    this.#leaving.clear();
    for (const userId of this.#hub.users()) this.#changed.add(userId);
  }
}

/** Who came and who left, and who is to be told of. */
interface Change {
  arrived: string[];
  departed: string[];
  waiting: string[];
}
