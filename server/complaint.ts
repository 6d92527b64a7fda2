import { inspect } from "node:util";
import { BusyError } from "../sql/migrate.ts";
import { isUnavailable } from "./commands/unavailable.ts";
import { ConfigError } from "./config.ts";
import { describeError } from "./log.ts";

/** What kept a program from starting, in its own words. */
export class Complaint extends Error {}

/** Ends a program that cannot start. */
export function complain(error: unknown): never {
  console.error(complaintOf(error));
  process.exit(1);
}

/**
 * What the person who starts a program can mend is one line that names the setting; of everything else
 * all is shown but what people wrote.
 */
export function complaintOf(error: unknown): string {
  return messageFor(error) ?? wholeOf(error);
}

/** Whatever the person can mend of what fails here is told of this setting, by which it connects. */
export async function blaming<T>(setting: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const message = messageFor(error, setting);
    throw message === null ? error : new Complaint(message, { cause: error });
  }
}

/**
 * Node would show an error that nobody handled with all that hangs on it, such as the parameters of a
 * statement.
 */
export function endOnMistakes(): void {
  process.on("uncaughtException", (error) => {
    console.error(wholeOf(error));
    process.exit(1);
  });
}

function wholeOf(error: unknown): string {
  if (!(error instanceof Error)) return inspect(error);
  const { stack, ...rest } = describeError(error);
  return `${stack} ${inspect(rest)}`;
}

function messageFor(error: unknown, setting = "DATABASE_URL"): string | null {
  if (!(error instanceof Error)) return null;
  const { code = "", port, severity } = error as NodeJS.ErrnoException & { port?: number; severity?: string };
  if (error instanceof ConfigError || error instanceof Complaint) return error.message;
  if (error instanceof BusyError) return `${setting}: ${error.message}`;
  if (code === "EADDRINUSE") return `PORT: ${port} is in use`;
  if (isUnavailable(error)) return `${setting}: Postgres cannot be reached: ${error.message || code}`;
  if (/CERT|SELF_SIGNED|VERIFY/.test(code)) return `PGSSLMODE: ${error.message}`;
  if (code === "42501") return `${setting}: ${error.message}; see docs/database-role.md`;
  // What Postgres says of a wrong password, a missing database and the like.
  if (severity === "FATAL") return `${setting}: ${error.message}`;
  return null;
}
