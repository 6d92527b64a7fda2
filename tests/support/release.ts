/** Earlier versions of this code, for tests of what serves side by side. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = join(import.meta.dirname, "../..");

/** Whether a commit is in this clone, which may be shallow or no clone at all. */
export async function hasCommit(commit: string): Promise<boolean> {
  const found = run("git", ["cat-file", "-e", `${commit}^{commit}`], { cwd: root });
  return found.then(
    () => true,
    () => false,
  );
}

/** Runs a test with the files of a commit in a folder, and our packages, which must be those of its own. */
export async function withRelease(commit: string, act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "parley-release-"));
  try {
    await unpackRelease(commit, folder);
    await act(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The same, in a folder that is there. */
export async function unpackRelease(commit: string, folder: string): Promise<void> {
  const archive = spawn("git", ["archive", commit], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  const unpack = spawn("tar", ["-x", "-C", folder], { stdio: ["pipe", "inherit", "inherit"] });
  pipeline(archive.stdout, unpack.stdin).catch(() => {}); // Told by how they end.
  const [[archived], [unpacked]] = await Promise.all([once(archive, "close"), once(unpack, "close")]);
  if (archived !== 0 || unpacked !== 0) throw new Error(`cannot unpack ${commit}`);
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
}

/** The commit of the release before this one, of which tests/upgrade/interface.txt tells. */
export async function previousRelease(): Promise<string> {
  const text = await readFile(new URL("../upgrade/interface.txt", import.meta.url), "utf8");
  return /^release ([0-9a-f]{40})$/m.exec(text)?.[1] ?? "";
}
