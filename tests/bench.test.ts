// time limit: 400 s
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";

const root = join(import.meta.dirname, "..");
const script = join(root, "scripts/bench.ts");

interface Run {
  scenario: string;
  variant: string;
  metrics: Record<string, number>;
  problems: string[];
}

/** The benchmark on the Postgres of the tests, or, if there is none, on one of its own. */
function start(args: string[]): ChildProcess {
  const { PATH, HOME, TMPDIR, TEST_SERVER_URL } = process.env;
  const child = spawn(process.execPath, [script, ...args], {
    cwd: root,
    env: {
      ...(PATH && { PATH }),
      ...(HOME && { HOME }),
      ...(TMPDIR && { TMPDIR }),
      ...(TEST_SERVER_URL && { DATABASE_URL: TEST_SERVER_URL }),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const endWithUs = () => void child.kill("SIGTERM");
  process.once("exit", endWithUs);
  child.once("exit", () => process.off("exit", endWithUs));
  return child;
}

async function output(child: ChildProcess): Promise<{ code: number | null; text: string }> {
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (more) => {
      text += more;
    });
  }
  const [code] = await once(child, "close");
  return { code, text };
}

/** Runs one scenario with tiny sizes. Only whether it is exact is looked at: its times mean nothing. */
async function measure(scenario: string): Promise<{ runs: Run[]; text: string }> {
  const folder = await mkdtemp(join(tmpdir(), "parley-bench-"));
  try {
    const file = join(folder, "runs.json");
    const { code, text } = await output(start([scenario, "--tiny", "--json", file]));
    assert.equal(code, 0, text);
    return { runs: JSON.parse(await readFile(file, "utf8")) as Run[], text };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Every scenario, its variants, and figures that each of them must have. */
const expected: Record<string, { variants: string[]; figures: string[] }> = {
  "fan-out": {
    variants: ["parley", "parley-sse", "socketio", "ws-notify", "ws-frame", "ws-tick"],
    figures: ["deliveries_per_second", "messages_per_second"],
  },
  rooms: {
    variants: ["parley", "parley-rest", "socketio", "ws-notify", "insert"],
    figures: ["messages_per_second", "batch"],
  },
  snapshot: { variants: ["without", "beside"], figures: ["messages_per_second"] },
  soak: { variants: ["parley"], figures: ["messages_per_second", "message_bytes_last"] },
  "slow-disk": { variants: ["parley", "socketio", "ws-notify"], figures: ["messages_per_second"] },
  ping: { variants: ["parley", "socketio", "ws-notify"], figures: ["p50_ms", "p99_ms"] },
  idle: {
    variants: ["parley-ws", "ws-tick-ws", "socketio-ws", "parley-sse", "http-plain-sse"],
    figures: ["connections"],
  },
  storm: { variants: ["parley"], figures: ["p50_ms", "p99_ms"] },
  history: { variants: ["parley"], figures: ["start_p99_ms", "middle_p99_ms", "end_p99_ms"] },
  search: { variants: ["parley"], figures: ["common_p99_ms", "absent_p99_ms", "indexed_per_second"] },
  instances: { variants: ["parley-1", "parley-2"], figures: ["messages_per_second"] },
};

for (const [scenario, { variants, figures }] of Object.entries(expected)) {
  test(`${scenario}: every system delivers exactly what was sent`, async () => {
    const { runs, text } = await measure(scenario);
    assert.deepEqual(
      runs.map(({ variant }) => variant),
      variants,
    );
    for (const { variant, metrics, problems } of runs) {
      assert.deepEqual(problems, [], variant);
      for (const figure of figures) assert.ok((metrics[figure] ?? 0) > 0, `${variant} has no ${figure}`);
    }
    assert.match(text, new RegExp(`^\\| ${scenario} \\| .* \\| (yes|\\*\\*no\\*\\*|–) \\|$`, "m"));
  });
}

test("what it does not know is refused with a line that says so", async () => {
  const { code, text } = await output(start(["fan-in"]));
  assert.equal(code, 2);
  assert.match(text, /^There is no scenario "fan-in", but fan-out, rooms/);
});

test("interrupted, it ends and leaves nothing behind", async () => {
  const child = start(["ping", "--tiny"]);
  const ended = output(child);
  await once(child.stderr ?? child, "data");
  const children = await childrenOf(child.pid);
  child.kill("SIGINT");
  const { code } = await ended;
  assert.equal(code, 130);
  for (const pid of children) assert.throws(() => process.kill(pid, 0), /ESRCH/);
});

/** The ids of a process' children; none where there is no /proc. */
async function childrenOf(pid: number | undefined): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(
    tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, "utf8").catch(() => "")),
  );
  return lists.flatMap((list) => list.split(" ").filter(Boolean).map(Number));
}

test.run();
