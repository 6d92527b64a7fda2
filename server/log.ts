import { type DestinationStream, type Logger, pino } from "pino";

/** What Postgres says of an error and is made of people's data: rows, values, statements. */
const told = new Set(["detail", "where", "internalQuery"]);

/** The log: named events as lines of JSON. Errors are told whole, but not of which rows they are. */
export function createLog(level: string, destination: DestinationStream): Logger {
  return pino(
    { level, serializers: { err: (error: Error) => withoutRows(pino.stdSerializers.err(error)) } },
    destination,
  );
}

function withoutRows(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const kept = Object.entries(value).filter(([key]) => !told.has(key) && key !== "raw");
  return Object.fromEntries(kept.map(([key, inner]) => [key, key === "cause" ? withoutRows(inner) : inner]));
}
