import { randomBytes } from "node:crypto";
import { WebSocket } from "ws";
import { openRaw } from "../delivery/raw.ts";
import type { Answer, Json } from "../support/client.ts";
import type { Secret } from "./scanner.ts";

/** Of all people here; in no document. */
export const password = "pässword of these people";

/** An answer with who asked, and whether it is one that hands a secret to its owner. */
export interface Recorded {
  who: string;
  what: string;
  status: number;
  /** Head and body. */
  text: string;
  handsOver: boolean;
}

/** Asks whatever it is told to, keeps each answer, and knows each secret that went through it. */
export class Recorder {
  readonly url: string;
  readonly recorded: Recorded[] = [];
  readonly secrets: Secret[] = [];

  constructor(url: string) {
    this.url = url;
  }

  /** Something to be found nowhere else; remembered. */
  secret(kind: string, value = `${kind.replaceAll(" ", "-")} "ßécret" ${randomBytes(9).toString("hex")}`) {
    this.secrets.push({ kind, value });
    return value;
  }

  /** `path` is below the root. */
  async ask(who: Teller, method: string, path: string, body?: unknown, headers = {}): Promise<Answer> {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(who.token && { authorization: `Bearer ${who.token}` }),
        ...(body !== undefined && !(body instanceof FormData) && { "content-type": "application/json" }),
        ...headers,
      },
      ...(body !== undefined && {
        body: typeof body === "string" || body instanceof FormData ? body : JSON.stringify(body),
      }),
    });
    const text = await response.text();
    const head = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const { status } = response;
    const handsOver =
      status < 300 && /\/auth\/(register|login|refresh|tickets)$/.test(path.split("?")[0] ?? "");
    this.recorded.push({
      who: who.name,
      what: `${method} ${path}`,
      status,
      text: `${head}\n\n${text}`,
      handsOver,
    });
    const isJson = /\bjson\b/.test(response.headers.get("content-type") ?? "");
    const answer = { status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
    if (handsOver) this.#learn(answer);
    return answer;
  }

  /** Opens a stream with these headers and keeps what it says until it is cut. */
  async hear(who: Teller, kind: "sse" | "ws", path: string, until: (text: string) => unknown): Promise<void> {
    const headers: Record<string, string> = who.token ? { authorization: `Bearer ${who.token}` } : {};
    const stream = await openRaw(kind, this.url, path, { headers });
    if (stream.status < 300) await stream.until(until);
    const body = stream.body === null ? stream.text() : JSON.stringify(stream.body);
    const { status } = stream;
    this.recorded.push({ who: who.name, what: `${kind} ${path}`, status, text: body, handsOver: false });
    stream.cut();
  }

  /** Frames on a socket of one's own, and the answers to them. */
  async frames(who: Teller, frames: readonly (object | string)[]): Promise<void> {
    const socket = new WebSocket(`${this.url.replace("http", "ws")}/api/v1/ws`, {
      headers: { authorization: `Bearer ${who.token}` },
    });
    const said: string[] = [];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.on("message", (data) => {
      said.push(String(data));
      if (/"type":"pong"/.test(String(data))) resolve();
    });
    socket.on("close", () => resolve());
    socket.on("error", reject);
    socket.on("open", () => {
      for (const frame of [...frames, { type: "ping", ref: "last" }])
        socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
    });
    await promise;
    socket.terminate();
    const text = said.join("\n");
    this.recorded.push({ who: who.name, what: "frames", status: 101, text, handsOver: false });
  }

  async register(name: string, more: Record<string, unknown> = {}): Promise<Teller> {
    const email = this.secret(
      `the address of ${name}`,
      `${name}.${randomBytes(5).toString("hex")}@mail.example`,
    );
    const body = { username: name, password, email, cookie: true, ...more };
    const answer = await this.ask({ name, token: "" }, "POST", "/api/v1/auth/register", body);
    return {
      name,
      token: answer.body.access_token,
      refreshToken: answer.body.refresh_token,
      cookie: (answer.headers.get("set-cookie") ?? "").split(";")[0] ?? "",
      user: answer.body.user,
      email,
    };
  }

  #learn({ headers, body }: Answer): void {
    if (body.access_token) this.secret("an access token", body.access_token);
    if (body.refresh_token) this.secret("a refresh token", body.refresh_token);
    if (body.ticket) this.secret("a ticket", body.ticket);
    const cookie = headers.get("set-cookie")?.match(/^\w+=([^;]+)/)?.[1];
    if (cookie) this.secret("a session cookie", cookie);
  }
}

/** Somebody, by what they can show. */
export interface Teller {
  name: string;
  token: string;
  refreshToken?: string;
  cookie?: string;
  user?: Json;
  email?: string;
}

export const stranger: Teller = { name: "a stranger", token: "" };
