// time limit: 240 s
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import { withBucket } from "../support/bucket.ts";
import type { Json } from "../support/client.ts";
import { type OwnPostgres, query, withPostgres } from "../support/postgres.ts";
import { type Program, runScript, withProgram } from "../support/process.ts";
import { asServer, noteRole } from "../support/roles.ts";
import { eventually } from "../support/server.ts";
import { password, Recorder, stranger, type Teller } from "./recorder.ts";
import { findInsides, findSecrets, type Secret } from "./scanner.ts";

// Nothing secret in a log, nothing of the inside in an answer, nobody's address to others: looked for in all
// that the real program says at its most talkative, through everything that can happen to it.

const databasePassword = 'db pä"ss/w:rd@x';
const jwtSecret = "a JWT secret of this test, which is long enough";
const metricsToken = "a-metrics-token-of-this-test";
const bucketSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY";

/** What a log may never have, and an answer only where it is handed over. */
const settingSecrets: Secret[] = [
  { kind: "the database's password", value: databasePassword },
  { kind: "JWT_SECRET", value: jwtSecret },
  { kind: "METRICS_TOKEN", value: metricsToken },
  { kind: "the bucket's secret", value: bucketSecret },
  { kind: "a password", value: password },
];

/** What people may read of each other, and a log may not. */
const readable = /^(a message|a question|an address that was asked for|the address of|a file|a name)/;

interface Scene {
  program: Program;
  recorder: Recorder;
  database: { url: string; crash(): Promise<void>; start(): Promise<void> };
  bucket: { fail(status: number, times: number): void };
  ann: Teller;
  bob: Teller;
  group: string;
}

test("the log never has a secret or what people write, and no answer tells of the inside", () =>
  withScene(async (scene) => {
    await signInAndOut(scene);
    await writeAndRead(scene);
    await askWrongly(scene);
    await breakBucket(scene);
    await breakFunctions(scene);
    await loseDatabase(scene);
    await readOperations(scene);
    await endGently(scene.program);
    assertNothingTold(scene);
  }));

test("the scanner finds each kind of secret in each form that it could have in a log or an answer", () => {
  const secrets = [...settingSecrets, { kind: "a cookie", value: randomBytes(32).toString("base64url") }];
  for (const { kind, value } of secrets) {
    const forms = [
      JSON.stringify({ level: 50, err: { message: `failed: ${value}` } }),
      JSON.stringify({ body: JSON.stringify({ password: value }) }),
      `postgres://parley:${encodeURIComponent(value)}@db/parley`,
      `/api/v1/events?${new URLSearchParams({ ticket: value })}`,
      JSON.stringify({ values: [`\\x${Buffer.from(value).toString("hex")}`] }),
      `authorization: Basic ${Buffer.from(value).toString("base64")}`,
      Buffer.from(value).toString("base64url"),
    ];
    for (const form of forms) {
      const found = findSecrets(`{"level":30}\n${form}\n{"level":30}`, [{ kind, value }]);
      assert.ok(
        found.some((line) => line.startsWith(`${kind} (`)),
        `${kind} in ${form}`,
      );
    }
  }
  for (const text of [
    '{"authorization":"Bearer abcdefgh12345678"}',
    `eyJ${"a".repeat(20)}.eyJ${"b".repeat(20)}.${"c".repeat(43)}`,
    '{"password_hash":"$argon2id$v=19$m=19456,t=2,p=1$abc$def"}',
    "connecting to postgres://parley:hunter2@db.internal:5432/parley",
    "s3://AKIDEXAMPLE:key@bucket",
    "cookie: parley_session=abc",
  ])
    assert.equal(findSecrets(`x ${text} x`, []).length, 1, text);
  assert.deepEqual(findSecrets('{"level":30,"path":"/api/v1/auth/login","status":401}', secrets), []);
});

test("the scanner finds what tells of the inside, and nothing in our own problems", () => {
  for (const text of [
    "Error: x\n    at query (file:///srv/parley/sql/driver.ts:104:14)",
    "    at async Object.query (/srv/parley/node_modules/slonik/dist/x.js:217:44)",
    "cannot find /srv/parley/server/main.ts",
    'relation "messages" does not exist',
    "SELECT password_hash FROM users WHERE id = $1",
    "connect ECONNREFUSED 127.0.0.1:5432",
    'duplicate key value violates unique constraint "users_email_key"',
  ])
    assert.notDeepEqual(findInsides(JSON.stringify({ detail: text })), [], text);
  for (const detail of [
    "limit: must be a number",
    "The database cannot be reached; try again",
    "Something went wrong here",
    "Select a group from the list, set it, where it is",
  ])
    assert.deepEqual(findInsides(JSON.stringify({ detail })), [], detail);
});

test("a program that cannot start says which setting is wrong, and never what it was", async () => {
  const secret = "sécret-99-of-a-setting";
  const written = encodeURIComponent(secret);
  const program = "server/main.ts";
  const others = ["scripts/migrate.ts", "scripts/new-epoch.ts"];
  const good = { DATABASE_URL: `postgres://parley:${written}@127.0.0.1:9/parley`, NODE_ENV: "production" };
  const settings: [string, NodeJS.ProcessEnv][] = [
    ["DATABASE_URL", { JWT_SECRET: jwtSecret }],
    ["DATABASE_URL", { JWT_SECRET: jwtSecret, WEB_CONCURRENCY: "2" }],
    ["DATABASE_URL", { JWT_SECRET: jwtSecret, DATABASE_URL: `postgres://parley:${written}@no host/x` }],
    ["DATABASE_URL", { JWT_SECRET: jwtSecret, DATABASE_URL: `mysql://parley:${written}@127.0.0.1/x` }],
    ["", { JWT_SECRET: jwtSecret, DATABASE_URL: `postgres://parley:%zz${written}@127.0.0.1:9/x` }],
    ["", { JWT_SECRET: jwtSecret, LISTEN_DATABASE_URL: `postgres://parley:${written}%@127.0.0.1:9/x` }],
    ["JWT_SECRET", { JWT_SECRET: secret }],
    ["METRICS_TOKEN", { JWT_SECRET: jwtSecret, METRICS_TOKEN: secret.slice(0, 15) }],
    ["ATTACHMENTS_URL", { JWT_SECRET: jwtSecret, ATTACHMENTS_URL: `s3://key:${written}@/bucket` }],
    ["ATTACHMENTS_URL", { JWT_SECRET: jwtSecret, ATTACHMENTS_URL: `s3://:${written}@host/bucket` }],
    ["ATTACHMENTS_URL", { JWT_SECRET: jwtSecret, ATTACHMENTS_URL: `https://key:${written}@host/bucket` }],
  ];
  const secrets = [...settingSecrets, { kind: "a setting", value: secret }];
  secrets.push({ kind: "a setting", value: secret.slice(0, 15) });
  for (const [name, env] of settings)
    for (const script of name === "" ? [program, ...others] : [program]) {
      const ended = await runScript(script, { LOG_LEVEL: "trace", ...good, ...env });
      const said = ended.stdout + ended.stderr;
      assert.notEqual(ended.code, 0, `${script} ${JSON.stringify(env)}`);
      if (script === program) assert.ok(said.startsWith(name), `${name}: ${said}`);
      assert.deepEqual(findSecrets(said, secrets), [], `${script} ${JSON.stringify(env)}`);
    }
});

test("a mistake that nobody handled is told without what people wrote", async () => {
  const mistake = "Object.assign(new Error('nobody handled it'), { values: ['what people wrote'] })";
  const preload = `data:text/javascript,setTimeout(()=>{throw ${mistake}},100)`;
  for (const env of [{}, { WEB_CONCURRENCY: "2" }]) {
    const ended = await runScript("server/main.ts", {
      ...{
        NODE_ENV: "production",
        JWT_SECRET: jwtSecret,
        DATABASE_URL: "postgres://parley@127.0.0.1:9/parley",
      },
      ...{ NODE_OPTIONS: `--import=${encodeURI(preload)}`, ...env },
    });
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /nobody handled it/);
    assert.doesNotMatch(ended.stderr.replaceAll(encodeURI(preload), ""), /what people wrote/);
  }
});

test.run();

/** The program with all that has a secret: a database with a password, a bucket, a token for the metrics. */
async function withScene(act: (scene: Scene) => Promise<void>): Promise<void> {
  await withPostgres((postgres) =>
    withBucket(async (bucket) => {
      await askForPassword(postgres);
      const env = {
        DATABASE_URL: postgres.url,
        JWT_SECRET: jwtSecret,
        METRICS_TOKEN: metricsToken,
        ATTACHMENTS_URL: bucket.url,
        LOG_LEVEL: "trace",
      };
      await withProgram(env, async (program) => {
        const recorder = new Recorder(program.url);
        const ann = await recorder.register("ann");
        const bob = await recorder.register("bob");
        const body = { kind: "group", name: recorder.secret("a name of a group"), member_ids: [bob.user.id] };
        const { body: group } = await recorder.ask(ann, "POST", "/api/v1/discussions", body);
        await act({ program, recorder, database: postgres, bucket, ann, bob, group: group.id });
      });
    }),
  );
}

/** The server's role has the password that is looked for, and Postgres lets it in by that alone. */
async function askForPassword({ url, home }: OwnPostgres): Promise<void> {
  const name = new URL(asServer(url)).username;
  const used = new URL(url);
  await query(url, `ALTER ROLE ${name} PASSWORD '${databasePassword}'`);
  const rules = join(home, "data", "pg_hba.conf");
  await writeFile(rules, `host all ${name} all scram-sha-256\n${await readFile(rules, "utf8")}`);
  await query(url, "SELECT pg_reload_conf()");
  noteRole(used.pathname.slice(1), { name, password: databasePassword });
  used.username = name;
  await eventually(() => assert.rejects(query(used.href, "SELECT"), /password/));
  assert.equal(decodeURIComponent(new URL(asServer(url)).password), databasePassword);
  assert.equal((await query(asServer(url), "SELECT current_user AS name"))[0].name, name);
}

async function signInAndOut({ recorder, ann, bob }: Scene): Promise<void> {
  const post = (path: string, body?: unknown, who = stranger) =>
    recorder.ask(who, "POST", `/api/v1/auth/${path}`, body);
  const wrong = recorder.secret("a wrong password");
  assert.equal((await post("login", { username: "ann", password: wrong })).status, 401);
  assert.equal((await post("login", { username: "nobody", password: wrong })).status, 401);
  assert.equal((await post("login", { username: wrong, password })).status, 401);
  assert.equal((await post("register", { username: "ann", password: wrong })).status, 409);
  const { email } = bob;
  assert.equal((await post("register", { username: "carl", password, email })).body.code, "email_taken");
  const herself = { name: "ann", token: "" };
  const again = await post("login", { username: ann.email, password, cookie: true }, herself);
  const refreshed = await post("refresh", { refresh_token: again.body.refresh_token });
  assert.equal(refreshed.status, 200);
  assert.equal((await post("refresh", { refresh_token: again.body.refresh_token })).status, 401);
  assert.equal((await post("refresh", { refresh_token: refreshed.body.refresh_token })).status, 401);
  const revoked = { name: "ann", token: again.body.access_token };
  assert.equal((await recorder.ask(revoked, "GET", "/api/v1/users/me")).status, 401);
  const byCookie = { cookie: ann.cookie ?? "" };
  assert.equal((await recorder.ask(herself, "GET", "/api/v1/users/me", undefined, byCookie)).status, 200);
  assert.equal((await recorder.ask(herself, "POST", "/api/v1/auth/logout", undefined, byCookie)).status, 403);
  const patch = (body: object) => recorder.ask(bob, "PATCH", "/api/v1/users/me", body);
  const next = recorder.secret("a new password");
  assert.equal((await patch({ password: next, current_password: wrong })).status, 401);
  assert.equal((await patch({ password: next, current_password: password })).status, 200);
  const forged = `${ann.token.slice(0, -8)}AAAAAAAA`;
  await recorder.ask(
    { name: "ann", token: recorder.secret("a forged token", forged) },
    "GET",
    "/api/v1/users/me",
  );
  await recorder.ask(ann, "GET", "/api/v1/auth/sessions");
}

async function writeAndRead({ recorder, ann, bob, group }: Scene): Promise<void> {
  const path = `/api/v1/discussions/${group}`;
  const said = recorder.secret("a message");
  for (const who of [ann, bob])
    await recorder.ask(who, "POST", `${path}/messages`, { content: `${said} @bob` });
  await recorder.ask(ann, "PATCH", `${path}/messages/1`, { content: recorder.secret("a message edited") });
  await recorder.ask(ann, "PUT", `${path}/messages/1/reactions/%F0%9F%91%8D`);
  const asked = encodeURIComponent(recorder.secret("a question"));
  const unknown = encodeURIComponent(recorder.secret("an address that was asked for", "zoe@nowhere.example"));
  for (const list of [
    `/search?q=${asked}`,
    `/users?query=${asked.slice(0, 20)}`,
    `/users?email=${unknown}`,
    `/users?email=${encodeURIComponent(ann.email ?? "")}`,
    "/users",
    "/discussions",
    "/messages",
    `/discussions/${group}/members`,
    `/discussions/${group}/messages`,
    `/discussions/${group}/presence`,
    `/users/${ann.user.id}`,
    `/users/${ann.user.id}/avatar`,
  ])
    await recorder.ask(bob, "GET", `/api/v1${list}`);
  for (const kind of ["sse", "ws"] as const) {
    const end = kind === "sse" ? "events" : "ws";
    const { body } = await recorder.ask(bob, "POST", "/api/v1/auth/tickets");
    const byTicket = `/${end}?ticket=${body.ticket}`;
    await recorder.hear(stranger, kind, byTicket, (text) => text.includes('"type":"ready"'));
    await recorder.hear(stranger, kind, byTicket, () => true);
    await recorder.hear(stranger, kind, `/${end}?access_token=${bob.token}`, () => true);
    await recorder.hear(bob, kind, `/${end}?since=${said.slice(0, 9)}`, () => true);
  }
  await recorder.frames(bob, [
    { type: "message.send", ref: "1", discussion_id: group, content: recorder.secret("a message by frame") },
    { type: "message.send", ref: "2", content: recorder.secret("a message to nowhere") },
    {
      type: "message.edit",
      ref: "3",
      discussion_id: group,
      seq: 1,
      content: recorder.secret("a message not mine"),
    },
    { type: recorder.secret("a message of no type") },
  ]);
  await recorder.frames(bob, [`not JSON: ${recorder.secret("a message that is no JSON")}`]);
  await recorder.ask(ann, "DELETE", `${path}/messages/1`);
}

async function askWrongly({ recorder, ann, group }: Scene): Promise<void> {
  const typed = recorder.secret("a mistyped password");
  const register = "/api/v1/auth/register";
  for (const body of [
    { username: "dora", pasword: typed },
    { username: "dora", password: typed, cookie: typed },
    { username: [typed], password: { typed } },
    { username: "dora", password: typed.slice(0, 3), email: typed },
    [typed],
    `{"password":"${typed}`,
    `{"password":${JSON.stringify(typed)}} x`,
    JSON.stringify(typed),
    JSON.stringify({ password: typed.repeat(9_000) }),
  ])
    assert.ok((await recorder.ask(stranger, "POST", register, body)).status >= 400);
  const secretPath = encodeURIComponent(recorder.secret("a message in a path"));
  await recorder.ask(ann, "GET", `/api/v1/users?${secretPath}=1&limit=${secretPath}&cursor=${secretPath}`);
  await recorder.ask(ann, "POST", `/api/v1/discussions/${group}/messages`, { content: [secretPath] });
  await recorder.ask(ann, "PUT", `/api/v1/discussions/${group}/mute`, { until: secretPath });
  await recorder.ask(ann, "POST", "/api/v1/auth/login", typed, { "content-type": "text/plain" });
  const odd = { "x-request-id": `${typed}`.replaceAll(/[^\x20-\x7e]/g, "?"), "last-event-id": "x y" };
  await recorder.ask(ann, "GET", "/api/v1/events", undefined, odd);
}

async function breakBucket({ recorder, ann, bucket }: Scene): Promise<void> {
  const form = () => {
    const data = new FormData();
    data.set("file", new Blob([recorder.secret("a file")]), `${recorder.secret("a file name")}.txt`);
    return data;
  };
  const { body } = await recorder.ask(ann, "POST", "/api/v1/attachments", form());
  for (const status of [403, 404, 500]) {
    bucket.fail(status, 8);
    assert.equal((await recorder.ask(ann, "POST", "/api/v1/attachments", form())).status, 503);
    bucket.fail(status, 8);
    assert.ok((await recorder.ask(ann, "GET", `/api/v1/attachments/${body.id}`)).status >= 500);
  }
  bucket.fail(500, 0);
  assert.equal((await recorder.ask(ann, "GET", `/api/v1/attachments/${body.id}`)).status, 200);
}

/** Mistakes of ours: what Postgres says quotes a value, or rows are not as they should be. */
async function breakFunctions({ recorder, database, ann, bob, group }: Scene): Promise<void> {
  const broken = async (how: string, cure: string, act: () => Promise<Json>) => {
    await query(database.url, how);
    assert.equal((await act()).status, 500, how);
    await query(database.url, cure);
  };
  const path = `/api/v1/discussions/${group}`;
  const send = () =>
    recorder.ask(ann, "POST", `${path}/messages`, { content: recorder.secret("a message that breaks") });
  await broken(
    `CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       NEW.seq := NEW.content::bigint; RETURN NEW; END $$;
     CREATE TRIGGER break_it BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION break_it()`,
    "DROP FUNCTION break_it CASCADE",
    send,
  );
  await broken(
    "ALTER TABLE messages ADD CONSTRAINT no_more CHECK (seq < 0) NOT VALID",
    "ALTER TABLE messages DROP CONSTRAINT no_more",
    send,
  );
  const [standing] = await query(database.url, "SELECT pg_get_functiondef('standing'::regproc) AS text");
  await broken(
    standing.text.replace(/SELECT coalesce\([\s\S]*\$function\$/, "SELECT 'king'::text $function$"),
    standing.text,
    () => recorder.ask(ann, "GET", `${path}/messages`),
  );
  const [cursor] = await query(database.url, "SELECT pg_get_functiondef('log_cursor'::regproc) AS text");
  await broken(cursor.text.replace(/SELECT [\s\S]*(?=\$function\$)/, "SELECT NULL::text "), cursor.text, () =>
    recorder.ask(ann, "GET", `/api/v1/users?email=${encodeURIComponent(bob.email ?? "")}`),
  );
  const [rank] = await query(database.url, "SELECT pg_get_functiondef('search_rank'::regproc) AS text");
  await broken(
    rank.text.replace(
      /AS \$function\$[\s\S]*\$function\$/,
      "AS $function$ BEGIN RETURN NULL; END $function$",
    ),
    rank.text,
    () => recorder.ask(ann, "GET", "/api/v1/search?q=message"),
  );
}

async function loseDatabase({ recorder, database, program, ann, group }: Scene): Promise<void> {
  await database.crash();
  const body = { content: recorder.secret("a message for nobody") };
  for (const [method, path, what] of [
    ["GET", "/api/v1/users/me"],
    ["POST", `/api/v1/discussions/${group}/messages`, body],
    ["POST", "/api/v1/auth/login", { username: "ann", password }],
    ["GET", "/readyz"],
  ] as const)
    assert.equal((await recorder.ask(ann, method, path, what)).status, 503, path);
  await database.start();
  await eventually(async () => assert.equal((await fetch(`${program.url}/readyz`)).status, 200), 30_000);
}

async function readOperations({ recorder, ann }: Scene): Promise<void> {
  for (const path of [
    "/metrics",
    "/openapi.json",
    "/asyncapi.json",
    "/docs",
    "/healthz",
    "/readyz",
    "/",
    "/x",
  ])
    await recorder.ask(stranger, "GET", path);
  const token = { name: "the scraper", token: metricsToken };
  assert.equal((await recorder.ask(token, "GET", "/metrics")).status, 200);
  assert.equal((await recorder.ask(ann, "GET", "/metrics")).status, 401);
}

async function endGently(program: Program): Promise<void> {
  program.kill("SIGTERM");
  assert.equal(await program.exited, 0);
}

function assertNothingTold({ program, recorder, ann, bob }: Scene): void {
  const secrets = [...settingSecrets, ...recorder.secrets];
  const log = program.stdout() + program.stderr();
  for (const word of ["unexpected error", "database unavailable", "the bucket answers", '"msg":"request"'])
    assert.ok(log.includes(word), `the log tells of what happened: ${word}`);
  assert.deepEqual(findSecrets(log, secrets), []);
  assert.ok(recorder.recorded.filter(({ status }) => status >= 500).length > 8);
  const told: string[] = [];
  for (const { who, what, status, text, handsOver } of recorder.recorded) {
    const hidden = secrets.filter(({ kind }) => !readable.test(kind));
    if (!handsOver) told.push(...findSecrets(text, hidden).map((found) => `${what} → ${found}`));
    if (status >= 400) told.push(...findInsides(text).map((found) => `${what} → ${status} ${found}`));
    for (const { name, email = "" } of [ann, bob])
      if (who !== name && text.includes(email)) told.push(`${what} tells ${who} the address of ${name}`);
  }
  assert.deepEqual(told, []);
}
