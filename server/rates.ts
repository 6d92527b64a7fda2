/** How often things may be done; the bounds on how much at once are in limits.ts. */

/** `points` per `seconds` always pass, and so do `burst` more per `burstSeconds`. */
export interface Rate {
  points: number;
  seconds: number;
  burst: number;
  burstSeconds: number;
}

/** `most` at once when it is full; it fills again by `perSecond`. */
export interface Bucket {
  most: number;
  perSecond: number;
}

/** What one process lets through of what costs little: an office, or a provider's NAT, that comes back. */
const crowd: Rate = { points: 200, seconds: 1, burst: 10_000, burstSeconds: 60 };
/** What a person's clients ask for, with a client that loads everything anew, and a bot's steady work. */
const busy: Rate = { points: 30, seconds: 1, burst: 1_000, burstSeconds: 60 };

/**
 * How often, by class of routes; see docs/decisions/0013-rate-limits.md. Bursts are generous, as honest
 * clients come in bursts; what lasts is bounded. Each process counts for itself.
 */
export const rates = {
  address: {
    /** Each costs a hash of 25 ms. A school's class that registers together passes. */
    register: { points: 20, seconds: 60, burst: 600, burstSeconds: 3_600 },
    /** Sign-ins, good ones too: each costs a hash. An office whose sessions ran out together passes. */
    login: { points: 60, seconds: 60, burst: 600, burstSeconds: 600 },
    refresh: crowd,
    /**
     * Streams: after a deploy or a cut thousands of clients come back at once, also from one address, and
     * browsers' EventSource gives up for good at a 429.
     */
    connect: crowd,
    /** Reading /metrics, some milliseconds in each process. */
    scrape: { points: 2, seconds: 1, burst: 60, burstSeconds: 60 },
    /** Requests whose sender is known only by asking the database: by cookie, say. */
    stranger: { points: 500, seconds: 1, burst: 10_000, burstSeconds: 60 },
  },
  user: {
    /** A client that reconnects as fast as it can needs minutes to get here, and then passes each second. */
    connect: { points: 1, seconds: 1, burst: 300, burstSeconds: 300 },
    /** Up to 100 ms of Postgres each; typing "as you search" makes some per second. */
    search: { points: 5, seconds: 1, burst: 100, burstSeconds: 60 },
    /** Up to 10 MiB each. */
    upload: { points: 1, seconds: 2, burst: 60, burstSeconds: 60 },
    read: busy,
    /** All other changes: edits, reactions, read marks, typing, memberships, discussions. */
    write: busy,
  },
  /**
   * Messages of one person, by REST and sockets together: some thousand pasted or imported at once, then what
   * a busy bot says. A 150th of what two cores store in a second.
   */
  send: { most: 2_500, perSecond: 100 },
  /**
   * Refused frames of one person that are still answered; a socket that goes on is closed with 4002. To
   * refuse one costs about 20 µs.
   */
  refusedFrames: { most: 5_000, perSecond: 50 },
} as const satisfies {
  address: Record<string, Rate>;
  user: Record<string, Rate>;
  send: Bucket;
  refusedFrames: Bucket;
};

/**
 * Wrong passwords, counted over all processes (OWASP Authentication Cheat Sheet; NIST SP 800-63B, 5.2.2, asks
 * for at most 100 in a row).
 */
export const guesses = {
  /** For one account from one address; then refused for `blockSeconds`, each time twice as long. */
  pair: { points: 10, seconds: 15 * 60, blockSeconds: 15 * 60, blockMostSeconds: 4 * 3_600 },
  /** How long it is remembered how often that was. */
  blocksSeconds: 24 * 3_600,
  /** From one address, for whatever accounts: one password tried on many. */
  address: { points: 100, seconds: 15 * 60 },
  /**
   * For one account from everywhere. It must not lock the owner out, so an address from which the account
   * was signed in to within `knownSeconds` is exempt.
   */
  account: { points: 100, seconds: 3_600 },
  knownSeconds: 30 * 24 * 3_600,
} as const;
