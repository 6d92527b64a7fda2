import { BackendTerminatedError, BackendTerminatedUnexpectedlyError, ConnectionError } from "slonik";

/**
 * SQLSTATEs that mean "not now": connection trouble, shutdown, start-up, no disk, memory or connections
 * left, a disk that fails, our own time-outs of statements and locks, and what gave way to others (40001, and
 * 40P01 of a deadlock).
 */
const sqlStates = /^(08...|40001|40P01|53...|57P0[123]|57014|55P03|58(000|030|P01))$/;
const systemCodes = new Set([
  "EADDRNOTAVAIL",
  "EAI_AGAIN",
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EMFILE",
  "ENETDOWN",
  "ENETUNREACH",
  "ENFILE",
  "ENOENT",
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
]);

/** Whether an error says that Postgres cannot be reached now, rather than that it refused what was asked. */
export function isUnavailable(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (
      cause instanceof ConnectionError ||
      cause instanceof BackendTerminatedError ||
      cause instanceof BackendTerminatedUnexpectedlyError
    ) {
      return true;
    }
    const code = (cause as NodeJS.ErrnoException).code;
    if (typeof code === "string" && (sqlStates.test(code) || systemCodes.has(code))) return true;
    if (/connection terminated|timeout expired|no answer within/i.test(cause.message)) return true;
  }
  return false;
}
