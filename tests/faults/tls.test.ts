// time limit: 120 s
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import { Client, password } from "../support/client.ts";
import { query, withPostgres } from "../support/postgres.ts";
import { runScript, withProgram } from "../support/process.ts";

const secret = "a secret of more than thirty-two characters";

test("with PGSSLMODE=no-verify, TLS needs no known authority: pool, listener and migrations", () =>
  withTls(async (url) => {
    const env = { DATABASE_URL: url, JWT_SECRET: secret, NODE_ENV: "production", PGSSLMODE: "no-verify" };
    const { code, stderr } = await runScript("scripts/migrate.ts", env);
    assert.equal(code, 0, stderr);
    await withProgram(env, async (program) => {
      await new Client(program.url).ok("POST", "/auth/register", { username: "ann", password });
      const [plain] = await query(
        url,
        `SELECT count(*) FILTER (WHERE s.ssl)::int AS encrypted,
           count(*) FILTER (WHERE NOT s.ssl)::int AS plain
         FROM pg_stat_ssl AS s JOIN pg_stat_activity AS a USING (pid)
         WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()`,
      );
      assert.equal(plain.plain, 0);
      assert.ok(plain.encrypted >= 2, "the pool and the listener");
    });
  }));

test("with PGSSLMODE=require, an unknown authority stops the start with one line", () =>
  withTls(async (url) => {
    const env = { DATABASE_URL: url, JWT_SECRET: secret, PGSSLMODE: "require" };
    const { code, stderr } = await runScript("server/main.ts", env);
    assert.notEqual(code, 0);
    assert.match(stderr, /^PGSSLMODE: self-signed certificate.*\n$/);
  }));

/** Gives a Postgres that offers TLS with a certificate that nobody knows, as Heroku's do. */
async function withTls(act: (url: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "parley-tls-"));
  try {
    const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
    const subject = ["-subj", "/CN=nobody", "-days", "2", "-keyout", key, "-out", certificate];
    execFileSync("openssl", ["req", "-new", "-x509", "-nodes", ...subject], { stdio: "ignore" });
    await withPostgres(async ({ url }) => {
      // Postgres demands that the key is its own; as root, it runs as another user.
      if (process.getuid?.() === 0) {
        const uid = Number(execFileSync("id", ["-u", "postgres"], { encoding: "utf8" }));
        for (const path of [folder, key, certificate]) chownSync(path, uid, uid);
      }
      await query(url, `ALTER SYSTEM SET ssl_cert_file = '${certificate}'`);
      await query(url, `ALTER SYSTEM SET ssl_key_file = '${key}'`);
      await query(url, "ALTER SYSTEM SET ssl = on");
      await query(url, "SELECT pg_reload_conf()");
      await act(url);
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test.run();
