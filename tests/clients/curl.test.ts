// time limit: 240 s
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import type { Json } from "../support/client.ts";
import { eventually } from "../support/server.ts";
import { withLastingProgram } from "./program.ts";

// What a newcomer types into a shell, line by line: nothing but curl, and sed to pick out a field.

const run = promisify(execFile);

interface Shell {
  env: Record<string, string>;
  /** Runs a line and gives its output, as JSON if it is. Fails if the line does. */
  type(line: string): Promise<Json>;
  /** Runs a line that goes on until it is ended; `output` is what it has printed so far. */
  begin(line: string): { output(): string; end(): Promise<void> };
}

test("register, log in, create, send and stream, each with one line of curl", () =>
  withShell(async ({ env, type, begin }) => {
    const json = `-H 'content-type: application/json'`;
    const registered = await type(
      `curl -sS $API/auth/register ${json} -d '{"username":"ann","password":"correct horse battery"}'`,
    );
    assert.equal(registered.user.username, "ann");
    const bob = await type(
      `curl -sS $API/auth/register ${json} -d '{"username":"bob","password":"correct horse battery"}'`,
    );

    env.TOKEN = await type(
      `curl -sS $API/auth/login ${json} -d '{"username":"ann","password":"correct horse battery"}' |
         sed 's/.*"access_token":"\\([^"]*\\).*/\\1/'`,
    );
    const bearer = `-H "authorization: Bearer $TOKEN"`;
    env.BOB = bob.user.id;
    const discussion = await type(
      `curl -sS $API/discussions ${bearer} ${json} -d '{"kind":"direct","user_id":"'$BOB'"}'`,
    );
    env.D = discussion.id;

    const stream = begin(`curl -sSN -i $API/events ${bearer}`);
    await eventually(() => assert.match(stream.output(), /^event: ready$/m));
    assert.match(stream.output(), /^HTTP\/1.1 200 OK\r\n/);
    assert.match(stream.output(), /^content-type: text\/event-stream/im);
    assert.match(stream.output(), /^retry: 2000$/m);

    const sent = await type(
      `curl -sS $API/discussions/$D/messages ${bearer} ${json} -d '{"content":"Hello!"}'`,
    );
    assert.equal(sent.seq, 1);
    await eventually(() => assert.deepEqual(dataOf(stream.output(), "message.new")[0]?.message, sent));
    await stream.end();
    env.LAST = /^id: (.+)$/m.exec(stream.output().slice(stream.output().lastIndexOf("\nid: ")))?.[1] ?? "";

    await type(`curl -sS $API/discussions/$D/messages ${bearer} ${json} -d '{"content":"one"}'`);
    await type(`curl -sS $API/discussions/$D/messages ${bearer} ${json} -d '{"content":"two"}'`);
    const again = [
      begin(`curl -sSN $API/events ${bearer} -H "Last-Event-ID: $LAST"`),
      begin(`curl -sSN "$API/events?since=$LAST" ${bearer}`),
      begin(`curl -sSN $API/discussions/$D/events ${bearer} -H "Last-Event-ID: $LAST"`),
    ];
    for (const { output, end } of again) {
      await eventually(() => assert.match(output(), /^event: ready$/m));
      assert.deepEqual(
        dataOf(output(), "message.new").map(({ message }) => message.content),
        ["one", "two"],
      );
      await end();
    }
    const history = await type(`curl -sS "$API/discussions/$D/messages?limit=2" ${bearer}`);
    assert.deepEqual(
      history.items.map(({ content }: Json) => content),
      ["one", "two"],
    );
  }));

test("a stream opens with a ticket in its address, once", () =>
  withShell(async ({ env, type, begin }) => {
    env.TOKEN = await registerAndGetToken(type);
    env.TICKET = await type(
      `curl -sS -X POST $API/auth/tickets -H "authorization: Bearer $TOKEN" |
         sed 's/.*"ticket":"\\([^"]*\\).*/\\1/'`,
    );
    const stream = begin(`curl -sSN "$API/events?ticket=$TICKET"`);
    await eventually(() => assert.match(stream.output(), /^event: ready$/m));
    await stream.end();
    const second = await type(`curl -sSN "$API/events?ticket=$TICKET"`);
    assert.equal(second.code, "unauthenticated");
  }));

test("a cookie jar will do for reading, and for writing with the right origin", () =>
  withShell(async ({ env, type }) => {
    await registerAndGetToken(type);
    const json = `-H 'content-type: application/json'`;
    await type(
      `curl -sS -c $JAR $API/auth/login ${json} \
         -d '{"username":"ann","password":"correct horse battery","cookie":true}'`,
    );
    const me = await type("curl -sS -b $JAR $API/users/me");
    assert.equal(me.username, "ann");
    env.ME = me.id;
    const create = `curl -sS -b $JAR $API/discussions ${json} -d '{"kind":"direct","user_id":"'$ME'"}'`;
    assert.equal((await type(create)).code, "origin_not_allowed");
    assert.equal((await type(`${create} -H "Origin: http://evil.example"`)).code, "origin_not_allowed");
    assert.equal((await type(`${create} -H "Origin: $URL"`)).title, "ann (you)");
  }));

test("who forgets something is told what", () =>
  withShell(async ({ type }) => {
    const nobody = await type("curl -sS $API/discussions");
    assert.equal(nobody.status, 401);
    assert.equal(nobody.code, "unauthenticated");

    // curl -d without a header says that it sends a form.
    const form = await type(
      `curl -sS $API/auth/register -d '{"username":"ann","password":"correct horse battery"}'`,
    );
    assert.ok(form.status === undefined || /content-type|application\/json/i.test(form.detail), form.detail);

    const json = `-H 'content-type: application/json'`;
    const typo = await type(
      `curl -sS $API/auth/register ${json} -d '{"usrname":"ann","password":"12345678"}'`,
    );
    assert.equal(typo.status, 400);
    assert.equal(typo.code, "invalid_request");
    assert.ok(typo.errors.some(({ message, path }: Json) => `${path} ${message}`.includes("usrname")));

    const broken = await type(`curl -sS $API/auth/register ${json} -d '{"username":'`);
    assert.equal(broken.status, 400);

    const page = await type("curl -sS $API/events/");
    assert.equal(page.status, 404);
    const socket = await type("curl -sS $API/ws");
    assert.equal(socket.status, 426);
    const upgrade = await type(
      `curl -sS $API/ws -H "Connection: Upgrade" -H "Upgrade: websocket" \
         -H "Sec-WebSocket-Version: 13" -H "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="`,
    );
    assert.equal(upgrade.code, "unauthenticated");
  }));

async function registerAndGetToken(type: Shell["type"]): Promise<string> {
  const { access_token } = await type(
    `curl -sS $API/auth/register -H 'content-type: application/json' \
       -d '{"username":"ann","password":"correct horse battery"}'`,
  );
  return access_token;
}

/** A shell whose $URL and $API lead to a running server. */
async function withShell(act: (shell: Shell) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "parley-curl-"));
  const running = new Set<{ end(): Promise<void> }>();
  try {
    await withLastingProgram(async (program) => {
      const env: Record<string, string> = {
        PATH: process.env.PATH ?? "",
        URL: program.url(),
        API: `${program.url()}/api/v1`,
        JAR: join(folder, "cookies"),
      };
      try {
        await act({
          env,
          type: async (line) => {
            const { stdout } = await run("sh", ["-ec", line], { env, timeout: 20_000 });
            return parse(stdout.trim());
          },
          begin: (line) => {
            const command = begin(line, env);
            running.add(command);
            return command;
          },
        });
      } finally {
        for (const command of running) await command.end();
      }
      assert.deepEqual(program.complaints(), [], "the server logged errors");
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function begin(line: string, env: Record<string, string>): { output(): string; end(): Promise<void> } {
  // With exec, the process that is ended is curl itself.
  const child = spawn("sh", ["-ec", `exec ${line}`], { env, stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const closed = once(child, "close");
  return {
    output: () => output,
    end: async () => {
      child.kill("SIGINT");
      await closed;
    },
  };
}

function parse(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The JSON of the events of one type in what curl printed; the last of it may not be whole yet. */
function dataOf(output: string, type: string): Json[] {
  return output
    .split("\n\n")
    .slice(0, -1)
    .filter((block) => block.split("\n").includes(`event: ${type}`))
    .map((block) => JSON.parse(/^data: (.*)$/m.exec(block)?.[1] ?? "null"));
}

test.run();
