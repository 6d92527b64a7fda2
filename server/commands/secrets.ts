import { createHash, randomBytes } from "node:crypto";

/**
 * An opaque secret of 256 random bits, to be given out once, and the SHA-256 hash that is stored of it. The
 * look-up by hash needs no constant-time comparison: who can choose the hash knows the secret already.
 */
export function createSecret(): { secret: string; hash: Buffer } {
  const secret = randomBytes(32).toString("base64url");
  return { secret, hash: hashSecret(secret) };
}

export function hashSecret(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}
