import { createHmac, createSecretKey, timingSafeEqual } from "node:crypto";
import { TimeSpan } from "oslo";
import { createJWT } from "oslo/jwt";
import { z } from "zod";
import { limits } from "../limits.ts";

const claimsSchema = z.object({ sub: z.uuid(), sid: z.uuid(), exp: z.number() });

type Claims = z.infer<typeof claimsSchema>;

/** Signs and checks access tokens: JWT, HS256, with `sub` (user), `sid` (session) and `exp`. */
export interface Tokens {
  sign(userId: string, sessionId: string): Promise<string>;
  /** Null unless the token is ours, unaltered and not expired. */
  verify(token: string): Promise<{ userId: string; sessionId: string } | null>;
}

export function createTokens(secret: string): Tokens {
  const bytes = new TextEncoder().encode(secret);
  const key = createSecretKey(bytes);
  const known = new Map<string, Claims>();

  // Not by oslo's validateJWT, which goes through WebCrypto and its threads, imports the key anew for each
  // token and takes 0.3 ms; this takes 0.02. What our own key has signed needs no further distrust: its
  // header, too, can only be the one that sign() writes.
  const check = (token: string): Claims | null => {
    const [head = "", payload = "", signature = "", ...more] = token.split(".");
    const expected = createHmac("sha256", key).update(`${head}.${payload}`).digest("base64url");
    if (more.length > 0 || !isEqual(signature, expected)) return null;
    return claimsSchema.safeParse(JSON.parse(Buffer.from(payload, "base64url").toString())).data ?? null;
  };

  return {
    sign: (userId, sessionId) =>
      createJWT(
        "HS256",
        bytes,
        { sid: sessionId },
        {
          subject: userId,
          expiresIn: new TimeSpan(limits.accessTokenSeconds, "s"),
          includeIssuedTimestamp: true,
        },
      ),
    verify: async (token) => {
      const claims = known.get(token) ?? check(token);
      if (!claims || claims.exp * 1000 <= Date.now()) {
        known.delete(token);
        return null;
      }
      // A token comes with each request for a quarter of an hour: only the first time is it computed.
      if (known.size >= limits.tokensKnown && !known.has(token)) known.clear();
      known.set(token, claims);
      return { userId: claims.sub, sessionId: claims.sid };
    },
  };
}

function isEqual(given: string, expected: string): boolean {
  const bytes = Buffer.from(given);
  return bytes.length === expected.length && timingSafeEqual(bytes, Buffer.from(expected));
}
