import { type DestinationStream, type Logger, pino } from "pino";

/**
 * What is told of an error. All else that libraries hang on errors may be made of what people wrote: rows and
 * parameters (slonik), details (Postgres), addresses with tickets in them (URL).
 */
const told = new Set([
  ...["type", "message", "stack", "code", "errno", "syscall", "address", "port", "status"],
  ...["severity", "schema", "table", "column", "dataType", "constraint", "routine", "sql", "issues"],
]);

/** The log: named events as lines of JSON. Errors are told whole, but not of which rows they are. */
export function createLog(level: string, destination: DestinationStream): Logger {
  return pino({ level, serializers: { err: describe } }, destination);
}

function describe(error: unknown): unknown {
  return error instanceof Error ? describeError(error) : error;
}

/** An error for those who are to mend it, without anything that people wrote. */
export function describeError(error: Error): Record<string, unknown> {
  const all = Object.entries(pino.stdSerializers.err(error));
  const kept = all.filter(([key]) => told.has(key)).map(([key, value]) => [key, withoutQuotes(value, error)]);
  const errors = error instanceof AggregateError ? { errors: error.errors.map(describe) } : {};
  return { ...Object.fromEntries(kept), ...errors };
}

/** A text that has the messages of an error and its causes in it, without the values that these quote. */
function withoutQuotes(text: unknown, error: unknown): unknown {
  if (typeof text !== "string") return text;
  let bare = text;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { message } = cause;
    if (quotes(cause)) bare = bare.replaceAll(message, () => message.replace(/".*"|'.*'/s, "…"));
  }
  return bare;
}

/** Data exceptions of Postgres (SQLSTATE 22…) and parsers of JSON quote what they could not read. */
function quotes(error: Error): boolean {
  const { code } = error as { code?: unknown };
  return error instanceof SyntaxError || (typeof code === "string" && /^22...$/.test(code));
}
