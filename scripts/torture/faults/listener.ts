import { listenerPids, query } from "../../../tests/support/postgres.ts";
import { at, type Fault, type Step, times, type World } from "../fault.ts";

/** The watchdog's two looks, the wait for a new connection, and as much again. */
const recoveryMs = 15_000;

export const listenerTerminated: Fault = {
  id: "listener-terminated",
  title: "the listener's backend is terminated every 500 ms",
  recoveryMs,
  // While a listener comes back there is none.
  mayMiss: true,
  plan: (_random, seconds) =>
    times(seconds * 2).map((index) => ({
      atMs: index * 500,
      what: "terminate all listeners",
      act: terminateListeners,
    })),
};

export const listenerUnlistened: Fault = {
  id: "listener-unlistened",
  title: "UNLISTEN * on the listener's connection, which stays as it is",
  recoveryMs,
  plan: (random, seconds) =>
    eachInTurn(seconds, 6, (place) => ({
      atMs: random.between(0, 1_000),
      what: `UNLISTEN * for instance ${place + 1}`,
      act: ({ roads }) => at(roads, place).unlisten(),
    })),
};

export const listenerBlackHoled: Fault = {
  id: "listener-black-holed",
  title: "the listener's TCP connection swallows everything and stays open",
  recoveryMs,
  plan: (random, seconds) =>
    eachInTurn(seconds, 6, (place) => ({
      atMs: random.between(0, 1_000),
      what: `black-hole the listener of instance ${place + 1}`,
      act: ({ roads }) => at(roads, place).swallowListeners(),
    })),
};

export const listenerStopped: Fault = {
  id: "listener-stopped",
  title: "the listeners' backends are stopped by SIGSTOP",
  recoveryMs,
  plan: (_random, seconds) => {
    let stopped: number[] = [];
    const stop = async ({ postgres }: World) => {
      stopped = await listenerPids(postgres.url);
      for (const pid of stopped) process.kill(pid, "SIGSTOP");
      return stopped.length;
    };
    const resume = () => {
      for (const pid of stopped) process.kill(pid, "SIGCONT");
      return stopped.length;
    };
    return [
      { atMs: 0, what: "stop the backends of all listeners", act: stop },
      { atMs: Math.max(8, seconds) * 1_000, what: "let them go on", act: resume },
    ];
  },
};

async function terminateListeners({ postgres }: World): Promise<number> {
  const pids = await listenerPids(postgres.url);
  const rows = await query(postgres.url, "SELECT pg_terminate_backend(unnest($1::int[])) AS is_sent", [pids]);
  return rows.filter(({ is_sent }) => is_sent).length;
}

/** A step every so many seconds, at one instance after the other. */
function eachInTurn(seconds: number, everySeconds: number, step: (place: number) => Step): Step[] {
  return times(Math.max(2, seconds / everySeconds)).map((index) => {
    const made = step(index % 2);
    return { ...made, atMs: made.atMs + index * everySeconds * 1_000 };
  });
}
