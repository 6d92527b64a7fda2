import { createHmac } from "node:crypto";
import type { Json } from "../support/client.ts";
import { testSecret } from "../support/server.ts";

/** Tokens made by hand. */

export function encodePart(part: unknown): string {
  return Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
}

/** The claims of a token, without asking whether they are true. */
export function claimsOf(token: string): Json {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
}

/** A token with any header and claims (objects, or text as it is), signed by a key with a hash. */
export function forge(
  header: unknown,
  claims: unknown,
  key: string | Buffer = testSecret,
  hash = "sha256",
): string {
  const signed = `${encodePart(header)}.${encodePart(claims)}`;
  return `${signed}.${createHmac(hash, key).update(signed).digest("base64url")}`;
}

export const head = { alg: "HS256", typ: "JWT" };

/** The same token as of some seconds before. */
export function aged(token: string, seconds: number): string {
  const { iat, exp, ...rest } = claimsOf(token);
  return forge(head, { ...rest, iat: iat - seconds, exp: exp - seconds });
}
