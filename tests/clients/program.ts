/** The real program as a child process, which can be ended and started again on the same database. */
import { createTestDatabase } from "../support/database.ts";
import { withProgram as once, type Program } from "../support/process.ts";

const stopLimitMs = 15_000;

export interface LastingProgram {
  /** Where the server listens; another address after each restart. */
  url(): string;
  /** Ends the server by a signal and starts another; resolves with how the first one ended. */
  restart(signal: NodeJS.Signals): Promise<number | string>;
  /** What it logged as an error, or said on its way down. */
  complaints(): string[];
}

/** Runs a test against the program on a fresh database; both are ended, however the test ends. */
export async function withLastingProgram(
  act: (program: LastingProgram) => Promise<void>,
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const database = await createTestDatabase();
  const programs: Program[] = [];
  let running: Program | undefined;
  const begin = async () => {
    running = await start({ ...env, DATABASE_URL: database.url });
    programs.push(running);
    return running;
  };
  try {
    let current = await begin();
    await act({
      url: () => current.url,
      restart: async (signal) => {
        const ending = await stop(current, signal);
        current = await begin();
        return ending;
      },
      complaints: () => programs.flatMap((program) => program.lines().filter(isComplaint)),
    });
  } finally {
    if (running) await stop(running, "SIGTERM");
    await database.drop();
  }
}

/** Runs until it ends, by whatever cause. */
async function start(env: NodeJS.ProcessEnv): Promise<Program> {
  const { promise, resolve, reject } = Promise.withResolvers<Program>();
  const over = once({ NODE_ENV: "test", ...env }, async (program) => {
    resolve(program);
    await program.exited;
  });
  over.catch(reject);
  return await promise;
}

async function stop(program: Program, signal: NodeJS.Signals): Promise<number | string> {
  const timer = setTimeout(() => program.kill("SIGKILL"), stopLimitMs);
  if (program.isRunning()) program.kill(signal);
  const ending = await program.exited;
  clearTimeout(timer);
  return ending;
}

/** Warnings are part of a rough life; errors (level 50) and bare text are not. */
function isComplaint(line: string): boolean {
  try {
    return JSON.parse(line).level >= 50;
  } catch {
    return line.trim() !== "";
  }
}
