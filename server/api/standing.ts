import type { Standing } from "../../sql/members.ts";
import { fail } from "../errors.ts";

/**
 * Lets members pass. Throws discussion_not_found where there is nothing to see, and not_a_member to somebody
 * who sees a public group without having joined it.
 */
export function requireMembership(standing: Standing | null): void {
  if (standing === null) fail("discussion_not_found");
  if (standing === "visitor") fail("not_a_member");
}
