/** Compares what a release's statements rely on with what a database offers. */

const advice = {
  function: `Leave it as it is, also the names of its parameters. What needs others is a new function under a
    new name; the old one goes by a migration of a later release.`,
  type: "Leave it as it is: statements make rows of it. Other fields are a new type under a new name.",
  view: "It may get more fields at its end, and lose none.",
  column: "Leave it: it goes, or changes, by a migration of a later release.",
  rule: `Errors and ON CONFLICT go by the names and rules of tables. If servers of the release obey the new
    rule, add its line to \`obeyed\` in interface.test.ts.`,
  row: "Statements of that release make whole rows of this table: a new column breaks them.",
  needed: "The old release inserts rows without it: give it a default, or let it be null.",
} as const;

/** Tables of which statements of the release make whole rows, field by field. */
const wholeRows = new Set(["message_edits", "search_documents"]);

/** A line for each thing that would fail in a server of the release; see docs/upgrading.md. */
export function findBreaks(
  record: readonly string[],
  now: readonly string[],
  obeyed: ReadonlySet<string> = new Set(),
): string[] {
  const known = new Set(record);
  const there = new Set(now);
  const tables = new Set(record.flatMap((line) => /^column (\w+)\./.exec(line)?.[1] ?? []));
  const breaks: string[] = [];
  const tell = (line: string, kind: keyof typeof advice) => breaks.push(`${line}\n    ${advice[kind]}`);
  for (const line of record) {
    if (there.has(line) || hasGrown(line, now) || obeyed.has(line)) continue;
    tell(`is gone, or another: ${line}`, /^\w+/.exec(line)?.[0] as keyof typeof advice);
  }
  for (const line of now) {
    const [, table = "", column] = /^(?:column|rule of) (\w+)(?:\.(\w+))?/.exec(line) ?? [];
    if (known.has(line) || !tables.has(table) || obeyed.has(line)) continue;
    const isNew = column !== undefined && !record.some((old) => old.startsWith(`column ${table}.${column} `));
    if (column === undefined) tell(`is new: ${line}`, "rule");
    else if (isNew && wholeRows.has(table)) tell(`is new: ${line}`, "row");
    else if (isNew && line.endsWith(" needed")) tell(`is new: ${line}`, "needed");
  }
  return breaks;
}

/** A view with more fields at its end; a column that may now be left out. */
function hasGrown(line: string, now: readonly string[]): boolean {
  if (line.startsWith("view ")) return now.some((other) => other.startsWith(`${line.slice(0, -1)}, `));
  return line.endsWith(" needed") && now.includes(line.replace(/needed$/, "filled"));
}
