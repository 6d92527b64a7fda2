import assert from "node:assert/strict";
import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import { faults } from "../scripts/torture/faults.ts";

const root = join(import.meta.dirname, "..");
const claim = /^- `(tests\/[^`]+)`: (.+)$/;

/** What the document promises: paragraphs that begin in bold, with the lists that follow them. */
async function readPromises(): Promise<{ promise: string; lines: string[] }[]> {
  const [text = ""] = (await readFile(join(root, "docs/guarantees.md"), "utf8")).split("## What is not");
  return [...text.matchAll(/^\*\*([^*]+)\*\*([\s\S]*?)(?=^\*\*|^## |$(?![\s\S]))/gm)].map(
    ([, promise = "", rest = ""]) => ({
      promise: promise.replaceAll("\n", " "),
      lines: rest.split("\n").filter((line) => line.startsWith("- ")),
    }),
  );
}

test("every promise is shown by tests that exist", async () => {
  const promises = await readPromises();
  assert.ok(promises.length > 15, "the document was read");
  for (const { promise, lines } of promises) {
    assert.ok(lines.length > 0, `nothing shows "${promise}"`);
    for (const line of lines) {
      const [, file = "", name = ""] = claim.exec(line) ?? [];
      assert.ok(file, `no file and name of a test: ${line}`);
      assert.ok(name.length >= 12, `${file}: "${name}" is no name of a test`);
      const source = await readFile(join(root, file), "utf8");
      assert.ok(source.includes(name), `${file} has no "${name}"`);
    }
  }
});

test("every threat is answered by tests that exist", async () => {
  const text = await readFile(join(root, "SECURITY.md"), "utf8");
  const table = text.split("| --- | --- | --- |\n")[1]?.split("\n\n")[0] ?? "";
  const rows = table.split("\n");
  assert.ok(rows.length > 15, "the table was read");
  for (const row of rows) {
    const paths = [...(row.split("|").at(-2) ?? "").matchAll(/`([^`]+)`/g)].flatMap(([, path = ""]) =>
      spellOut(path),
    );
    assert.ok(paths.length > 0, `nothing shows: ${row}`);
    for (const path of paths) {
      assert.match(path, /^tests\//);
      await access(join(root, path));
    }
  }
});

test("every fault of torture is told of, with its bound", async () => {
  const text = await readFile(join(root, "docs/guarantees.md"), "utf8");
  const rows = [...text.matchAll(/^\| `([a-z-]+)` \| .* \| .* \|$/gm)].map(([row]) => row);
  assert.deepEqual(
    rows,
    faults.map(({ id, title, recoveryMs }) => `| \`${id}\` | ${title} | ${recoveryMs / 1_000} s |`),
  );
});

/** `a/{b,c}` is a/b and a/c. */
function spellOut(path: string): string[] {
  const [, before, all = "", after] = /^(.*)\{(.+)\}(.*)$/.exec(path) ?? [];
  return before === undefined ? [path] : all.split(",").map((one) => before + one + after);
}

test.run();
