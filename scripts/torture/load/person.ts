import { setTimeout as sleep } from "node:timers/promises";
import type { Json } from "../../../tests/support/client.ts";
import type { Random } from "../../../tests/support/random.ts";

const password = "correct horse battery";
const answerLimitMs = 15_000;
/** Longer than any fault and the recovery from it. */
const persistLimitMs = 180_000;
const unauthenticated = 401;

export interface Answer {
  status: number;
  body: Json;
}

/** How somebody insists on an answer. */
export interface Patience {
  /** How long, over all tries. */
  limitMs?: number;
  /** Asks one instance only, whatever it says. */
  stays?: boolean;
}

/** Where the server can be found: the addresses of its instances. */
export interface Service {
  urls: readonly string[];
}

/**
 * A person who uses the server as a careful client does: what gets no answer, or one that says "later", is
 * asked again, of the next instance.
 */
export class Person {
  readonly name: string;
  readonly #service: Service;
  readonly #random: Random;
  /** Which instance it asks first. */
  #place: number;
  id = "";
  token = "";
  /** Requests that got no answer, or one to ask again. */
  repeats = 0;
  #isStopped = false;
  /** What no answer may be. */
  #mistake: string | null = null;

  constructor(name: string, service: Service, place: number, random: Random) {
    this.name = name;
    this.#service = service;
    this.#place = place;
    this.#random = random;
  }

  /** The address of the instance that it uses now. */
  get url(): string {
    return this.#service.urls[this.#place % this.#service.urls.length] ?? "";
  }

  /** From now on it asks the instance of this place. */
  goTo(place: number): void {
    this.#place = place;
  }

  /** From now on it asks the next instance. */
  moveOn(): void {
    this.#place++;
  }

  /** What waits for an answer from now on gives up. */
  giveUp(): void {
    this.#isStopped = true;
  }

  async register(): Promise<void> {
    const { user, access_token } = await this.ask("POST", "/auth/register", {
      username: this.name,
      password,
    });
    this.id = user.id;
    this.token = access_token;
  }

  /** Asks until there is an answer that is one. Throws on a refusal, with its code. */
  async ask(method: string, path: string, body?: unknown, patience?: Patience): Promise<Json> {
    const answer = await this.persist(method, path, body, patience);
    if (answer.status < 300) return answer.body;
    throw new Error(`${this.name}: ${method} ${path} → ${answer.status} ${answer.body?.code}`);
  }

  /** The same, but refusals are answers too. */
  async persist(
    method: string,
    path: string,
    body?: unknown,
    { limitMs = persistLimitMs, stays = false }: Patience = {},
  ): Promise<Answer> {
    const deadline = performance.now() + limitMs;
    let last = "no answer";
    for (;;) {
      const answer = await this.#once(method, path, body, deadline).catch(() => null);
      if (answer) last = `${answer.status} ${answer.body?.code}`;
      if (answer?.status === unauthenticated && this.id !== "" && !path.startsWith("/auth/")) {
        await this.#logIn(deadline);
      } else if (answer && answer.status < 500 && answer.status !== 429) {
        return answer;
      }
      if (answer?.status === 500) this.#mistake = `${method} ${path} → 500`;
      if (this.#mistake !== null) throw new Error(`${this.name}: ${this.#mistake}`);
      if (this.#isStopped || performance.now() > deadline) {
        throw new Error(`${this.name}: ${method} ${path} at ${this.url}: to the end ${last}`);
      }
      this.repeats++;
      if (!stays) this.moveOn();
      await sleep(this.#random.between(50, 150));
    }
  }

  /** One request, to the instance that it uses now. Rejects if there is no answer. */
  async #once(method: string, path: string, body: unknown, deadline: number): Promise<Answer> {
    const limitMs = Math.max(1, Math.min(answerLimitMs, Math.ceil(deadline - performance.now())));
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: {
        ...(this.token && { authorization: `Bearer ${this.token}` }),
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(limitMs),
    });
    const text = await response.text();
    if (response.status === 503 && !(Number(response.headers.get("retry-after")) >= 1)) {
      this.#mistake = `${method} ${path} → 503 that says not when to come back`;
    }
    return { status: response.status, body: text === "" ? null : JSON.parse(text) };
  }

  /** Its access token has run out, as after a jump of the clock. */
  async #logIn(deadline: number): Promise<void> {
    const body = { username: this.name, password };
    const answer = await this.#once("POST", "/auth/login", body, deadline).catch(() => null);
    if (answer?.status === 200) this.token = answer.body.access_token;
  }
}
