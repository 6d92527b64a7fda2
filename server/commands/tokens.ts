import { TimeSpan } from "oslo";
import { createJWT, validateJWT } from "oslo/jwt";
import { z } from "zod";
import { limits } from "../limits.ts";

const claimsSchema = z.object({ sub: z.uuid(), sid: z.uuid(), exp: z.number() });

/** Signs and checks access tokens: JWT, HS256, with `sub` (user), `sid` (session) and `exp`. */
export interface Tokens {
  sign(userId: string, sessionId: string): Promise<string>;
  /** Null unless the token is ours, unaltered and not expired. */
  verify(token: string): Promise<{ userId: string; sessionId: string } | null>;
}

export function createTokens(secret: string): Tokens {
  const key = new TextEncoder().encode(secret);
  return {
    sign: (userId, sessionId) =>
      createJWT(
        "HS256",
        key,
        { sid: sessionId },
        {
          subject: userId,
          expiresIn: new TimeSpan(limits.accessTokenSeconds, "s"),
          includeIssuedTimestamp: true,
        },
      ),
    verify: async (token) => {
      // validateJWT throws on everything that is not a valid token of this algorithm and key, parse errors of
      // its JSON included, and lets a token without exp pass: the claims are therefore checked in turn.
      const jwt = await validateJWT("HS256", key, token).catch(() => null);
      const claims = claimsSchema.safeParse(jwt?.payload);
      return claims.success ? { userId: claims.data.sub, sessionId: claims.data.sid } : null;
    },
  };
}
