import { closings } from "../errors.ts";
import { frameSchema, heardSchemas, socketTypes, sseTypes } from "../events.ts";
import { limits } from "../limits.ts";
import { createSchemaCollection, type JsonSchema } from "./json-schemas.ts";
import type { Described } from "./route.ts";
import { streamRoutes } from "./streams.ts";

const description = `What happens, as it happens: over Server-Sent Events, or both ways over WebSockets.

All events come from one log, in its order, each exactly once. A **cursor** names a point of the log: a
stream that is opened with \`?since=\` (or, for Server-Sent Events, the header \`Last-Event-ID\`) goes on
exactly there. Events with a cursor are durable; signals (\`typing\`, \`presence\`) have none and may be
lost. \`ready\` comes once, between what was missed and what is new; after \`reset\` the client loads its
state anew.

Streams are opened with \`Authorization: Bearer\`, \`?ticket=\` or the session cookie, as
[/openapi.json](/openapi.json) describes. Server-Sent Events have the type as \`event:\`, the cursor as
\`id:\` and the JSON as \`data:\`; WebSockets have one JSON text per frame.`;

const closeCodes = `| close code | why |
| --- | --- |
| 1001 | the server is going away |
| 1002, 1007 | a frame against the protocol, or not UTF-8 |
| 1008 | a frame in too many pieces |
| 1009 | a frame of more than ${limits.frameBytes / 1024} KiB |
${Object.entries(closings)
  .map(([reason, code]) => `| ${code} | \`${reason}\` |`)
  .join("\n")}

Up to 4499: come back with the last cursor, after a random 0 to 2 seconds (4002: after 5). 1002 to 1009,
and from 4500 on: stay away.`;

/** The AsyncAPI 3.0 document of the streams. */
export function createAsyncApi(): object {
  const schemas = createSchemaCollection("draft-07");
  const heard = Object.entries(heardSchemas).map(([type, schema]) => {
    return [type, messageOf(type, schemas.convert(schema, "output"))];
  });
  const said = frameSchema.options.map((schema) => {
    const type = schema.shape.type.value;
    return [`frame.${type}`, messageOf(type, schemas.convert(schema, "input"))];
  });
  return {
    asyncapi: "3.0.0",
    info: { title: "Parley's streams", version: "1.0.0", description, license: { name: "MIT" } },
    defaultContentType: "application/json",
    servers: { sse: serverOf("http"), ws: serverOf("ws") },
    channels: Object.fromEntries(streamRoutes.map((route) => [nameOf(route), channelOf(route)])),
    operations: Object.fromEntries(streamRoutes.flatMap(operationsOf)),
    components: { schemas: schemas.components, messages: Object.fromEntries([...heard, ...said]) },
  };
}

const heardTypes = Object.keys(heardSchemas);
const saidTypes = frameSchema.options.map((schema) => `frame.${schema.shape.type.value}`);

function messageOf(name: string, payload: JsonSchema): object {
  return { name, payload };
}

function serverOf(protocol: string): object {
  return {
    host: "{host}",
    protocol,
    description: "With TLS where the server is behind it.",
    variables: { host: { default: "localhost:3000" } },
  };
}

function isSocket({ path }: Described): boolean {
  return path.endsWith("/ws");
}

/** `events`, `discussionEvents`, `socket`, `discussionSocket`: openEvents and so on, without their verb. */
function nameOf({ documentation }: Described): string {
  const name = documentation?.name.replace(/^open/, "") ?? "";
  return name.charAt(0).toLowerCase() + name.slice(1);
}

/** What is heard at an address, and by whom it may be said. */
function typesOf(route: Described): { heard: string[]; said: string[] } {
  const absent = isSocket(route) ? sseTypes : socketTypes;
  return { heard: heardTypes.filter((type) => !absent.has(type)), said: isSocket(route) ? saidTypes : [] };
}

function channelOf(route: Described): object {
  const { heard, said } = typesOf(route);
  const messages = [...heard, ...said].map((type) => [type, reference(`components/messages/${type}`)]);
  return {
    address: route.path.replace(":id", "{id}"),
    title: route.documentation?.summary,
    ...(isSocket(route) && { description: closeCodes }),
    servers: [reference(`servers/${isSocket(route) ? "ws" : "sse"}`)],
    messages: Object.fromEntries(messages),
    ...(route.path.includes(":id") && { parameters: { id: { description: "The discussion's id." } } }),
    ...(isSocket(route) && { bindings: { ws: { method: "GET" } } }),
  };
}

function operationsOf(route: Described): [name: string, operation: object][] {
  const name = nameOf(route);
  const channel = reference(`channels/${name}`);
  const { heard, said } = typesOf(route);
  const some = (types: Iterable<string>) =>
    [...types].map((type) => reference(`channels/${name}/messages/${type}`));
  const answers = { channel, messages: some(socketTypes) };
  const hear = { action: "send", channel, messages: some(heard), summary: "What the client hears." };
  const say = {
    action: "receive",
    channel,
    messages: some(said),
    summary: "What it may say.",
    reply: answers,
  };
  return said.length === 0
    ? [[name, hear]]
    : [
        [name, hear],
        [`${name}Frames`, say],
      ];
}

function reference(to: string): { $ref: string } {
  return { $ref: `#/${to}` };
}
