import type { ErrorCode } from "../../../server/errors.ts";
import { errors } from "../../../server/errors.ts";

/**
 * Who tries, in the order of the columns: four members of a discussion, the last of whom its owner has
 * blocked; who was a member; who never was; who has nothing but a ticket of that stranger; who has nothing at
 * all; and two who hold what once was the owner's: the token of a session that was revoked, and one that
 * has run out.
 */
export const actors = [
  "owner",
  "admin",
  "member",
  "blocked",
  "former",
  "stranger",
  "ticket",
  "anonymous",
  "revoked",
  "expired",
] as const;
export type Actor = (typeof actors)[number];

/** What a letter after a status stands for. */
const codes: Readonly<Record<string, ErrorCode>> = {
  "400i": "invalid_request",
  "401c": "invalid_credentials",
  "401r": "session_revoked",
  "401t": "invalid_refresh_token",
  "401u": "unauthenticated",
  "403b": "blocked",
  "403f": "forbidden",
  "403m": "not_a_member",
  "404a": "attachment_not_found",
  "404d": "discussion_not_found",
  "404g": "message_not_found",
  "404m": "member_not_found",
  "404s": "session_not_found",
  "404u": "user_not_found",
  "409d": "direct_discussion",
  "409l": "last_owner",
};

/** What is to come of an act of somebody: a status and, if it is refused, the code of its problem. */
export interface Verdict {
  actor: Actor;
  status: number;
  code: ErrorCode | null;
}

/** What is done, `GET /users/{id}` or the type of a frame, maybe with a colon and whereto. */
export interface Row {
  act: string;
  verdicts: Verdict[];
}

/** Reads a table: a line for each act, with a cell for each of `columns` and then the act. */
export function readTable(text: string, columns: readonly Actor[] = actors): Row[] {
  return text
    .trim()
    .split("\n")
    .map((line) => {
      const words = line.trim().split(/ +/);
      const cells = words.slice(0, columns.length);
      const verdicts = columns.map((actor, index) => readCell(actor, cells[index] ?? ""));
      return { act: words.slice(columns.length).join(" "), verdicts };
    });
}

/** The route of an act, without what it is done to. */
export function routeOf({ act }: Row): string {
  return act.split(" : ")[0] ?? "";
}

function readCell(actor: Actor, cell: string): Verdict {
  const code = codes[cell] ?? null;
  const status = cell === "ack" ? 200 : Number.parseInt(cell, 10);
  if (code === null && !["ack", "101", "200", "201", "204"].includes(cell)) throw new Error(`${cell}?`);
  if (code !== null && errors[code][0] !== status) throw new Error(`${code} is not ${status}`);
  return { actor, status, code };
}
