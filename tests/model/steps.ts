/**
 * What a run consists of, as plain numbers: fast-check makes them up and makes them small, and the model says
 * what they mean when their turn comes. Zero is always the simplest thing.
 */
import fc from "fast-check";
import { block, erase, rename, unblock } from "./commands/accounts.ts";
import type { Command, Way } from "./commands/command.ts";
import {
  add,
  change,
  changeRole,
  createDirect,
  createGroup,
  destroy,
  expel,
  join,
  mute,
} from "./commands/discussions.ts";
import { lookAround, lookAt, lookBack, lookInto } from "./commands/looks.ts";
import { edit, react, read, remove, type Sending, send } from "./commands/messages.ts";
import type { Discussion, Model } from "./model.ts";
import type { HistoryPage } from "./shapes.ts";

export interface Act {
  what: string;
  who: number;
  where: number;
  whom: number;
  number: number;
  text: number;
  way: number;
}

export interface Listening {
  who: number;
  /** 0: all discussions. */
  where: number;
  kind: "sse" | "ws";
  instance: number;
  /** From now, from the list or the discussion that was just loaded, or from some cursor of the past. */
  since: "now" | "loaded" | "old";
  back: number;
}

export type Step =
  | { do: "act"; act: Act }
  | ({ do: "together"; acts: Act[] } & Coming)
  | { do: "burst"; acts: Act[] }
  | { do: "listen"; listening: Listening }
  | { do: "cut"; which: number; forgotten: number }
  | { do: "return"; return: Return };

/** Somebody who was cut off comes back. */
export interface Return {
  which: number;
  instance: number;
}

/** Who comes while others do something: at most one of each. */
export interface Coming {
  returns: Return[];
  listens: Listening[];
}

export interface Plan {
  steps: Step[];
  /** Those who come with an old cursor when all is over. */
  late: Listening[];
}

/** How often each thing is done. */
const weights: Record<string, number> = {
  send: 36,
  sendAgain: 8,
  edit: 18,
  remove: 8,
  react: 12,
  unreact: 6,
  read: 16,
  readAll: 4,
  createDirect: 4,
  createGroup: 5,
  change: 6,
  join: 6,
  add: 9,
  expel: 10,
  changeRole: 6,
  mute: 2,
  block: 3,
  unblock: 3,
  destroy: 2,
  lookAt: 3,
  lookInto: 3,
  lookAround: 3,
  lookBack: 2,
  rename: 1,
  erase: 1,
};

/** Of these there has to be something to be done to. */
const toMessages = new Set(["edit", "remove", "react", "unreact", "read", "readAll", "lookBack"]);

/**
 * Not at the same time as other things: erasing takes several transactions, and what is being sent may or may
 * not be among all that is read.
 */
const alone = new Set(["erase", "readAll"]);

/** What can be done by a frame. */
const isFrame = (kind: string) =>
  ["send", "sendAgain", "edit", "remove", "react", "unreact", "read"].includes(kind);

function actOf(kinds: string[]): fc.Arbitrary<Act> {
  const what = fc.oneof(
    ...kinds.map((kind) => ({ arbitrary: fc.constant(kind), weight: weights[kind] ?? 1 })),
  );
  // Mostly in the first place and of the newest, so that much happens to the same things.
  const often = fc.oneof({ weight: 3, arbitrary: fc.nat(2) }, { weight: 2, arbitrary: fc.nat(11) });
  return fc.record({
    what,
    who: fc.nat(3),
    where: fc.oneof({ weight: 1, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: often }),
    whom: fc.nat(3),
    number: often,
    text: fc.nat(11),
    way: fc.nat(3),
  });
}

const listening: fc.Arbitrary<Listening> = fc.record({
  who: fc.nat(3),
  where: fc.oneof(fc.constant(0), fc.nat(4)),
  kind: fc.constantFrom("sse", "ws"),
  instance: fc.nat(1),
  since: fc.constantFrom("now", "loaded", "old"),
  back: fc.nat(150),
});
const late: fc.Arbitrary<Listening> = listening.map((one) => ({ ...one, since: "old" }));
const returning: fc.Arbitrary<Return> = fc.record({ which: fc.nat(5), instance: fc.nat(1) });

const kinds = Object.keys(weights);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 16, arbitrary: fc.record({ do: fc.constant("act"), act: actOf(kinds) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("together"),
      acts: fc.array(actOf(kinds.filter((kind) => !alone.has(kind))), { minLength: 2, maxLength: 4 }),
      returns: fc.array(returning, { maxLength: 1 }),
      listens: fc.array(listening, { maxLength: 1 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("burst"),
      acts: fc.array(actOf(Object.keys(weights).filter(isFrame)), { minLength: 2, maxLength: 5 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("listen"), listening }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("cut"), which: fc.nat(5), forgotten: fc.nat(4) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("return"), return: returning }) },
) as fc.Arbitrary<Step>;

/** `length`: the most steps. */
export function plansOf(length: number): fc.Arbitrary<Plan> {
  return fc.record({
    steps: fc.array(step, { minLength: length / 2, maxLength: length }),
    late: fc.array(late, { minLength: 2, maxLength: 5 }),
  });
}

/** What an act means now; null: nothing can be done so. */
export function toCommand(model: Model, act: Act): Command | null {
  // Whose account is erased has little left to do.
  const living = model.people.filter(({ isErased }) => !isErased);
  const actor = pick(living.length > 0 && act.text < 11 ? living : model.people, act.who);
  const whom = pick(model.people, act.whom);
  if (!actor || !whom) return null;
  const way: Way = { instance: act.way % 2, byFrame: act.way >= 2 };
  const free = withoutPlace(model, act, actor.id, whom.id, way);
  if (free) return free;
  const place = placeOf(model, act.where, actor.id, toMessages.has(act.what));
  return place ? inPlace(place, act, actor.id, whom.id, way, usernameOf(model)) : null;
}

function withoutPlace(model: Model, act: Act, actorId: string, whomId: string, way: Way): Command | null {
  switch (act.what) {
    case "createDirect":
      return createDirect(actorId, way, whomId);
    case "createGroup": {
      const others = [whomId, ...(act.number % 2 ? [pick(model.people, act.whom + 1)?.id ?? whomId] : [])];
      const name = [null, "Group", "Other"][act.text % 3] ?? null;
      return createGroup(actorId, way, name, others, act.number % 4 === 3 ? "public" : "private");
    }
    case "block":
      return block(actorId, way, whomId);
    case "unblock":
      return unblock(actorId, way, whomId);
    case "rename":
      return rename(actorId, way, act.text % 2 === 0 ? "Robin" : "Kim, or not");
    case "erase":
      return erase(actorId, way);
    case "lookAround":
      return lookAround(actorId, way);
    default:
      return null;
  }
}

function inPlace(
  place: Discussion,
  act: Act,
  actorId: string,
  whomId: string,
  way: Way,
  usernames: (id: string) => string,
): Command | null {
  const { id } = place;
  const content = contentOf(act.text, usernames(whomId));
  const emoji = ["👍", "🎉", "👩🏾‍🚀"][act.text % 3] ?? "👍";
  switch (act.what) {
    case "send":
      return send(actorId, way, id, sendingOf(place, act, content));
    case "sendAgain":
      return again(place, act, actorId, way) ?? send(actorId, way, id, { content, client_id: "c1" });
    case "edit":
      return edit(actorId, way, id, seqOf(place, act.number, actorId), content);
    case "remove":
      return remove(actorId, way, id, seqOf(place, act.number, actorId));
    case "react":
    case "unreact":
      return react(actorId, way, id, seqOf(place, act.number, null), emoji, act.what === "react");
    case "read":
      return read(actorId, way, id, markOf(place, act));
    case "readAll":
      return read(actorId, way, id, 1_000);
    case "change": {
      const changes = [
        { name: "Group" },
        { name: "Other" },
        { name: null },
        { visibility: "public" as const },
      ];
      return change(actorId, way, id, pick(changes, act.text) ?? {});
    }
    case "join":
      return join(actorId, way, id);
    case "add":
      return add(actorId, way, id, act.number % 3 === 2 ? [whomId, actorId] : [whomId]);
    case "expel":
      return expel(actorId, way, id, act.number % 3 === 2 ? actorId : whomId);
    case "changeRole":
      return changeRole(
        actorId,
        way,
        id,
        whomId,
        (["member", "admin", "owner"] as const)[act.number % 3] ?? "member",
      );
    case "mute":
      return mute(actorId, way, id, act.number % 2 ? null : "2031-05-06T12:00:00.000Z");
    case "destroy":
      return destroy(actorId, way, id);
    case "lookAt":
      return lookAt(actorId, way, id);
    case "lookInto":
      return lookInto(actorId, way, id, pageOf(place, act));
    case "lookBack":
      return lookBack(actorId, way, id, seqOf(place, act.number, null));
    default:
      return null;
  }
}

export function pick<T>(from: readonly T[], index: number): T | undefined {
  return from[index % from.length];
}

/** Mostly one of the actor's, with messages if asked for; else any that there is, or was. */
export function placeOf(
  model: Model,
  where: number,
  actorId: string,
  hasMessages = false,
): Discussion | undefined {
  const all = [...model.discussions.values()];
  const own = model.discussionsOf(actorId);
  const busy = own.filter(({ messages }) => messages.length > 0);
  if (where < 10 && own.length > 0) return pick(hasMessages && busy.length > 0 ? busy : own, where);
  return pick(where === 10 ? all.filter(({ deletedAt }) => deletedAt === null) : all, where);
}

/** A text, perhaps with a mention; or one so long that its announcement tells only that it is there. */
function contentOf(text: number, username: string): string {
  const word = ["one", "two", "three"][text % 3] ?? "";
  if (text >= 11) return word.padEnd(9_000, ".");
  return text >= 6 ? `${word} @${username} there` : word;
}

function usernameOf(model: Model): (id: string) => string {
  return (id) => model.person(id).username;
}

/** A client that did not hear the answer sends once more what it had sent. */
function again({ id, messages }: Discussion, act: Act, actorId: string, way: Way): Command | null {
  const own = messages.filter(({ sender_id, client_id }) => sender_id === actorId && client_id !== null);
  const message = pick(own.toReversed(), act.number);
  const first = message?.versions[0];
  if (!message || !first) return null;
  const { client_id, reply_to_seq } = message;
  return send(actorId, way, id, {
    content: first.content,
    ...(client_id !== null && { client_id }),
    ...(reply_to_seq !== null && { reply_to_seq }),
  });
}

function sendingOf(place: Discussion, { number }: Act, content: string): Sending {
  if (number >= 2 && number < 5) return { content, client_id: `c${number % 4}` };
  if (number === 5 || number === 9)
    return { content, reply_to_seq: Math.max(1, place.messages.length - number + 6) };
  return { content };
}

function pageOf({ messages }: Discussion, { number, text }: Act): HistoryPage {
  const limit = 1 + (number % 4);
  const seq = Math.max(1, messages.length - number);
  const pages = [{ limit }, { limit, before: seq }, { limit, after: seq }, { limit, around: seq }];
  return pick(pages, text) ?? { limit };
}

/** About the end. */
function markOf({ messages }: Discussion, { number }: Act): number {
  return Math.max(0, messages.length - (number % 5));
}

/** A message from the end on, if possible of this sender; with the largest number one that never was. */
function seqOf({ messages }: Discussion, number: number, senderId: string | null): number {
  if (number === 11) return messages.length + 1;
  const own = messages.filter(({ sender_id }) => sender_id === senderId);
  const from = (own.length > 0 && number < 8 ? own : messages).toReversed();
  return pick(from, number)?.seq ?? 1;
}
