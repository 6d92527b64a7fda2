// The public HTTP API as this page uses it. The session is a cookie that scripts cannot read, so no token is
// kept here.

const TIMEOUT_MS = 15_000;

/**
 * A refused or failed request. `status` is 0 when no answer came; only then, and for 429 and 5xx, is it
 * worth a retry.
 */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(explain(body));
    this.status = status;
    this.code = body.code ?? "unknown";
    this.retryAfterMs = (body.retry_after ?? 0) * 1000;
  }

  get temporary() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** For invalid fields `errors` says all that `detail` says, and more. */
function explain({ title, detail, errors = [] }) {
  const fields = errors.map(({ path, message }) => (path ? `${path}: ${message}` : message));
  return fields.join("; ") || detail || title || "Something went wrong.";
}

async function request(method, path, body) {
  const response = await exchange(method, path, body);
  const text = await response.text().catch(() => "");
  const json = parse(text);
  if (!response.ok)
    throw new Problem(response.status, json ?? { title: `The server answered ${response.status}.` });
  return json;
}

async function exchange(method, path, body) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  try {
    return await fetch(`/api/v1${path}`, {
      method,
      headers: { accept: "application/json", ...json },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Problem(0, {
      code: "unreachable",
      title: "The server cannot be reached.",
    });
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function withQuery(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  return given.length > 0 ? `${path}?${new URLSearchParams(given)}` : path;
}

export const logIn = (username, password) =>
  request("POST", "/auth/login", { username, password, cookie: true });
export const register = (fields) => request("POST", "/auth/register", { ...fields, cookie: true });
export const logOut = () => request("POST", "/auth/logout");

export const me = () => request("GET", "/users/me");
export const user = (id) => request("GET", `/users/${id}`);
export const users = (query, limit = 50) => request("GET", withQuery("/users", { query, limit }));

export const discussions = (cursor) => request("GET", withQuery("/discussions", { limit: 100, cursor }));
export const publicGroups = (query) =>
  request("GET", withQuery("/discussions", { visibility: "public", query, limit: 50 }));
export const discussion = (id) => request("GET", `/discussions/${id}`);
export const createDiscussion = (fields) => request("POST", "/discussions", fields);
export const deleteDiscussion = (id) => request("DELETE", `/discussions/${id}`);
export const join = (id) => request("POST", `/discussions/${id}/join`);
export const addMembers = (id, userIds) =>
  request("POST", `/discussions/${id}/members`, { user_ids: userIds });
export const removeMember = (id, userId) => request("DELETE", `/discussions/${id}/members/${userId}`);
export const markRead = (id, seq) => request("PUT", `/discussions/${id}/read`, { seq });

export const messages = (id, before) =>
  request("GET", withQuery(`/discussions/${id}/messages`, { before, limit: 50 }));
export const sendMessage = (id, content, clientId) =>
  request("POST", `/discussions/${id}/messages`, {
    content,
    client_id: clientId,
  });
