import { setTimeout as sleep } from "node:timers/promises";
import type { Json } from "../../../tests/support/client.ts";
import type { Random } from "../../../tests/support/random.ts";
import type { Gate } from "./gate.ts";
import type { Person } from "./person.ts";
import { Subscriber } from "./subscriber.ts";

export interface Changing {
  owner: Person;
  /** Who is added and removed again and again. */
  guest: Person;
  discussionId: string;
  random: Random;
  pauseMs: number;
  /** Each coming and going goes through it. */
  changes: Gate;
  /** Whoever comes back to a stream goes through this one. */
  returns: Gate;
}

/** The subscriptions of a guest to one discussion at most; each is held against the whole log. */
const mostSubscriptions = 30;

/**
 * Adds somebody to a discussion and removes them, and has them listen to it each time that they may. The
 * server has to draw the line at the exact position.
 */
export function startMembershipChanges({
  owner,
  guest,
  discussionId,
  random,
  pauseMs,
  changes,
  returns,
}: Changing) {
  const subscribers: Subscriber[] = [];
  const members = `/discussions/${discussionId}/members`;
  let isStopping = false;
  const work = async () => {
    while (!isStopping) {
      await changes.pass(comeAndGo);
      await sleep(random.between(0, 2 * pauseMs));
    }
  };
  const comeAndGo = async () => {
    await owner.ask("POST", members, { user_ids: [guest.id] });
    const subscriber = subscribers.length < mostSubscriptions ? await listen() : null;
    await sleep(random.between(0, 2 * pauseMs));
    if (subscriber && subscriber.record.over !== null && !(await isGone())) {
      subscriber.record.faults.push(`${subscriber.record.over} while a member`);
    }
    // Asked again because the answer was lost: then nobody is there any more.
    const { status } = await owner.persist("DELETE", `${members}/${guest.id}`);
    if (status >= 300 && status !== 404) throw new Error(`a member was not removed: ${status}`);
  };
  const listen = async (): Promise<Subscriber | null> => {
    const { status, body } = await guest.persist("GET", `/discussions/${discussionId}`);
    if (status === 404 && (await isGone())) return null;
    if (status !== 200) throw new Error(`a member may not read: ${status} ${body?.code}`);
    const number = subscribers.length + 1;
    const subscriber = new Subscriber({
      name: `${guest.name}'s stream ${number} of the discussion`,
      person: guest,
      kind: random.chance(0.5) ? "sse" : "ws",
      discussionId,
      since: body.cursor,
      random: random.fork(`stream ${number}`),
      returns,
      patienceMs: 2_000,
    });
    subscriber.start();
    subscribers.push(subscriber);
    return subscriber;
  };
  /** What was asked on a connection that was given up, as no answer came, may be carried out much later. */
  const isGone = async () => {
    const { items } = await owner.ask("GET", `${members}?limit=200`);
    return !items.some(({ user_id }: Json) => user_id === guest.id);
  };
  const done = work();
  done.catch(() => {}); // Told by stop().
  const stop = () => {
    isStopping = true;
    return done;
  };
  return { subscribers, stop };
}
