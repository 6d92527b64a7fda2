import { randomUUID } from "node:crypto";

/** The caller's request id if it sent a sane one, else a new one. */
export function readRequestId(headers: Headers): string {
  const given = headers.get("x-request-id");
  return given !== null && /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
}
