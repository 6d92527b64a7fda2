import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";

const root = join(import.meta.dirname, "..");

/** What the document says shows a promise: a file, and the name of a test or behaviour in it. */
async function readClaims(): Promise<{ file: string; name: string }[]> {
  const text = await readFile(join(root, "docs/guarantees.md"), "utf8");
  return [...text.matchAll(/^- `(tests\/[^`]+)`: (.+)$/gm)].map(([, file = "", name = ""]) => ({
    file,
    name,
  }));
}

test("every promise is shown by tests that exist", async () => {
  const claims = await readClaims();
  assert.ok(claims.length > 15, "the document was read");
  for (const { file, name } of claims) {
    assert.ok(name.length >= 12, `${file}: "${name}" is no name of a test`);
    const source = await readFile(join(root, file), "utf8");
    assert.ok(source.includes(name), `${file} has no "${name}"`);
  }
});

test.run();
