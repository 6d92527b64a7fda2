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
  const json = body === undefined ? {} : { "content-type": "application/json" };
  return exchange(method, path, body === undefined ? {} : { body: JSON.stringify(body), headers: json });
}

async function exchange(method, path, { body, headers }) {
  const response = await ask(method, path, { body, headers });
  const text = await response.text().catch(() => "");
  const json = parse(text);
  if (!response.ok)
    throw new Problem(response.status, json ?? { title: `The server answered ${response.status}.` });
  return json;
}

async function ask(method, path, { body = null, headers = {} }) {
  try {
    return await fetch(`/api/v1${path}`, {
      method,
      headers: { accept: "application/json", ...headers },
      body,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw unreachable();
  }
}

function unreachable() {
  return new Problem(0, { code: "unreachable", title: "The server cannot be reached." });
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
export const updateMe = (fields) => request("PATCH", "/users/me", fields);
export const eraseMe = (password) => request("DELETE", "/users/me", { password });
export const putAvatar = (file) =>
  exchange("PUT", "/users/me/avatar", { body: file, headers: { "content-type": file.type } });
export const removeAvatar = () => request("DELETE", "/users/me/avatar");
export const user = (id) => request("GET", `/users/${id}`);
export const users = (query, limit = 50) => request("GET", withQuery("/users", { query, limit }));
export const blocks = () => request("GET", "/users/me/blocks?limit=200");
export const block = (id, present) => request(present ? "PUT" : "DELETE", `/users/${id}/block`);

export const discussions = (cursor) => request("GET", withQuery("/discussions", { limit: 100, cursor }));
export const publicGroups = (query) =>
  request("GET", withQuery("/discussions", { visibility: "public", query, limit: 50 }));
export const discussion = (id) => request("GET", `/discussions/${id}`);
export const createDiscussion = (fields) => request("POST", "/discussions", fields);
export const updateDiscussion = (id, fields) => request("PATCH", `/discussions/${id}`, fields);
export const deleteDiscussion = (id) => request("DELETE", `/discussions/${id}`);
export const join = (id) => request("POST", `/discussions/${id}/join`);
export const addMembers = (id, userIds) =>
  request("POST", `/discussions/${id}/members`, { user_ids: userIds });
export const setRole = (id, userId, role) =>
  request("PATCH", `/discussions/${id}/members/${userId}`, { role });
export const removeMember = (id, userId) => request("DELETE", `/discussions/${id}/members/${userId}`);
export const markRead = (id, seq) => request("PUT", `/discussions/${id}/read`, { seq });
export const mute = (id, until) => request("PUT", `/discussions/${id}/mute`, { until });
export const typing = (id) => request("POST", `/discussions/${id}/typing`);
export const presence = (id) => request("GET", `/discussions/${id}/presence`);

/** `where`: { before, after or around: seq }, or nothing for the newest. */
export const messages = (id, where = {}) =>
  request("GET", withQuery(`/discussions/${id}/messages`, { limit: 50, ...where }));
/** Just that one. */
export const message = async (id, seq) => (await messages(id, { around: seq, limit: 1 })).items[0];
/** `fields`: { content, client_id, reply_to_seq, attachment_ids } */
export const sendMessage = (id, fields) => request("POST", `/discussions/${id}/messages`, fields);
export const editMessage = (id, seq, content) =>
  request("PATCH", `/discussions/${id}/messages/${seq}`, { content });
export const deleteMessage = (id, seq) => request("DELETE", `/discussions/${id}/messages/${seq}`);
export const edits = (id, seq) => request("GET", `/discussions/${id}/messages/${seq}/edits?limit=200`);
export const react = (id, seq, emoji, present) =>
  request(
    present ? "PUT" : "DELETE",
    `/discussions/${id}/messages/${seq}/reactions/${encodeURIComponent(emoji)}`,
  );
export const search = (query, cursor) =>
  request("GET", withQuery("/search", { q: query, limit: 20, cursor }));

/**
 * Uploads a file; `progress` hears of the share that is sent, 0 to 1. By XMLHttpRequest, as fetch() does not
 * tell. No time limit: large files and slow lines go together.
 */
export function upload(file, { progress, signal }) {
  const { promise, resolve, reject } = Promise.withResolvers();
  const form = new FormData();
  form.append("file", file, file.name);
  const exchange = new XMLHttpRequest();
  exchange.open("POST", "/api/v1/attachments");
  exchange.setRequestHeader("accept", "application/json");
  exchange.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded / total));
  exchange.addEventListener("load", () => {
    const json = parse(exchange.responseText);
    if (exchange.status < 300 && json) resolve(json);
    else reject(new Problem(exchange.status, json ?? { title: `The server answered ${exchange.status}.` }));
  });
  exchange.addEventListener("error", () => reject(unreachable()));
  exchange.addEventListener("abort", () => reject(unreachable()));
  signal.addEventListener("abort", () => exchange.abort());
  exchange.send(form);
  return promise;
}
