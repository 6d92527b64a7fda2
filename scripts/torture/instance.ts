import { endProgram, type Program, startProgram, type Which } from "../../tests/support/process.ts";
import { textMark } from "./load/notebook.ts";

const stopLimitMs = 20_000;

/** Where it runs: its address, and the words of a command that runs a program there. */
export interface Place {
  address: string;
  through: readonly string[];
}

/**
 * One server process among equals; the same address through every end and start. What is done to it gives 1,
 * or 0 if it was not there to suffer it.
 */
export class Instance {
  readonly name: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #place: Place;
  #program: Program | undefined;
  #url = "";
  /** What it logged as an error or of people's texts, or said on its way down. */
  readonly complaints: string[] = [];
  #isPaused = false;
  /** Where another version of the program is; undefined: this one. */
  #folder: string | undefined;

  constructor(name: string, env: NodeJS.ProcessEnv, place: Place = { address: "127.0.0.1", through: [] }) {
    this.name = name;
    this.#env = env;
    this.#place = place;
  }

  get url(): string {
    return this.#url;
  }

  get pid(): number {
    return this.#program?.child.pid ?? 0;
  }

  isRunning(): boolean {
    return this.#program?.isRunning() ?? false;
  }

  /** From its next start on it runs the program in a folder, or this one again. */
  become(folder: string | undefined): void {
    this.#folder = folder;
  }

  async start(): Promise<number> {
    if (this.isRunning()) throw new Error(`${this.name} runs already`);
    const port = this.#url === "" ? "0" : new URL(this.#url).port;
    const program = await startProgram({ NODE_ENV: "test", ...this.#env, PORT: port }, this.#which());
    this.#program = program;
    this.#isPaused = false;
    this.#url = program.url.replace("localhost", this.#place.address);
    void program.exited.then(() => {
      this.complaints.push(...program.lines().filter(isComplaint));
    });
    return 1;
  }

  #which(): Which {
    return { through: this.#place.through, ...(this.#folder !== undefined && { folder: this.#folder }) };
  }

  /** As if the power went: no goodbye to anybody. */
  async kill(): Promise<number> {
    if (!this.#program?.isRunning()) return 0;
    await endProgram(this.#program);
    return 1;
  }

  /** In good order; an end that takes too long, or is not 0, is a complaint. */
  async stop(): Promise<number> {
    if (!this.#program?.isRunning()) return 0;
    this.resume();
    const program = this.#program;
    const timer = setTimeout(() => program.kill("SIGKILL"), stopLimitMs);
    program.kill("SIGTERM");
    const code = await program.exited;
    clearTimeout(timer);
    if (code !== 0) this.complaints.push(`${this.name} ended with ${code}`);
    return 1;
  }

  /** It stands still, with all its connections open. */
  pause(): number {
    if (this.#isPaused || !this.#program?.isRunning()) return 0;
    this.#isPaused = true;
    this.#program.kill("SIGSTOP");
    return 1;
  }

  resume(): number {
    if (!this.#isPaused || !this.#program?.isRunning()) return 0;
    this.#isPaused = false;
    this.#program.kill("SIGCONT");
    return 1;
  }
}

/** Warnings are part of a rough life; errors (level 50), bare text and what people wrote are not. */
export function isComplaint(line: string): boolean {
  if (line.includes(textMark)) return true;
  try {
    return JSON.parse(line).level >= 50;
  } catch {
    return line.trim() !== "";
  }
}
