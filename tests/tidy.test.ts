import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";

// What goes wrong in good code bases is the tail: one file where everything new goes. Hence ceilings.
const ceilings = { fileLines: 300, testFileLines: 500, functionLines: 70, columns: 110 };

/** Who may import from where; a folder may always import from itself. */
const mayImport: Record<string, string[]> = {
  sql: [],
  "server/storage": ["sql", "server"],
  "server/commands": ["sql", "server", "server/storage"],
  "server/delivery": ["sql/log.ts", "sql/presence.ts", "sql/database.ts", "server"],
  "server/api": ["sql", "server/commands", "server/delivery", "server"],
  server: ["sql", "server/api", "server/commands", "server/delivery", "server/storage"],
  scripts: ["sql", "server", "tests"],
};

const root = fileURLToPath(new URL("..", import.meta.url));
const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: root,
  encoding: "utf8",
});
const files = tracked
  .split("\n")
  .filter((file) => /\.(ts|js|sql|css)$/.test(file) && file !== "sql/schema.sql")
  .map((path) => ({ path, lines: readFileSync(join(root, path), "utf8").trimEnd().split("\n") }));

test("files stay within their ceilings", () => {
  assert.ok(files.length > 50, "the list of files is not empty");
  const ceiling = (path: string) => (path.startsWith("tests/") ? ceilings.testFileLines : ceilings.fileLines);
  const over = files.filter(({ path, lines }) => lines.length > ceiling(path));
  assertNone(over.map(({ path, lines }) => `${path}: ${lines.length} lines`));
});

test("lines stay within 110 columns", () => {
  const over = files.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) =>
      line.length > ceilings.columns ? [`${path}:${index + 1}: ${line.length}`] : [],
    ),
  );
  assertNone(over);
});

test("functions stay within 70 lines", () => {
  const over = files
    .filter(({ path }) => /\.(ts|js)$/.test(path) && !path.startsWith("tests/"))
    .flatMap(({ path, lines }) => functionLengths(lines).map((length) => ({ path, ...length })))
    .filter(({ length }) => length > ceilings.functionLines);
  assertNone(over.map(({ path, line, length }) => `${path}:${line}: ${length} lines`));
});

test("the ceiling for functions notices a long one", () => {
  const long = ["function f() {", ...Array(80).fill("  g();"), "}"];
  assert.deepEqual(functionLengths(long), [{ line: 1, length: 82 }]);
});

test("folders import only what the architecture lets them", () => {
  const wrong = files.flatMap(({ path, lines }) => {
    const from = folderOf(path);
    if (!from) return [];
    return importsOf(path, lines)
      .filter((target) => !isAllowed(from, target))
      .map((target) => `${path} imports ${target}`);
  });
  assertNone(wrong);
});

test("only config.ts reads the environment", () => {
  const readers = files
    .filter(({ path }) => path.startsWith("server/") || path.startsWith("sql/"))
    .filter(({ path }) => !/server\/(config|main|embedded.*)\.ts$/.test(path))
    .filter(({ lines }) => lines.some((line) => line.includes("process.env")));
  assertNone(readers.map(({ path }) => path));
});

test("no import cycles", () => {
  const graph = new Map(files.map(({ path, lines }) => [path, importsOf(path, lines)]));
  const done = new Set<string>();
  const visit = (path: string, above: string[]): void => {
    assert.ok(!above.includes(path), `cycle: ${[...above, path].join(" → ")}`);
    if (done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...above, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

function assertNone(offences: string[]): void {
  assert.equal(offences.join("\n"), "");
}

/** Lengths of functions, in code that a formatter has laid out: the end stands at the indent of the start. */
function functionLengths(lines: string[]): { line: number; length: number }[] {
  return lines.flatMap((text, index) => {
    const start = /^(\s*)(?!.*\b(if|for|while|switch|catch)\b \().*(\bfunction\b.*|\)(: [^=]+)?|=>) \{$/.exec(
      text,
    );
    if (!start || start[1] === undefined) return [];
    const indent = start[1];
    const end = lines.findIndex((line, at) => at > index && line.startsWith(`${indent}}`));
    return end === -1 ? [] : [{ line: index + 1, length: end - index + 1 }];
  });
}

/** Our own modules that a file imports, other than types. */
function importsOf(path: string, lines: string[]): string[] {
  const text = lines.join("\n");
  return [...text.matchAll(/^(?:import|export)\b(?! type)[^;]*?from "(\.[^"]+)"/gm)].map((match) =>
    normalize(join(dirname(path), match[1] ?? "")),
  );
}

function folderOf(path: string): string | undefined {
  return Object.keys(mayImport)
    .sort((a, b) => b.length - a.length)
    .find((folder) => path.startsWith(`${folder}/`));
}

function isAllowed(from: string, target: string): boolean {
  if (folderOf(target) === from) return true;
  return (mayImport[from] ?? []).some((allowed) =>
    allowed.endsWith(".ts")
      ? target === allowed
      : folderOf(target) === allowed || target.startsWith(`${allowed}/support`),
  );
}

test.run();
