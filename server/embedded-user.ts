/**
 * Who runs the embedded Postgres. Postgres refuses to run as root, so root (a container, a CI machine) has
 * to lend it another user; everybody else runs it as they are.
 */
import { execFile } from "node:child_process";
import { chown, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const userName = "postgres";

export interface Command {
  file: string;
  args: string[];
  uid?: number;
  gid?: number;
}

interface Identity {
  uid: number;
  gid: number;
}

/**
 * The command that runs a Node script as a user who may run Postgres, with `home` as that user's own folder.
 * `home` must exist. `needed` are further files that the user must reach.
 * Throws an Error with one line that says what is missing.
 */
export async function commandForPostgres(script: string, home: string, needed: string[]): Promise<Command> {
  if (process.getuid?.() !== 0) return { file: process.execPath, args: [script] };
  const identity = await ownerOf([home, dirname(home)]);
  await chown(home, identity.uid, identity.gid);
  const paths = [process.execPath, script, home, ...needed];
  const reachable = (await Promise.all(paths.map((path) => canReach(path, identity)))).every(Boolean);
  if (reachable) return { file: process.execPath, args: [script], ...identity };
  return { file: "setpriv", args: await setprivArguments(identity, script) };
}

/**
 * The first owner that is not root, so that root can start the data of an ordinary user, who can go on with
 * it.
 */
async function ownerOf(folders: string[]): Promise<Identity> {
  for (const folder of folders) {
    const { uid, gid } = await stat(folder);
    if (uid !== 0) return { uid, gid };
  }
  return (await findUser()) ?? (await createUser());
}

async function findUser(): Promise<Identity | undefined> {
  try {
    const [uid, gid] = await Promise.all([run("id", ["-u", userName]), run("id", ["-g", userName])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}

async function createUser(): Promise<Identity> {
  try {
    await run("useradd", ["--system", "--user-group", "--no-create-home", "--shell", "/bin/false", userName]);
  } catch (error) {
    // Two first starts at once: the other one has made it.
    const found = await findUser();
    if (found) return found;
    throw unusable(`creating the user "${userName}" with useradd failed (${firstLine(error)})`);
  }
  const created = await findUser();
  if (!created) throw unusable(`the user "${userName}" is not there after useradd`);
  return created;
}

/**
 * May this user enter every folder on the way and read what is there? Checked by mode, since we are root
 * here.
 */
async function canReach(path: string, identity: Identity): Promise<boolean> {
  const readable = await allows(path, identity, 4);
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (!readable || !(await allows(folder, identity, 1))) return false;
    if (folder === dirname(folder)) return true;
  }
}

async function allows(path: string, { uid, gid }: Identity, bit: 1 | 4): Promise<boolean> {
  const found = await stat(path);
  const shift = found.uid === uid ? 6 : found.gid === gid ? 3 : 0;
  return (found.mode & (bit << shift)) !== 0;
}

/**
 * A clone below /root or in a `mktemp -d` folder is closed to other users. The user then keeps one of
 * root's capabilities, to pass the folders' modes; it is a stranger to Postgres' own check, which asks for
 * the user id only.
 */
async function setprivArguments({ uid, gid }: Identity, script: string): Promise<string[]> {
  const identity = [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
  // The third makes access(2) respect the capability, by which initdb looks for its programs.
  const capability = [
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
    "--securebits=+no_setuid_fixup",
  ];
  try {
    await run("setpriv", [...identity, ...capability, "true"]);
  } catch (error) {
    throw unusable(
      `the user with id ${uid} may not enter this folder and setpriv failed (${firstLine(error)})`,
    );
  }
  return [...identity, ...capability, process.execPath, script];
}

function unusable(reason: string): Error {
  return new Error(`Postgres does not run as root, and ${reason}: run as another user or set DATABASE_URL.`);
}

function firstLine(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message: string };
  return (stderr || message).trim().split("\n")[0] ?? "";
}
