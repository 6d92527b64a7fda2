import assert from "node:assert/strict";
import { checkAnswer } from "./documents.ts";

// biome-ignore lint/suspicious/noExplicitAny: answers are read field by field, and a wrong one fails its test
export type Json = any;

export interface Answer {
  status: number;
  headers: Headers;
  body: Json;
}

/** A person who uses the REST API. */
export class Client {
  readonly url: string;
  token = "";
  refreshToken = "";
  user: Json;

  constructor(url: string) {
    this.url = url;
  }

  /**
   * Sends a request to a path below /api/v1 and reads its answer, whatever the status. Fails if that is not
   * an answer of which /openapi.json tells.
   */
  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: {
        ...(this.token && { authorization: `Bearer ${this.token}` }),
        ...(body !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = /\bjson\b/.test(response.headers.get("content-type") ?? "");
    const answer: Answer = {
      status: response.status,
      headers: response.headers,
      body: text === "" ? null : isJson ? JSON.parse(text) : text,
    };
    await checkAnswer(this.url, method, `/api/v1${path}`, answer);
    return answer;
  }

  /** The same, for a request that must succeed; gives the body. */
  async ok(method: string, path: string, body?: unknown): Promise<Json> {
    const answer = await this.call(method, path, body);
    assert.ok(answer.status < 300, `${method} ${path} → ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  send(discussionId: string, content: string, more: Record<string, unknown> = {}): Promise<Json> {
    return this.ok("POST", `/discussions/${discussionId}/messages`, { content, ...more });
  }
}

export const password = "correct horse battery";

/** Registers a person; the password is `password`. */
export async function register(
  url: string,
  username: string,
  more: Record<string, unknown> = {},
): Promise<Client> {
  const client = new Client(url);
  const body = await client.ok("POST", "/auth/register", { username, password, ...more });
  client.user = body.user;
  client.token = body.access_token;
  client.refreshToken = body.refresh_token;
  return client;
}

/** Asserts a problem body: status, code and the form of RFC 9457. */
export function assertProblem(answer: Answer, status: number, code: string): void {
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  assert.equal(answer.body.code, code);
  assert.equal(answer.body.status, status);
  assert.equal(answer.body.type, "about:blank");
  assert.equal(typeof answer.body.title, "string");
  assert.equal(typeof answer.body.detail, "string");
  assert.equal(answer.body.request_id, answer.headers.get("x-request-id"));
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
}

/** All items of a list, page by page. `path` ends with ? or &. */
export async function pages(client: Client, path: string, limit: number): Promise<Json[]> {
  const items: Json[] = [];
  let cursor: string | null = null;
  do {
    const from: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const page: Json = await client.ok("GET", `${path}limit=${limit}${from}`);
    assert.ok(page.items.length <= limit);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return items;
}

/** Asserts a problem whose code the contract does not name. */
export function assertRefused(answer: Answer, statuses: number[]): void {
  assert.ok(statuses.includes(answer.status), `${answer.status} ${JSON.stringify(answer.body)}`);
  assert.match(answer.body.code, /^[a-z_]+$/);
  assertProblem(answer, answer.status, answer.body.code);
}
