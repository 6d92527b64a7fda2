import { deleteBlocksOf } from "../../sql/blocks.ts";
import { type Database, inTransaction, type Pool } from "../../sql/database.ts";
import {
  findLiveSession,
  insertSession,
  insertTicket,
  renewSession,
  revokeOldestSessions,
  revokeOtherSessions,
  revokeSession,
  useRefreshToken,
} from "../../sql/sessions.ts";
import {
  eraseUser,
  findCredentials,
  findMe,
  findPasswordHash,
  holdPassword,
  insertUser,
  leaveDiscussions,
  updateUser,
} from "../../sql/users.ts";
import { fail } from "../errors.ts";
import { limits } from "../limits.ts";
import type { Passwords } from "./passwords.ts";
import type { Removals } from "./removals.ts";
import { createSecret, hashSecret } from "./secrets.ts";
import type { Tokens } from "./tokens.ts";

/** What the commands on accounts work with. */
export interface AccountParts {
  pool: Pool;
  passwords: Passwords;
  tokens: Tokens;
  removals: Removals;
}

/** A fresh sign-in. `user` is JSON text; `cookie` the secret for the session cookie, if one was asked for. */
export interface SignIn {
  user: string;
  accessToken: string;
  refreshToken: string;
  cookie: string | null;
}

interface Client {
  userAgent: string;
  cookie: boolean;
}

/** Throws username_taken or email_taken (as constraint violations), overloaded. */
export async function register(
  parts: AccountParts,
  account: { username: string; password: string; email: string | null; display_name: string },
  client: Client,
): Promise<SignIn> {
  const passwordHash = await parts.passwords.hash(account.password);
  return inTransaction(parts.pool, async (transaction) => {
    const userId = await insertUser(transaction, { ...account, password_hash: passwordHash });
    return beginSession(parts, transaction, userId, client);
  });
}

/**
 * Throws invalid_credentials, for an unknown user as for a wrong password and after the same work;
 * overloaded.
 */
export async function login(
  parts: AccountParts,
  credentials: { username: string; password: string },
  client: Client,
): Promise<SignIn> {
  const user = await findCredentials(parts.pool, credentials.username);
  const matches = await parts.passwords.verify(user?.password_hash ?? null, credentials.password);
  const signIn =
    user && matches
      ? await inTransaction(parts.pool, async (transaction) => {
          // The password may have been changed while it was being checked.
          if (!(await holdPassword(transaction, user.id, user.password_hash))) return null;
          return beginSession(parts, transaction, user.id, client);
        })
      : null;
  return signIn ?? fail("invalid_credentials", "Wrong username, e-mail address or password");
}

/** What an account is counted by, however it was named: its id; a name of nobody is its own. */
export async function accountName(parts: AccountParts, username: string): Promise<string> {
  return (await findCredentials(parts.pool, username))?.id ?? username.toLowerCase();
}

/** Ends one of a user's sessions; false if there is no such live one. */
export async function endSession(parts: AccountParts, sessionId: string, userId: string): Promise<boolean> {
  return revokeSession(parts.pool, sessionId, userId);
}

/**
 * Exchanges a refresh token for the next one. A token that was used before is in two hands: the whole session
 * ends. Throws invalid_refresh_token, refresh_token_reused, session_revoked.
 */
export async function refresh(parts: AccountParts, refreshToken: string) {
  const next = createSecret();
  const token = await inTransaction(parts.pool, async (transaction) => {
    const used = await useRefreshToken(transaction, hashSecret(refreshToken));
    if (used?.used_before) await revokeSession(transaction, used.session_id, used.user_id);
    else if (used?.live) await renewSession(transaction, used.session_id, next.hash, limits.sessionDays);
    return used;
  });
  if (!token) return fail("invalid_refresh_token");
  if (token.used_before)
    return fail("refresh_token_reused", "This token was used before; the session has been ended");
  if (!token.live) return fail("session_revoked");
  return {
    accessToken: await parts.tokens.sign(token.user_id, token.session_id),
    refreshToken: next.secret,
  };
}

/** A single-use secret that opens one stream, for clients that cannot set headers on it. */
export async function createTicket(db: Database, sessionId: string): Promise<string> {
  const ticket = createSecret();
  await insertTicket(db, {
    session_id: sessionId,
    ticket_hash: ticket.hash,
    seconds: limits.ticketSeconds,
    most: limits.ticketsPerSession,
  });
  return ticket.secret;
}

export interface MeChanges {
  display_name?: string | undefined;
  email?: string | null | undefined;
  status_text?: string | undefined;
  password?: string | undefined;
  current_password?: string | undefined;
}

/**
 * Changes one's own account; a new password ends the other sessions. Throws invalid_credentials, email_taken,
 * session_revoked.
 */
export async function updateMe(
  parts: AccountParts,
  session: { user_id: string; session_id: string },
  changes: MeChanges,
): Promise<string> {
  const hashes = await changedPassword(parts, session.user_id, changes);
  return inTransaction(parts.pool, async (transaction) => {
    // Only while the password is the one that was checked, and the session was not ended meanwhile.
    const changed = await updateUser(transaction, session.user_id, { ...changes, ...hashes });
    if (!changed) return fail("invalid_credentials", "The current password is wrong");
    const live = await findLiveSession(transaction, session.session_id, session.user_id);
    if (!live) return fail("session_revoked");
    if (hashes) await revokeOtherSessions(transaction, session.session_id, session.user_id);
    return findMe(transaction, session.user_id);
  });
}

/**
 * Erases one's own account and ends all its sessions; messages stay, by "Deleted user". Throws
 * invalid_credentials, overloaded.
 */
export async function eraseMe(parts: AccountParts, userId: string, password: string): Promise<void> {
  const current = await findPasswordHash(parts.pool, userId);
  const matches = await parts.passwords.verify(current, password);
  if (!matches || current === null) return fail("invalid_credentials", "The password is wrong");
  // Somebody may add the user to a group at the last moment, but not for ever.
  for (let attempt = 0; attempt < 5; attempt++) {
    await leaveAll(parts.pool, userId);
    parts.removals.begin();
    const outcome = await inTransaction(parts.pool, (db) => eraseUser(db, userId, current));
    if (outcome === "wrong") fail("invalid_credentials", "The password is wrong");
    if (outcome === "erased") return deleteBlocksOf(parts.pool, userId);
  }
  fail("overloaded", "Others keep adding you to groups; try again");
}

async function leaveAll(pool: Pool, userId: string): Promise<void> {
  const most = limits.leavingAtOnce;
  while ((await inTransaction(pool, (db) => leaveDiscussions(db, userId, most))) === most);
}

async function changedPassword(parts: AccountParts, userId: string, changes: MeChanges) {
  if (changes.password === undefined) return undefined;
  const current = await findPasswordHash(parts.pool, userId);
  const matches = await parts.passwords.verify(current, changes.current_password ?? "");
  if (!matches || current === null) return fail("invalid_credentials", "The current password is wrong");
  return { current_hash: current, password_hash: await parts.passwords.hash(changes.password) };
}

async function beginSession(
  parts: AccountParts,
  db: Database,
  userId: string,
  client: Client,
): Promise<SignIn> {
  const refreshToken = createSecret();
  const cookie = client.cookie ? createSecret() : null;
  const sessionId = await insertSession(db, {
    user_id: userId,
    refresh_hash: refreshToken.hash,
    cookie_hash: cookie?.hash ?? null,
    user_agent: client.userAgent,
    days: limits.sessionDays,
  });
  await revokeOldestSessions(db, userId, limits.sessionsPerUser);
  return {
    user: await findMe(db, userId),
    accessToken: await parts.tokens.sign(userId, sessionId),
    refreshToken: refreshToken.secret,
    cookie: cookie?.secret ?? null,
  };
}
