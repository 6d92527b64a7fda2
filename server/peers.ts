import type { Worker } from "node:cluster";
import type { MetricsData } from "./api/metrics.ts";
import { limits } from "./limits.ts";

/** The other processes of one port (WEB_CONCURRENCY), as one of them sees them. */
export interface Peers {
  /** What to tell the others of this process. */
  serve(read: () => Promise<MetricsData>): void;
  /** What the others tell; without those that do not answer in time. */
  collect(): Promise<MetricsData[]>;
}

/** From worker to first process. */
export type ToFirst = { ask: number } | { answer: number; to: number; data: MetricsData };
/** From first process to worker: how many were asked; what another worker asks; an answer to one's own. */
type ToWorker =
  | { asked: number; count: number }
  | { ask: number; from: number }
  | { answer: number; data: MetricsData };

/** What the first process does: it passes questions on to all other workers, and answers back. */
export function relay(message: ToFirst, from: Worker, workers: Iterable<Worker>): void {
  const others = [...workers].filter((worker) => worker !== from && worker.isConnected());
  const tell = (worker: Worker | undefined, told: ToWorker) => worker?.isConnected() && worker.send(told);
  if ("answer" in message) {
    const { answer, data } = message;
    tell(
      others.find(({ id }) => id === message.to),
      { answer, data },
    );
    return;
  }
  tell(from, { asked: message.ask, count: others.length });
  for (const other of others) tell(other, { ask: message.ask, from: from.id });
}

interface Question {
  answers: MetricsData[];
  /** How many were asked, once that is known. */
  count: number | undefined;
  done(): void;
}

/** The others, for a worker; by way of the first process. */
export function createPeers(worker: Worker): Peers {
  const questions = new Map<number, Question>();
  let asked = 0;
  let read: () => Promise<MetricsData> = async () => [];
  const tell = (told: ToFirst) => worker.isConnected() && worker.send(told);

  worker.on("message", async (message: ToWorker) => {
    if ("ask" in message) {
      tell({ answer: message.ask, to: message.from, data: await read() });
      return;
    }
    const question = questions.get("answer" in message ? message.answer : message.asked);
    if (!question) return;
    if ("answer" in message) question.answers.push(message.data);
    else question.count = message.count;
    if (question.answers.length === question.count) question.done();
  });

  return {
    serve: (own) => {
      read = own;
    },
    collect: async () => {
      const id = ++asked;
      const { promise, resolve: done } = Promise.withResolvers<void>();
      const question: Question = { answers: [], count: undefined, done };
      questions.set(id, question);
      const timer = setTimeout(done, limits.peersAnswerMs);
      tell({ ask: id });
      await promise;
      clearTimeout(timer);
      questions.delete(id);
      return question.answers;
    },
  };
}
