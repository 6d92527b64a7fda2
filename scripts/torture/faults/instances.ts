import { at, type Fault, times, type World } from "../fault.ts";

export const instanceKilled: Fault = {
  id: "instance-killed",
  title: "one of two instances is killed by SIGKILL; its clients move to the other",
  recoveryMs: 10_000,
  plan: (random, seconds) =>
    times(Math.max(2, seconds / 5)).flatMap((index) => {
      const place = random.integer(0, 1);
      const atMs = index * 5_000 + random.between(0, 1_000);
      return [
        {
          atMs,
          what: `kill instance ${place + 1}`,
          act: ({ instances }: World) => at(instances, place).kill(),
        },
        {
          atMs: atMs + random.between(1_000, 3_000),
          what: `start instance ${place + 1}`,
          act: ({ instances }: World) => at(instances, place).start(),
        },
      ];
    }),
};

export const rollingRestart: Fault = {
  id: "rolling-restart",
  title: "all instances are restarted in turn by SIGTERM",
  recoveryMs: 10_000,
  plan: (_random, seconds) =>
    times(Math.max(2, seconds / 5)).map((index) => ({
      atMs: index * 5_000,
      what: `restart instance ${(index % 2) + 1}`,
      act: async ({ instances }) => {
        const instance = at(instances, index % 2);
        return Math.min(await instance.stop(), await instance.start());
      },
    })),
};

export const instancePaused: Fault = {
  id: "instance-paused",
  title: "an instance stands still (SIGSTOP) for twenty seconds, then goes on",
  recoveryMs: 20_000,
  plan: (random, seconds) => {
    const place = random.integer(0, 1);
    const pause = async ({ instances }: World) => {
      const instance = at(instances, place);
      if (instance.pause() === 0) return 0;
      return (await isSilent(instance.url)) ? 1 : 0;
    };
    return [
      { atMs: 0, what: `pause instance ${place + 1}`, act: pause },
      {
        atMs: Math.min(20, seconds * 2) * 1_000,
        what: "let it go on",
        act: ({ instances }) => at(instances, place).resume(),
      },
    ];
  },
};

/** Whether nobody answers for a second. */
async function isSilent(url: string): Promise<boolean> {
  return fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1_000) }).then(
    () => false,
    () => true,
  );
}
