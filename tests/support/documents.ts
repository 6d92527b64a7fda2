import assert from "node:assert/strict";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { createAsyncApi } from "../../server/api/asyncapi.ts";
import type { Answer, Json } from "./client.ts";

/** Checks answers and events against the documents in which the server describes itself. */

interface Operation {
  method: string;
  /** Of a whole path. */
  pattern: RegExp;
  parameterCount: number;
  responses: Readonly<Record<string, { pointer: string; content: Json }>>;
}

/** Codes of what is no operation: no such address, not that method, an address that cannot be decoded. */
const codesOfNothing = new Set(["not_found", "method_not_allowed", "invalid_request"]);
const ajv = new Ajv2020({ strict: false, validateSchema: false });
formats.default(ajv);
ajv.addSchema(createAsyncApi(), "asyncapi");
/** Servers of one process are of the same code, so the first that is met is asked, once. */
let operations: Promise<Operation[]> | undefined;

/** Fails if /openapi.json does not tell of such an answer to such a request, or tells it otherwise. */
export async function checkAnswer(url: string, method: string, path: string, answer: Answer): Promise<void> {
  operations ??= loadOperations(url).catch((error) => {
    operations = undefined;
    throw error;
  });
  const problem = findProblem(await operations, method, new URL(path, url).pathname, answer);
  if (problem === null) return;
  assert.fail(
    `${method} ${path} → ${answer.status} ${JSON.stringify(answer.body)} is not in /openapi.json: ${problem}`,
  );
}

/** Fails if /asyncapi.json does not tell of such an event, or tells it otherwise. */
export function checkEvent(event: Json): void {
  const problem = validate(`asyncapi#/components/messages/${event.type}/payload`, event);
  if (problem !== null) assert.fail(`${JSON.stringify(event)} is not in /asyncapi.json: ${problem}`);
}

async function loadOperations(url: string): Promise<Operation[]> {
  const response = await fetch(`${url}/openapi.json`);
  assert.equal(response.status, 200);
  const document: Json = await response.json();
  ajv.addSchema(document, "openapi");
  return Object.entries<Json>(document.paths)
    .flatMap(([path, item]) =>
      Object.entries<Json>(item).map(([method, operation]) =>
        readOperation(document, path, method, operation),
      ),
    )
    .sort((a, b) => a.parameterCount - b.parameterCount);
}

function readOperation(document: Json, path: string, method: string, operation: Json): Operation {
  const inPlace = `#/paths/${escapePointer(path)}/${method}/responses`;
  const readResponse = (status: string, { $ref, content = {} }: Json) =>
    $ref === undefined
      ? { pointer: `openapi${inPlace}/${status}`, content }
      : { pointer: `openapi${$ref}`, content: document.components.responses[$ref.split("/").at(-1)].content };
  return {
    method: method.toUpperCase(),
    pattern: new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}/?$`),
    parameterCount: path.split("{").length,
    responses: Object.fromEntries(
      Object.entries<Json>(operation.responses).map(([status, response]) => [
        status,
        readResponse(status, response),
      ]),
    ),
  };
}

function findProblem(operations: Operation[], method: string, path: string, answer: Answer): string | null {
  const { status, headers, body } = answer;
  if (!headers.has("x-request-id")) return "it has no x-request-id";
  if (method === "OPTIONS") return status === 204 ? null : "a preflight is answered with 204";
  const name = method === "HEAD" ? "GET" : method;
  const operation = operations.find((one) => one.method === name && one.pattern.test(path));
  if (!operation) {
    if (!codesOfNothing.has(body?.code)) return "there is no such operation";
    return validate("openapi#/components/schemas/Problem", body);
  }
  const response = operation.responses[status];
  if (response === undefined) return `it has only the statuses ${Object.keys(operation.responses)}`;
  return method === "HEAD" ? null : checkBody(response, headers.get("content-type"), body);
}

function checkBody(
  { pointer, content }: { pointer: string; content: Json },
  header: string | null,
  body: Json,
): string | null {
  const types = Object.keys(content);
  if (header === null && types.length === 0) return body === null ? null : "it has no body";
  const type = header?.split(";")[0] ?? "none";
  const range = [type, type.replace(/\/.*/, "/*"), "*/*"].find((one) => types.includes(one));
  if (range === undefined) return `its media types are ${types.join(", ") || "none"}, not ${type}`;
  if (!content[range].schema) return null;
  return validate(`${pointer}/content/${escapePointer(range)}/schema`, body);
}

/** What is wrong, by the schema at a place of a document; null: nothing. */
function validate(pointer: string, value: Json): string | null {
  const check = ajv.getSchema(pointer);
  if (!check) return `there is no ${pointer}`;
  return check(value) ? null : ajv.errorsText(check.errors, { dataVar: "body" });
}

function escapePointer(key: string): string {
  return encodeURIComponent(key.replaceAll("~", "~0").replaceAll("/", "~1"));
}
