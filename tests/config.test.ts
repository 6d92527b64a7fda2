import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "uvu";
import { ConfigError, readConfig, settingNames } from "../server/config.ts";

const production = {
  NODE_ENV: "production",
  DATABASE_URL: "postgres://parley@localhost/parley",
  JWT_SECRET: "0123456789abcdef0123456789abcdef",
};

test(".env.example names every setting, and its values are the defaults", async () => {
  const text = await readFile(new URL("../.env.example", import.meta.url), "utf8");
  const example = Object.fromEntries(
    text
      .split("\n")
      .filter((line) => /^[A-Z_]+=/.test(line))
      .map((line) => line.split("=", 2)),
  );
  assert.deepEqual(Object.keys(example).sort(), [...settingNames].sort());
  assert.deepEqual(readConfig(example), readConfig({}));
});

test("every variable of .env.example has a line of explanation above it", async () => {
  const text = await readFile(new URL("../.env.example", import.meta.url), "utf8");
  for (const block of text.trim().split("\n\n")) assert.match(block, /^#/, block);
});

test("ATTACHMENTS_URL names a folder, or a bucket with key and secret", () => {
  const read = (url: string) => readConfig({ ATTACHMENTS_URL: url }).attachmentsTarget;
  assert.equal(read(""), undefined);
  assert.deepEqual(read("file:///var/lib/my%20files"), { kind: "folder", path: "/var/lib/my files" });
  const bucket = { kind: "bucket", accessKeyId: "key", secretAccessKey: "a/b+c" };
  assert.deepEqual(read("s3://key:a%2Fb+c@s3.eu-central-1.amazonaws.com/files?region=eu-central-1"), {
    ...bucket,
    url: "https://s3.eu-central-1.amazonaws.com/files/",
    region: "eu-central-1",
  });
  assert.deepEqual(read("s3://key:a%2Fb+c@localhost:9000/files/of/chat/?tls=off"), {
    ...bucket,
    url: "http://localhost:9000/files/of/chat/",
    region: "us-east-1",
  });
});

test("a wrong value is named in one line", () => {
  const wrong: [string, string][] = [
    ["PORT", "eighty"],
    ["PORT", "65536"],
    ["WEB_CONCURRENCY", "0"],
    ["WEB_CONCURRENCY", "65"],
    ["WEB_CONCURRENCY", "1.5"],
    ["WEB_CONCURRENCY", "x"],
    ["DATABASE_URL", "mysql://localhost/parley"],
    ["JWT_SECRET", "short"],
    ["ATTACHMENTS_URL", "x"],
    ["ATTACHMENTS_URL", "file://"],
    ["ATTACHMENTS_URL", "file://host/path"],
    ["ATTACHMENTS_URL", "https://key:secret@host/bucket"],
    ["ATTACHMENTS_URL", "s3://host/bucket"],
    ["ATTACHMENTS_URL", "s3://key:secret@host"],
    ["ATTACHMENTS_URL", "s3://key:%zz@host/bucket"],
    ["ATTACHMENT_MAX_BYTES", "0"],
    ["ATTACHMENT_MAX_BYTES", "10MB"],
    ["ALLOWED_ORIGINS", "https://chat.example/path"],
    ["ALLOWED_ORIGINS", "chat.example"],
    ["PGSSLMODE", "sometimes"],
    ["EVENT_RETENTION_DAYS", "-1"],
    ["LOG_LEVEL", "loud"],
    ["METRICS_TOKEN", "short"],
    ["TRUST_PROXY", "0"],
    ["TRUST_PROXY", "yes"],
  ];
  for (const [name, value] of wrong) {
    assert.throws(
      () => readConfig({ [name]: value }),
      (error) =>
        error instanceof ConfigError && error.message.startsWith(`${name}: `) && !/\n/.test(error.message),
      `${name}=${value}`,
    );
  }
});

test("production demands a database and a secret", () => {
  assert.equal(readConfig(production).production, true);
  for (const name of ["DATABASE_URL", "JWT_SECRET"] as const) {
    const { [name]: _missing, ...rest } = production;
    assert.throws(
      () => readConfig(rest),
      (error) => error instanceof ConfigError && error.message.startsWith(name),
    );
    assert.throws(() => readConfig({ ...rest, [name]: "" }), ConfigError);
  }
});

test("no-verify asks for TLS without a known authority; require asks for one", () => {
  assert.deepEqual(readConfig({ PGSSLMODE: "no-verify" }).ssl, { rejectUnauthorized: false });
  assert.deepEqual(readConfig({ PGSSLMODE: "require" }).ssl, { rejectUnauthorized: true });
  assert.equal(readConfig({ PGSSLMODE: "disable" }).ssl, undefined);
});

test("proxies are counted; on means one", () => {
  const counts = ["off", "on", "2"].map((value) => readConfig({ TRUST_PROXY: value }).trustedProxies);
  assert.deepEqual(counts, [0, 1, 2]);
});

test("origins are compared without a slash at the end", () => {
  const { allowedOrigins } = readConfig({ ALLOWED_ORIGINS: "https://a.example/, http://localhost:5173" });
  assert.deepEqual(allowedOrigins, ["https://a.example", "http://localhost:5173"]);
});

test.run();
