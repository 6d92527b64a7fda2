/** What can go wrong, in one table: code → HTTP status and title. Codes are stable and public. */
export const errors = {
  invalid_request: [400, "Invalid request"],
  unauthenticated: [401, "Not authenticated"],
  invalid_credentials: [401, "Invalid credentials"],
  invalid_refresh_token: [401, "Invalid refresh token"],
  refresh_token_reused: [401, "Refresh token reused"],
  session_revoked: [401, "Session revoked"],
  forbidden: [403, "Forbidden"],
  origin_not_allowed: [403, "Origin not allowed"],
  not_a_member: [403, "Not a member"],
  blocked: [403, "Blocked"],
  not_found: [404, "Not found"],
  user_not_found: [404, "User not found"],
  session_not_found: [404, "Session not found"],
  discussion_not_found: [404, "Discussion not found"],
  member_not_found: [404, "Member not found"],
  message_not_found: [404, "Message not found"],
  reply_not_found: [404, "Replied message not found"],
  attachment_not_found: [404, "Attachment not found"],
  method_not_allowed: [405, "Method not allowed"],
  request_timeout: [408, "Request timeout"],
  username_taken: [409, "Username taken"],
  email_taken: [409, "E-mail address taken"],
  direct_discussion: [409, "Direct discussion"],
  last_owner: [409, "Last owner"],
  client_id_reused: [409, "Client id reused"],
  message_deleted: [409, "Message deleted"],
  too_many_members: [409, "Too many members"],
  too_many_reactions: [409, "Too many reactions"],
  too_many_attachments: [409, "Too many unsent attachments"],
  payload_too_large: [413, "Payload too large"],
  unsupported_media_type: [415, "Unsupported media type"],
  range_not_satisfiable: [416, "Range not satisfiable"],
  upgrade_required: [426, "Upgrade required"],
  rate_limited: [429, "Too many requests"],
  headers_too_large: [431, "Request header fields too large"],
  internal_error: [500, "Internal error"],
  unavailable: [503, "Temporarily unavailable"],
  overloaded: [503, "Overloaded"],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type ErrorCode = keyof typeof errors;

/** Where in the input something is wrong, as zod names it: `member_ids.0`. */
export interface FieldError {
  path: string;
  message: string;
}

/**
 * A refusal that its caller is told of. Everything else that is thrown is our mistake and shown as a bare
 * 500.
 */
export class Failure extends Error {
  readonly code: ErrorCode;
  readonly fields: FieldError[] | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: ErrorCode,
    detail?: string,
    more: {
      fields?: FieldError[];
      retryAfterSeconds?: number;
      headers?: Record<string, string>;
      /** What only the log is told. */
      cause?: Error;
    } = {},
  ) {
    super(detail ?? errors[code][1], { cause: more.cause });
    this.code = code;
    this.fields = more.fields;
    this.retryAfterSeconds = more.retryAfterSeconds;
    this.headers = more.headers ?? {};
  }
}

/** Throws a Failure. */
export function fail(code: ErrorCode, detail?: string): never {
  throw new Failure(code, detail);
}

/** What a violated constraint means to the caller. */
export const constraintCodes: Readonly<Record<string, ErrorCode>> = {
  users_username_key: "username_taken",
  users_email_key: "email_taken",
  members_user_id_fkey: "user_not_found",
  discussions_not_blocked: "blocked",
  members_discussion_id_fkey: "discussion_not_found",
};

/** Why a stream ends, with the code of the WebSocket close frame and of the SSE `closed` event. */
export const closings = {
  restarting: 1012,
  too_slow: 4000,
  session_expired: 4001,
  rate_limited: 4002,
  bad_frame: 4500,
  session_revoked: 4502,
  not_a_member: 4503,
} as const;

export type Closing = keyof typeof closings;
