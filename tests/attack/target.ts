import assert from "node:assert/strict";
import { type Client, type Json, register } from "../support/client.ts";
import { eventually, withServer } from "../support/server.ts";
import { dial, head, type RawAnswer, readAnswers, type Wire } from "../support/wire.ts";

const env = { RATE_LIMITS: "off" };
/** Who is attacked, and where. */
export interface Target {
  ann: Client;
  auth: string;
  discussionId: string;
}

export function withTarget(act: (target: Target) => Promise<void>): Promise<void> {
  return withServer(async (t) => act(await createTarget(t.url)), env);
}

export async function createTarget(url: string): Promise<Target> {
  const ann = await register(url, "ann");
  const discussion = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
  return { ann, auth: `Authorization: Bearer ${ann.token}`, discussionId: discussion.id };
}

/** Sends bytes and gives all answers; the connection has ended, or as many came as are told. */
export async function talk(
  url: string,
  bytes: string,
  count = 1,
): Promise<{ answers: RawAnswer[]; wire: Wire }> {
  const wire = await dial(url);
  wire.write(bytes);
  await eventually(() => {
    const whole = (wire.text().match(/HTTP\/1\.1 (?!100)\d{3}/g) ?? []).length >= count;
    if (!wire.isClosed() && !whole) throw new Error(`not answered: ${JSON.stringify(bytes.slice(0, 300))}`);
    readAnswers(wire);
  });
  return { answers: readAnswers(wire), wire };
}

/** Eight at a time, as each waits more than it works. */
export async function all<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await act(item);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

/** A refusal as all are, whoever found the mistake. */
export function assertRefusal(answer: RawAnswer | undefined, what: string, statuses = [400]): void {
  assert.ok(answer, `${what}: no answer`);
  assert.ok(statuses.includes(answer.status), `${what}: ${answer.status} ${answer.body}`);
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/, what);
  const problem: Json = JSON.parse(answer.body);
  assert.equal(problem.status, answer.status, what);
  assert.equal(problem.request_id, answer.headers.get("x-request-id"), what);
  assert.match(problem.code, /^[a-z_]+$/, what);
}

/** A message of ann's with this text: what an attacker would have answered, or done, in a victim's name. */
export function post({ auth, discussionId }: Target, content: string, lines: string[] = []): string {
  const body = JSON.stringify({ content });
  const length = `Content-Length: ${body.length}`;
  const target = `/api/v1/discussions/${discussionId}/messages`;
  return head("POST", target, [auth, "Content-Type: application/json", length, ...lines]) + body;
}
