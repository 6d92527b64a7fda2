import { Argon2id } from "oslo/password";
import { limits } from "../limits.ts";
import { createLine } from "../line.ts";

/** Hashes and checks passwords; see createPasswords(). */
export interface Passwords {
  hash(password: string): Promise<string>;
  /** False also for a user that does not exist (`hash` null), after the same work. */
  verify(hash: string | null, password: string): Promise<boolean>;
}

/**
 * Argon2id with OWASP's parameters (19 MiB, 2 passes; oslo's defaults), on the thread pool. Each hash keeps a
 * core busy for tens of milliseconds: at most `atOnce`, the number of cores, run together, the rest wait in a
 * bounded line.
 */
export async function createPasswords(atOnce: number): Promise<Passwords> {
  const argon2id = new Argon2id();
  const inTurn = createLine(atOnce, limits.hashesWaiting);
  const nobody = await argon2id.hash("the password of nobody");
  return {
    hash: (password) => inTurn(() => argon2id.hash(password)),
    verify: (hash, password) =>
      inTurn(async () => {
        const matches = await argon2id.verify(hash ?? nobody, password);
        return matches && hash !== null;
      }),
  };
}
