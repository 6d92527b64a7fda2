import { getRouterParams, type H3Event, HTTPResponse } from "h3";
import type { z } from "zod";
import type { ErrorCode } from "../errors.ts";
import { encodePageCursor } from "../fields.ts";
import { readJson } from "./bodies.ts";
import { parse } from "./problems.ts";
import type { AddressClass, RateClass, UserClass } from "./rate-limits.ts";

/**
 * Who may call a route: anybody; who has a live session; or who shows a valid access token, where the
 * statement of the act itself checks that the session lives.
 */
export type Access = "open" | "session" | "token";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** The chapters of the API document. */
export type Tag =
  | "Accounts"
  | "Users"
  | "Discussions"
  | "Members"
  | "Messages"
  | "Attachments"
  | "Streams"
  | "Operations";

/** The authenticated caller. */
export interface Caller {
  user_id: string;
  session_id: string;
}

type Fields = z.ZodType;
type Output<T> = T extends Fields ? z.output<T> : undefined;

/** What a handler gets: everything parsed and checked. */
export interface Call<A extends Access, P, Q, B> {
  event: H3Event;
  caller: A extends "open" ? null : Caller;
  params: Output<P>;
  query: Output<Q>;
  body: Output<B>;
}

/** An answer that is more than a JSON body. */
export interface AnswerDescription {
  description?: string;
  /** Of the body; without one it is told by its media types alone. */
  schema?: z.ZodType;
  /** Default: application/json if there is a schema, else no body. May be patterns such as image/*. */
  mediaTypes?: readonly string[];
  /** Header → what it tells. */
  headers?: Readonly<Record<string, string>>;
}

/**
 * What a route tells of itself, for the API document (openapi.ts) and for the tests, which check every answer
 * against it. Requests do not come by here.
 */
export interface Documentation {
  /** What generated clients call it: addMembers. */
  name: string;
  /** One line: Add people to a group. */
  summary: string;
  description?: string;
  tag: Tag;
  /** Status → its JSON body; null: without a body. */
  answers: Readonly<Record<number, z.ZodType | AnswerDescription | null>>;
  /** What it may refuse with, besides what follows from its access and inputs: see refusalsOf(). */
  refusals: readonly ErrorCode[];
  /** Headers of the request that it looks at. */
  headers?: z.ZodType | undefined;
  /** Bodies that are not JSON and are read by the handler, by media type. */
  uploads?: Readonly<Record<string, z.ZodType>>;
}

/** A route: its schemas are its documentation, and what is checked. */
export interface RouteDefinition<A extends Access, P, Q, B> extends Documentation {
  method: Method;
  path: string;
  access: A;
  /** As what its requests are counted; without one as "read" or "write", and open ones not at all. */
  rate?: A extends "open" ? AddressClass : UserClass;
  params?: P;
  query?: Q;
  body?: B;
  handle(call: Call<A, P, Q, B>): Promise<HTTPResponse>;
}

/** A route as the API document shows it. */
export interface Described {
  method: Method;
  path: string;
  access: Access | "stream";
  /** As what its requests are counted; null: not at all. */
  rate: RateClass | null;
  /** Null for the files of pages, which are not part of the API. */
  documentation: (Documentation & Partial<Record<"params" | "query" | "body", z.ZodType | undefined>>) | null;
}

export type Route = Described & {
  /** Parses the request, and calls the handler. Throws Failure and whatever the handler throws. */
  call(event: H3Event, caller: Caller | null): Promise<HTTPResponse>;
} & ({ access: "open"; rate: AddressClass | null } | { access: "session" | "token"; rate: UserClass });

export function route<
  A extends Access,
  P extends Fields | undefined = undefined,
  Q extends Fields | undefined = undefined,
  B extends Fields | undefined = undefined,
>(definition: RouteDefinition<A, P, Q, B>): Route {
  const { method, path, access } = definition;
  const usual = access === "open" ? null : method === "GET" ? "read" : "write";
  const { rate = usual } = definition;
  const made: Omit<Route, "access" | "rate"> = {
    method,
    path,
    documentation: definition,
    call: async (event, caller) => {
      const params = definition.params && parse(definition.params, getRouterParams(event, { decode: true }));
      const query = definition.query && parse(definition.query, Object.fromEntries(event.url.searchParams));
      const body = definition.body && parse(definition.body, await readJson(event));
      return definition.handle({ event, caller, params, query, body } as Call<A, P, Q, B>);
    },
  };
  return { ...made, access, rate } as Route;
}

/** An answer whose body is JSON text already, or a value to be made it. */
export function json(status: number, body: string | object): HTTPResponse {
  return new HTTPResponse(typeof body === "string" ? body : JSON.stringify(body), {
    status,
    headers: { "content-type": "application/json; charset=utf-8", "cache-control": "no-store" },
  });
}

export function noContent(): HTTPResponse {
  return new HTTPResponse(null, { status: 204 });
}

/** A list's answer. `items` are JSON texts joined by commas; `extra` goes between them and next_cursor. */
export function list(
  items: string,
  nextKey: unknown[] | null,
  extra: Record<string, unknown> = {},
): HTTPResponse {
  const rest = JSON.stringify({ next_cursor: nextKey && encodePageCursor(nextKey), ...extra });
  return json(200, `{"items":[${items}],${rest.slice(1)}`);
}
