import { HTTPError, HTTPResponse } from "h3";
import type { Logger } from "pino";
import type { z } from "zod";
import { isUnavailable } from "../commands/unavailable.ts";
import { constraintCodes, type ErrorCode, errors, Failure, type FieldError } from "../errors.ts";
import { limits } from "../limits.ts";

/** What h3 itself refuses, in our words. */
const httpCodes: Readonly<Record<number, ErrorCode>> = {
  400: "invalid_request",
  404: "not_found",
  405: "method_not_allowed",
  413: "payload_too_large",
  415: "unsupported_media_type",
};

/**
 * Makes a Failure of whatever was thrown. Our refusals pass; constraint violations and an absent Postgres get
 * their codes; everything else is our mistake: logged (log.ts), shown bare.
 */
export function toFailure(error: unknown, log: Logger): Failure {
  if (error instanceof Failure) {
    if (error.cause) log.warn({ err: error.cause }, error.message);
    return error;
  }
  if (HTTPError.isError(error) && !error.unhandled) {
    const code = httpCodes[error.status];
    if (code) return new Failure(code, error.message || undefined);
  }
  const code = constraintCode(error);
  if (code) return new Failure(code);
  if (isUnavailable(error)) {
    log.warn({ err: error }, "database unavailable");
    return new Failure("unavailable", "The database cannot be reached; try again", {
      retryAfterSeconds: limits.retryAfterSeconds,
    });
  }
  log.error({ err: error }, "unexpected error");
  return new Failure("internal_error", "Something went wrong here");
}

/** RFC 9457. */
export function problemResponse(failure: Failure, requestId: string): HTTPResponse {
  const { body, ...init } = problemOf(failure, requestId);
  return new HTTPResponse(body, init);
}

/** The same where no route finishes the answer, and its connection ends with it. */
export function finalProblem(failure: Failure, requestId: string) {
  const { status, headers, body } = problemOf(failure, requestId);
  const more = {
    "x-request-id": requestId,
    "x-content-type-options": "nosniff",
    connection: "close",
    "content-length": `${Buffer.byteLength(body)}`,
  };
  return { status, headers: { ...headers, ...more }, body };
}

function problemOf(failure: Failure, requestId: string) {
  const [status, title] = errors[failure.code];
  const body = JSON.stringify({
    type: "about:blank",
    title,
    status,
    code: failure.code,
    detail: failure.message,
    request_id: requestId,
    ...(failure.fields && { errors: failure.fields }),
    ...(failure.retryAfterSeconds && { retry_after: failure.retryAfterSeconds }),
  });
  const headers: Record<string, string> = {
    "content-type": "application/problem+json; charset=utf-8",
    // What was not found may be there the next moment, and proxies keep some of these statuses unasked.
    "cache-control": "no-store",
    ...(failure.retryAfterSeconds && { "retry-after": `${failure.retryAfterSeconds}` }),
    ...(status === 401 && { "www-authenticate": "Bearer" }),
    ...failure.headers,
  };
  return { status, headers, body };
}

/** Parses, or throws invalid_request with a line for each thing that is wrong. */
export function parse<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const fields = result.error.issues.flatMap(fieldErrors).slice(0, limits.mistakesTold);
  const first = fields[0];
  const detail = first ? `${first.path ? `${first.path}: ` : ""}${first.message}` : undefined;
  throw new Failure("invalid_request", detail, { fields });
}

/** An issue as the contract tells it; each unknown field is named by its own path. */
function fieldErrors(issue: z.core.$ZodIssue): FieldError[] {
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") return [{ path: pathOf(path), message: issue.message }];
  return issue.keys
    .slice(0, limits.mistakesTold)
    .map((key) => ({ path: pathOf([...path, key]), message: "is not a known field" }));
}

/** Unknown fields are named by who sent them, and may be as long as a body. */
function pathOf(path: readonly string[]): string {
  return path.join(".").slice(0, limits.pathCharacters).toWellFormed();
}

function constraintCode(error: unknown): ErrorCode | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { constraint } = cause as { constraint?: unknown };
    if (typeof constraint === "string" && constraintCodes[constraint]) return constraintCodes[constraint];
  }
  return undefined;
}
