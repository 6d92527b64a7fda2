import assert from "node:assert/strict";
import type { Json } from "../support/client.ts";

/** One place of one operation where a client may write a text. */
export interface Target {
  method: string;
  /** A pattern such as /api/v1/users/{id}. */
  path: string;
  place: "path" | "query" | "header" | "body";
  name: string;
  /** Whether a list of texts is expected. */
  isList: boolean;
  /** Whether a schema leaves so little that few texts get further: ids, numbers, one of some words. */
  isNarrow: boolean;
  body: Record<string, unknown> | undefined;
}

/** Bodies that would do, but for the field that is attacked, by operation. A new operation needs one. */
type Bodies = Readonly<Record<string, readonly Record<string, unknown>[]>>;

/** Every text that /openapi.json lets anybody write. */
export function targetsOf(document: Json, bodies: Bodies): Target[] {
  return Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    Object.entries<Json>(item).flatMap(([method, operation]) => {
      const given = bodies[operation.operationId] ?? [];
      const base = { method: method.toUpperCase(), path, body: given[0] };
      const parameters = operation.parameters.map(({ name, in: place, schema }: Json) => ({
        ...{ ...base, place, name, isList: false, isNarrow: isNarrow(schema) },
      }));
      return [...parameters, ...fieldsOf(operation, given).map((field) => ({ ...base, ...field }))];
    }),
  );
}

function fieldsOf({ operationId, requestBody }: Json, given: readonly Record<string, unknown>[]) {
  const schema = requestBody?.content["application/json"]?.schema;
  if (!schema) return [];
  const variants: Json[] = schema.oneOf ?? schema.anyOf ?? [schema];
  assert.equal(given.length, variants.length, `${operationId} needs a body that would do, for each variant`);
  return variants.flatMap(({ properties }, index) =>
    Object.entries<Json>(properties).flatMap(([name, property]) => {
      const types: Json[] = property.anyOf ?? [property];
      const text = types.find(({ type }) => type === "string");
      const list = types.find(({ type }) => type === "array");
      if (!text && !list) return [];
      const isList = list !== undefined;
      return [
        { place: "body" as const, name, isList, isNarrow: isNarrow(text ?? list.items), body: given[index] },
      ];
    }),
  );
}

function isNarrow({ type, format, pattern, enum: words, const: word }: Json): boolean {
  return type !== "string" || [format, pattern, words, word].some((bound) => bound !== undefined);
}
