import { inspect } from "node:util";
import { isUnavailable } from "./commands/unavailable.ts";
import { ConfigError } from "./config.ts";

/** What kept a worker from starting, in its own words. */
export class Complaint extends Error {}

/** Ends a program that cannot start. */
export function complain(error: unknown): never {
  console.error(complaintOf(error));
  process.exit(1);
}

/**
 * What the person who starts a program can mend is one line that names the setting; everything else is shown
 * whole.
 */
export function complaintOf(error: unknown): string {
  return messageFor(error) ?? inspect(error);
}

function messageFor(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const { code = "", port, severity } = error as NodeJS.ErrnoException & { port?: number; severity?: string };
  if (error instanceof ConfigError || error instanceof Complaint) return error.message;
  if (code === "EADDRINUSE") return `PORT: ${port} is in use`;
  if (isUnavailable(error)) return `DATABASE_URL: Postgres cannot be reached: ${error.message || code}`;
  if (/CERT|SELF_SIGNED|VERIFY/.test(code)) return `PGSSLMODE: ${error.message}`;
  // What Postgres says of a wrong password, a missing database and the like.
  if (severity === "FATAL") return `DATABASE_URL: ${error.message}`;
  return null;
}
