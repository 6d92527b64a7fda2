import type { ErrorCode } from "../../../server/errors.ts";
import type { Json } from "../../support/client.ts";
import type { Model, Standing } from "../model.ts";
import { discussionJson } from "../shapes.ts";

/** What came of a command. By a frame there is no status. */
export interface Outcome {
  status: number | null;
  code: string | null;
  body: Json;
  /** The socket by which it went: what went by the same one is carried out in its order. */
  via?: object;
  /** The discussions that ended in this step, in the order of the log, which is the server's choice. */
  ended?: readonly string[];
}

/** What somebody sees, or why not, in some state. */
export type View = (model: Model) => { body: Json } | Refusal;

export interface Refusal {
  code: ErrorCode;
}

/** What the contract says of an answer. */
export type Expected =
  | Refusal
  /** Null: none. */
  | { status: number; body: Json }
  /** Of the state at the answer's cursor, at or after the act. `find` tells what else is wrong with it. */
  | { status: number; view: View; find?: (body: Json) => string | null };

/** Where a command goes: to which instance, and whether as a frame of a socket, if there is one. */
export interface Way {
  instance: number;
  byFrame: boolean;
}

export interface Request {
  method: string;
  path: string;
  body?: Json;
  /** The same as a frame of a socket, where there is one. */
  frame?: Json;
}

/** Who carries out commands against the real server. */
export interface Actors {
  act(actorId: string, way: Way, request: Request): Promise<Outcome>;
}

/** Something that somebody does: what the contract says of it, and how it is really done. */
export interface Command {
  /** A readable line, so that a run is a script. */
  line(model: Model): string;
  /** Changes the model. The outcome only names what the server alone can: the id of what is new. */
  apply(model: Model, outcome: Outcome): Expected;
  run(actors: Actors): Promise<Outcome>;
}

/** A command of a person with an account: whose is erased is refused whatever it is. */
export function command(
  actorId: string,
  way: Way,
  request: Request,
  words: (model: Model) => string,
  apply: (model: Model, outcome: Outcome) => Expected,
): Command {
  return {
    line: (model) => {
      const by = way.byFrame && request.frame ? "frame" : "request";
      return `${model.person(actorId).name} ${words(model)} (${by}, instance ${way.instance})`;
    },
    apply: (model, outcome) =>
      model.person(actorId).isErased ? { code: "session_revoked" } : apply(model, outcome),
    run: (actors) => actors.act(actorId, way, request),
  };
}

export const done: Expected = { status: 204, body: null };

/** The refusal of who is no member, or null. */
export function refuseOutsiders(standing: Standing): Refusal | null {
  if (standing === null) return { code: "discussion_not_found" };
  return standing === "visitor" ? { code: "not_a_member" } : null;
}

/** A discussion as its reader sees it. */
export function viewOf(id: string, readerId: string): View {
  return (model) => {
    const discussion = model.find(id);
    if (!discussion || model.standing(id, readerId) === null) return { code: "discussion_not_found" };
    return { body: discussionJson(model, discussion, readerId) };
  };
}

export function labelOf(model: Model, id: string): string {
  return model.discussions.get(id)?.label ?? "a discussion that never was";
}
