/** What can be wrong, each with a word of its own. */
export type Fault =
  | "unstored" // acknowledged, and not there
  | "stored twice"
  | "unasked" // stored, and nobody has ever sent it
  | "untold" // stored, but the log does not tell of it, or more than once
  | "disordered" // a writer's messages are stored in another order than they were sent
  | "hole" // seq or positions are not 1, 2, 3 …
  | "lost"
  | "doubled"
  | "swapped" // the order fell
  | "ghost" // heard, and never stored
  | "forbidden" // heard by somebody who may not see it
  | "altered" // heard with a text or a place that it never had, or had no more
  | "reset" // a reset for which there is no reason
  | "unspoken"; // something that the contract does not know

export interface Violation {
  fault: Fault;
  detail: string;
}

/** What a plan lets happen. */
export interface Allowance {
  /** Reasons for which streams may be reset; each reset has to be well founded all the same. */
  resets: readonly string[];
}

const mostDescribed = 40;

/** Violations in words, one a line; of very many the first. */
export function describeViolations(violations: readonly Violation[]): string {
  const lines = violations.slice(0, mostDescribed).map(({ fault, detail }) => `${fault}: ${detail}`);
  const more = violations.length - lines.length;
  return [...lines, ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
}
