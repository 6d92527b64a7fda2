import { me } from "./api.js";

const TYPES = [
  "message.new",
  "message.updated",
  "message.deleted",
  "reaction.added",
  "reaction.removed",
  "discussion.created",
  "discussion.updated",
  "discussion.deleted",
  "member.added",
  "member.updated",
  "member.removed",
  "read.updated",
  "typing",
  "presence",
];
const SLOWEST_RETRY_MS = 30_000;
/**
 * After so long in the background a connection may be dead without the browser knowing: heartbeats are
 * invisible to scripts.
 */
const DOUBTFUL_AFTER_MS = 60_000;

/**
 * The one stream of all of one's discussions, continued from the last cursor seen for as long as the server
 * allows.
 *
 * The browser would reconnect by itself, but at a fixed pace, and never again after an answer such as 502
 * from a proxy. So every lost connection is given up here and opened anew with `since`: one way back for all
 * cases.
 */
export class Stream {
  #cursor;
  #hear;
  #source = null;
  #timer = 0;
  #attempts = 0;
  #hiddenAt = 0;
  #ended = new AbortController();

  /** `hear`: { event(event), reset(), state("connecting" | "live" | "reconnecting" | "ended", reason?) } */
  constructor(cursor, hear) {
    this.#cursor = cursor;
    this.#hear = hear;
    const { signal } = this.#ended;
    addEventListener("online", () => this.#reopen(0), { signal });
    addEventListener("offline", () => this.#reopen(1000), { signal });
    document.addEventListener("visibilitychange", () => this.#doubt(), {
      signal,
    });
    this.#hear.state("connecting");
    this.#open();
  }

  close() {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  #open() {
    const source = new EventSource(`/api/v1/events?since=${encodeURIComponent(this.#cursor)}`);
    this.#source = source;
    const on = (type, act) => source.addEventListener(type, ({ data }) => act(this.#parse(data)));
    for (const type of TYPES) on(type, (event) => this.#hear.event(event));
    on("ready", () => {
      this.#attempts = 0;
      this.#hear.state("live");
    });
    on("reset", () => {
      this.close();
      this.#hear.reset();
    });
    on("closed", (event) => this.#closed(event));
    source.addEventListener("error", () => this.#lost(source.readyState === EventSource.CLOSED));
  }

  #parse(data) {
    const event = JSON.parse(data);
    if (event.cursor) this.#cursor = event.cursor;
    return event;
  }

  #closed({ code, reason }) {
    if (code >= 4500 || code === 4001) this.#end(reason);
    else this.#reopen(code === 4002 ? 5000 : Math.random() * 2000);
  }

  /**
   * `refused`: there was an answer, and it was no stream. EventSource does not say which; the session may
   * be over.
   */
  async #lost(refused) {
    this.#reopen(this.#delayMs());
    if (!refused) return;
    const problem = await me().then(
      () => null,
      (error) => error,
    );
    if (problem?.status === 401) this.#end(problem.message);
  }

  #delayMs() {
    const ceiling = Math.min(SLOWEST_RETRY_MS, 500 * 2 ** this.#attempts++);
    return ceiling / 2 + (Math.random() * ceiling) / 2;
  }

  #reopen(delayMs) {
    if (this.#ended.signal.aborted) return;
    this.#source?.close();
    clearTimeout(this.#timer);
    this.#hear.state("reconnecting");
    this.#timer = setTimeout(() => this.#open(), delayMs);
  }

  #end(reason) {
    if (this.#ended.signal.aborted) return;
    this.close();
    this.#hear.state("ended", reason);
  }

  #doubt() {
    if (document.hidden) this.#hiddenAt = Date.now();
    else if (Date.now() - this.#hiddenAt > DOUBTFUL_AFTER_MS) this.#reopen(0);
  }
}
