import { z } from "zod";

/** A JSON Schema, as far as anybody here looks into it. */
export interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  required?: string[];
  description?: string;
  [keyword: string]: unknown;
}

/** Turns zod schemas into JSON Schemas that share their components. */
export interface SchemaCollection {
  /** `input`: what a client sends, before defaults and transformations; `output`: what it gets. */
  convert(schema: z.ZodType, io: "input" | "output"): JsonSchema;
  /** The schemas with an `id` that were met so far. */
  components: Record<string, JsonSchema>;
}

/** `target`: JSON Schema 2020-12 is that of OpenAPI 3.1, draft 7 that of AsyncAPI 3.0. */
export function createSchemaCollection(target: "draft-2020-12" | "draft-07"): SchemaCollection {
  const components: Record<string, JsonSchema> = {};
  return {
    components,
    convert: (schema, io) => {
      // In an object of its own, a schema with an id becomes a reference like any other.
      const converted = z.toJSONSchema(z.object({ schema }), {
        target,
        io,
        override: ({ zodSchema, jsonSchema }) => tidy(zodSchema, jsonSchema),
      });
      const { properties, $defs, definitions } = reroute(converted);
      Object.assign(components, $defs ?? definitions);
      return properties?.schema ?? {};
    },
  };
}

/** Types of zod whose long patterns say the same as their formats. */
const zodFormats = new Set(["uuid", "email", "datetime"]);

function tidy(zodSchema: z.core.$ZodType, jsonSchema: z.core.JSONSchema.BaseSchema): void {
  const { format, defaultValue } = zodSchema._zod.def as { format?: string; defaultValue?: unknown };
  if (format && zodFormats.has(format)) delete jsonSchema.pattern;
  // Numbers in addresses, which are digits before they are numbers: see digits().
  if (jsonSchema.type === "integer") {
    delete jsonSchema.pattern;
    if (typeof defaultValue === "number") jsonSchema.default = defaultValue;
  }
}

/** Points references to where both documents keep their components. */
function reroute(converted: object): JsonSchema {
  const text = JSON.stringify(converted);
  return JSON.parse(text.replaceAll(/"#\/(\$defs|definitions)\//g, '"#/components/schemas/'));
}
