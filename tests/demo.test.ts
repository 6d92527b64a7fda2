import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createTestDatabase } from "./support/database.ts";
import { asServer } from "./support/roles.ts";

const demoPath = join(import.meta.dirname, "..", "scripts", "demo.ts");
const startLimitMs = 60_000;
const answerLimitMs = 15_000;
const lastLine = "Ctrl-C ends the demo";

interface Demo {
  /** Everything it printed till it was ready. */
  text: string;
  /** Ends it by a signal; resolves with its exit code. */
  stop(signal: NodeJS.Signals): Promise<number | null>;
}

async function withDemo(databaseUrl: string, run: (demo: Demo) => Promise<void>): Promise<void> {
  const child = spawn(process.execPath, [demoPath], {
    env: { ...process.env, PORT: "0", DATABASE_URL: asServer(databaseUrl) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exit = once(child, "exit");
  const stop = async (signal: NodeJS.Signals): Promise<number | null> => {
    child.kill(signal);
    const [code] = await exit;
    return code;
  };
  try {
    await run({ text: await outputOf(child).until(lastLine, startLimitMs), stop });
  } finally {
    await stop("SIGTERM");
  }
}

/** What a process prints, from now on. */
function outputOf(child: ChildProcess) {
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  return {
    /** All of it so far, once `expected` is in it; rejects when it ends without, or at the time limit. */
    until(expected: string, limitMs: number): Promise<string> {
      return new Promise((resolve, reject) => {
        const fail = (why: string) => reject(new Error(`${why}: no "${expected}" in: ${text}`));
        const timer = setTimeout(fail, limitMs, "too late");
        const check = () => {
          if (!text.includes(expected)) return;
          clearTimeout(timer);
          resolve(text);
        };
        child.stdout?.on("data", check);
        child.once("close", () => {
          clearTimeout(timer);
          fail("ended");
        });
        check();
      });
    },
    async whole(): Promise<string> {
      await once(child, "close", { signal: AbortSignal.timeout(answerLimitMs) });
      return text;
    },
  };
}

/** The printed commands, as text for `sh`, by the comment above each. */
function commandsIn(text: string): Map<string, string> {
  const blocks = text.split("\n\n").map((block) => block.split("\n").map((line) => line.trim()));
  const commands = blocks.filter(([first]) => first?.startsWith("# "));
  return new Map(commands.map(([comment, ...lines]) => [comment ?? "", lines.join("\n")]));
}

function commandAbout(text: string, word: string): string {
  const commands = commandsIn(text);
  const found = [...commands].find(([comment]) => comment.includes(word));
  if (!found) throw new Error(`no command about "${word}" in: ${[...commands.keys()].join("; ")}`);
  return found[1];
}

/** Runs commands in one shell, as they stand. */
function shell(...commands: string[]): ChildProcess {
  return spawn("sh", ["-c", commands.join("\n")], { stdio: ["ignore", "pipe", "inherit"], detached: true });
}

async function answerTo(demo: Demo, topic: string) {
  const child = shell(commandAbout(demo.text, "log in"), commandAbout(demo.text, topic));
  const answer = JSON.parse(await outputOf(child).whole());
  assert.is(answer.code, undefined, `${topic}: ${answer.detail}`);
  return answer;
}

test("the demo can be run twice, and its lines do what they say", async () => {
  const database = await createTestDatabase();
  try {
    const expected = ["Bob Okafor: 4 of 2", "Tea kitchen: 4 of 3", "Town square: 2 of 3"];
    await withDemo(database.url, async (demo) => {
      assert.equal(await annsDiscussions(demo), expected);
      assert.is(await demo.stop("SIGTERM"), 0, "the demo ends with the server's exit code");
    });
    await withDemo(database.url, async (demo) => {
      assert.equal(await annsDiscussions(demo), expected, "the second run adds nothing");
      await sayAndHear(demo);
      await lookAround(demo);
      assert.is(await demo.stop("SIGINT"), 0);
    });
  } finally {
    await database.drop();
  }
});

interface Listed {
  title: string;
  last_seq: number;
  member_count: number;
}

async function annsDiscussions(demo: Demo): Promise<string[]> {
  const { items }: { items: Listed[] } = await answerTo(demo, "her discussions");
  return items.map(({ title, last_seq, member_count }) => `${title}: ${last_seq} of ${member_count}`).sort();
}

/** What one shell says is heard by another. */
async function sayAndHear(demo: Demo): Promise<void> {
  const listener = shell(commandAbout(demo.text, "log in"), commandAbout(demo.text, "live, until Ctrl-C"));
  try {
    const heard = outputOf(listener);
    await heard.until("event: ready\n", answerLimitMs);
    const sent = await answerTo(demo, "say something");
    assert.is(sent.content, "Hello from a shell!");
    await heard.until('"content":"Hello from a shell!"', answerLimitMs);
    assert.is((await answerTo(demo, "say something")).seq, sent.seq, "said again, it is the same message");
  } finally {
    if (listener.pid && listener.exitCode === null) process.kill(-listener.pid, "SIGTERM");
  }
}

async function lookAround(demo: Demo): Promise<void> {
  const history: { items: { seq: number }[] } = await answerTo(demo, "newest messages");
  assert.equal(
    history.items.map(({ seq }) => seq),
    [1, 2, 3],
  );
  const people: { items: { username: string }[] } = await answerTo(demo, "people one can talk to");
  assert.equal(
    people.items.map(({ username }) => username),
    ["bob"],
  );
}

test.run();
