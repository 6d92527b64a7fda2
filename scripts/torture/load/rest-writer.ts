import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../../../tests/support/random.ts";
import { type Attempt, emptied } from "../history.ts";
import type { Gate } from "./gate.ts";
import { hashOf, Notebook } from "./notebook.ts";
import type { Patience, Person } from "./person.ts";

/** Somebody or something that works until it is told to stop. */
export interface Actor {
  /** Lets it finish what it has begun. */
  stop(): Promise<void>;
}

export interface Writing {
  person: Person;
  discussionIds: readonly string[];
  random: Random;
  pauseMs: number;
  /** What is changed goes through it: not while a restore makes another message of what is at a seq. */
  changes: Gate;
}

/** Sends one message after the other, each until it is answered, and now and then changes one of them. */
export function startRestWriter({ person, discussionIds, random, pauseMs, changes }: Writing) {
  const notebook = new Notebook(person.name, random);
  let isStopping = false;
  const work = async () => {
    while (!isStopping) {
      const { attempt, content } = notebook.begin(discussionIds);
      await send(person, notebook, attempt, content);
      if (random.chance(0.1)) await changes.pass(() => change(person, notebook, random));
      await sleep(random.between(0, 2 * pauseMs));
    }
  };
  const done = work();
  done.catch(() => {}); // Told by stop().
  const stop = () => {
    isStopping = true;
    return done;
  };
  return { notebook, stop };
}

/** Resolves when it is stored. */
export async function send(
  person: Person,
  notebook: Notebook,
  attempt: Attempt,
  content: string,
  patience?: Patience,
): Promise<void> {
  const { discussion_id, client_id } = attempt;
  const path = `/discussions/${discussion_id}/messages`;
  const message = await person.ask("POST", path, { content, client_id }, patience);
  notebook.acknowledge(attempt, message.seq, content);
}

async function change(person: Person, notebook: Notebook, random: Random): Promise<void> {
  const attempt = random.pick(notebook.attempts);
  if (!notebook.mayChange(attempt)) return;
  const path = `/discussions/${attempt.discussion_id}/messages/${attempt.seq}`;
  const what = random.between(0, 1);
  if (what < 0.5) {
    const content = notebook.change(attempt);
    await person.ask("PATCH", path, { content });
    attempt.acknowledged = hashOf(content);
  } else if (what < 0.7) {
    attempt.hashes.push(emptied);
    await person.ask("DELETE", path);
    attempt.acknowledged = emptied;
  } else {
    await person.ask(random.chance(0.7) ? "PUT" : "DELETE", `${path}/reactions/${encodeURIComponent("👍")}`);
  }
}
