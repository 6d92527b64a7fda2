import { z } from "zod";
import { type ErrorCode, errors } from "../errors.ts";
import { problemSchema } from "../schemas.ts";
import { cookieName } from "./authentication.ts";
import { createSchemaCollection, type SchemaCollection } from "./json-schemas.ts";
import type { AnswerDescription, Described, Tag } from "./route.ts";

type Documented = Described & { documentation: NonNullable<Described["documentation"]> };

const tags: Readonly<Record<Tag, string>> = {
  Accounts: "Registration, log-in, sessions and tickets.",
  Users: "The people one can talk to, and oneself.",
  Discussions: "One-to-one, with oneself, or in a group.",
  Members: "Who is in a discussion, and what they have read.",
  Messages: "Sending and reading. A message is named by its discussion and its `seq`.",
  Attachments: "Files of messages.",
  Streams: "Server-Sent Events and WebSockets: described in full by [/asyncapi.json](/asyncapi.json).",
  Operations: "For those who run the server.",
};

const description = `REST for accounts, discussions and history; streams for what happens.

Refusals are problems (RFC 9457) with a stable \`code\`. What a caller may not see answers 404, not 403.
Unknown fields of a body are refused. Every answer has the header \`x-request-id\`: the caller's, if it sent a
sane one. Lists are read page by page: \`?cursor=\` takes the \`next_cursor\` of the page before.`;

const securitySchemes = {
  bearer: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "The `access_token` of register, login or refresh.",
  },
  cookie: {
    type: "apiKey",
    in: "cookie",
    name: cookieName,
    description:
      "For browsers: register and login set it if `cookie` is true. All but GET needs an allowed Origin.",
  },
  ticket: {
    type: "apiKey",
    in: "query",
    name: "ticket",
    description: "For clients that cannot set headers on a stream: good for one, within 30 seconds.",
  },
};

/** What operations share. */
interface Components {
  schemas: SchemaCollection;
  /** Refusals, by their codes. */
  responses: Record<string, object>;
}

/** The OpenAPI 3.1 document of these routes. */
export function createOpenApi(routes: readonly Described[]): object {
  const components: Components = { schemas: createSchemaCollection("draft-2020-12"), responses: {} };
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes.filter(isDocumented)) {
    const path = route.path.replaceAll(/:(\w+)/g, "{$1}");
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = operationOf(route, components);
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "Parley",
      version: "1.0.0",
      summary: "A realtime chat back end.",
      description,
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/", description: "This server" }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      schemas: components.schemas.components,
      responses: components.responses,
      headers: {
        "x-request-id": { description: "Names the request in the log.", schema: { type: "string" } },
        "retry-after": { description: "Seconds.", schema: { type: "integer" } },
      },
      securitySchemes,
    },
  };
}

/** All that a route may refuse with: what it says itself, and what follows from its access and inputs. */
export function refusalsOf({ method, path, access, rate, documentation }: Documented): ErrorCode[] {
  const { params, query, headers, body, uploads } = documentation;
  const codes: ErrorCode[] = ["internal_error", ...documentation.refusals];
  if (params || query || headers || body || uploads) codes.push("invalid_request");
  if (body || uploads) codes.push("payload_too_large", "unsupported_media_type", "request_timeout");
  if (access !== "open") codes.push("unauthenticated", "session_revoked");
  // By cookie, from a page of another origin.
  if (access !== "open" && method !== "GET") codes.push("origin_not_allowed");
  if (rate !== null) codes.push("rate_limited");
  if (path.startsWith("/api/")) codes.push("unavailable");
  return [...new Set(codes)].sort();
}

function isDocumented(route: Described): route is Documented {
  return route.documentation !== null;
}

function operationOf(route: Documented, components: Components): object {
  const { documentation } = route;
  const { schemas } = components;
  const { name, summary, description, tag, params, query, headers, body, uploads } = documentation;
  const bodies = Object.entries({ ...(body && { "application/json": body }), ...uploads });
  const answers = Object.entries(documentation.answers);
  const refusals = Object.entries(Object.groupBy(refusalsOf(route), (code) => errors[code][0]));
  const content = bodies.map(([type, schema]) => [type, { schema: schemas.convert(schema, "input") }]);
  return {
    operationId: name,
    summary,
    ...(description && { description }),
    tags: [tag],
    security: securityOf(route),
    parameters: [
      ...parametersOf("path", params, schemas),
      ...parametersOf("query", query, schemas),
      ...parametersOf("header", headers, schemas),
    ],
    ...(bodies.length > 0 && { requestBody: { required: true, content: Object.fromEntries(content) } }),
    responses: Object.fromEntries([
      ...answers.map(([status, answer]) => [status, answerOf(Number(status), answer, schemas)]),
      ...refusals.map(([status, codes]) => [status, refusalOf(Number(status), codes, components)]),
    ]),
  };
}

function securityOf({ access }: Documented): object[] {
  if (access === "open") return [];
  return [{ bearer: [] }, ...(access === "stream" ? [{ ticket: [] }] : []), { cookie: [] }];
}

function parametersOf(place: string, schema: z.ZodType | undefined, schemas: SchemaCollection): object[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = schemas.convert(schema, "input");
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: place,
    required: required.includes(name),
    ...(description && { description }),
    schema,
  }));
}

const reasons: Readonly<Record<number, string>> = {
  101: "Switching protocols.",
  200: "Done.",
  201: "Created.",
  204: "Done; there is nothing to say.",
  206: "The part that was asked for.",
  304: "Nothing has changed.",
};

function answerOf(status: number, answer: z.ZodType | AnswerDescription | null, schemas: SchemaCollection) {
  const described: AnswerDescription = answer instanceof z.ZodType ? { schema: answer } : (answer ?? {});
  const { schema, mediaTypes = schema ? ["application/json"] : [], headers = {} } = described;
  const media = schema ? { schema: schemas.convert(schema, "output") } : {};
  const more = Object.entries(headers).map(([name, description]) => [
    name,
    { description, schema: { type: "string" } },
  ]);
  return {
    description: described.description ?? reasons[status] ?? "Done.",
    headers: { "x-request-id": reference("headers/x-request-id"), ...Object.fromEntries(more) },
    ...(mediaTypes.length > 0 && { content: Object.fromEntries(mediaTypes.map((type) => [type, media])) }),
  };
}

/** One component for each set of codes with the same status. */
function refusalOf(status: number, codes: readonly ErrorCode[], { schemas, responses }: Components): object {
  const name = codes.join(".");
  responses[name] ??= {
    description: `${codes.map((code) => errors[code][1]).join(", or ")}.`,
    headers: {
      "x-request-id": reference("headers/x-request-id"),
      ...([429, 503].includes(status) && { "retry-after": reference("headers/retry-after") }),
    },
    content: {
      "application/problem+json": {
        schema: {
          allOf: [
            schemas.convert(problemSchema, "output"),
            { properties: { status: { const: status }, code: { enum: codes } } },
          ],
        },
        examples: Object.fromEntries(codes.map((code) => [code, { value: exampleOf(code) }])),
      },
    },
  };
  return reference(`responses/${name}`);
}

function exampleOf(code: ErrorCode): object {
  const [status, title] = errors[code];
  return {
    type: "about:blank",
    title,
    status,
    code,
    detail: title,
    request_id: "3f0c8d54-6d0e-4d5e-9a39-2b6f6a0f2f57",
    ...([429, 503].includes(status) && { retry_after: 2 }),
  };
}

function reference(to: string): { $ref: string } {
  return { $ref: `#/components/${to}` };
}
