import type { Logger } from "pino";
import type { Act } from "../../sql/changes.ts";
import type { Pool } from "../../sql/database.ts";
import { edit, react, remove } from "../commands/changes.ts";
import type { Sender } from "../commands/messages.ts";
import type { ReadMarks } from "../commands/reads.ts";
import type { TypingSignals } from "../commands/typing.ts";
import type { Stream } from "../delivery/stream.ts";
import { type Closing, fail } from "../errors.ts";
import { ackFrame, errorFrame, type Frame, frameSchema, pongFrame } from "../events.ts";
import { limits } from "../limits.ts";
import { parse, toFailure } from "./problems.ts";
import type { RateLimits } from "./rate-limits.ts";

export interface FrameParts {
  pool: Pool;
  rateLimits: RateLimits;
  sender: Sender;
  readMarks: ReadMarks;
  typing: TypingSignals;
  log: Logger;
}

/**
 * Carries out what a client sends on its socket. Frames are carried out, and answered, in order. A send
 * counts as carried out once it stands in the group commit's line, which keeps the order; any other frame is
 * begun when all before it are answered. The handler never throws: crossws would end the process.
 */
export function createFrameHandler(parts: FrameParts, stream: Stream): (data: unknown) => void {
  /** The frames that wait for their answer, and how much they hold in memory. */
  let unanswered = 0;
  let characters = 0;
  /** Frames that those after them have to wait for: sends not handed in, others not done. */
  let held = 0;
  let begun: Promise<unknown> = Promise.resolve();
  let answered: Promise<unknown> = Promise.resolve();

  const holdUp = (until: Promise<unknown>): void => {
    held++;
    const release = () => {
      held--;
    };
    begun = until.then(release, release);
  };

  /** Gives the answer to a frame, or the reason of its refusal; see the order above. */
  const carryOut = (frame: Frame): Promise<string> => {
    if (frame.type === "message.send") {
      if (held === 0) return send(parts, stream, frame);
      const started = begun.then(() => ({ answer: send(parts, stream, frame) }));
      holdUp(started);
      return started.then(({ answer }) => answer);
    }
    const done = answered.then(() => act(parts, stream, frame));
    holdUp(done);
    return done;
  };

  const handle = async (input: unknown, previous: Promise<unknown>): Promise<void> => {
    const act = async () => carryOut(parse(frameSchema, input));
    const outcome = await refuseGently(parts, stream, readRef(input), act);
    await previous;
    if ("closing" in outcome) stream.close(outcome.closing);
    else if (outcome.answer !== "") stream.answer(outcome.answer);
  };

  return (data) => {
    // What was under way when the socket was closed is not carried out any more.
    if (stream.isClosed) return;
    const input = typeof data === "string" ? parseJson(data) : undefined;
    if (typeof data !== "string" || input === undefined) return stream.close("bad_frame");
    if (unanswered >= limits.framesWaiting || characters + data.length > limits.framesWaitingCharacters) {
      return stream.close("rate_limited");
    }
    unanswered++;
    characters += data.length;
    answered = handle(input, answered).finally(() => {
      unanswered--;
      characters -= data.length;
    });
  };
}

/**
 * The answer, or an `error` frame if it was refused; or why the socket closes: its session is over, or its
 * client has sent too many frames that were refused.
 */
async function refuseGently(
  parts: FrameParts,
  stream: Stream,
  ref: string | undefined,
  act: () => Promise<string>,
): Promise<{ answer: string } | { closing: Closing }> {
  try {
    return { answer: await act() };
  } catch (error) {
    const failure = toFailure(error, parts.log);
    if (failure.code === "session_revoked") return { closing: "session_revoked" };
    if (parts.rateLimits.isFlood(stream.owner.userId)) return { closing: "rate_limited" };
    return { answer: errorFrame(ref, failure.code, failure.message) };
  }
}

type SendFrame = Extract<Frame, { type: "message.send" }>;

/** Hands a message in before it first waits; gives its `ack`. */
async function send({ sender, rateLimits }: FrameParts, stream: Stream, frame: SendFrame): Promise<string> {
  const { userId, sessionId } = stream.owner;
  rateLimits.byUser("send", userId);
  const sent = await sender.send({
    session_id: sessionId,
    sender_id: userId,
    discussion_id: targetOf(stream, frame),
    content: frame.content,
    client_id: frame.client_id ?? null,
    reply_to_seq: frame.reply_to_seq ?? null,
    attachment_ids: frame.attachment_ids ?? [],
  });
  return ackFrame(frame.ref, `"message":${sent.message}`);
}

/** Carries out any other frame. Its answer is empty if it has no `ref`: the event tells enough. */
async function act(parts: FrameParts, stream: Stream, frame: Exclude<Frame, SendFrame>): Promise<string> {
  const { userId, sessionId } = stream.owner;
  await parts.rateLimits.byUser("write", userId);
  if (frame.type === "ping") return pongFrame(frame.ref);
  const actor = { session_id: sessionId, user_id: userId, discussion_id: targetOf(stream, frame) };
  let fields = "";
  if (frame.type === "typing") await parts.typing.show(actor);
  else fields = await carryOutAct(parts, { ...actor, seq: frame.seq }, frame);
  return frame.ref === undefined ? "" : ackFrame(frame.ref, fields);
}

/** Gives the members of the answer; see ackFrame(). */
async function carryOutAct(
  { pool, readMarks }: FrameParts,
  target: Act,
  frame: Exclude<Frame, SendFrame | { type: "ping" | "typing" }>,
): Promise<string> {
  switch (frame.type) {
    case "message.edit":
      return `"message":${await edit(pool, target, frame.content)}`;
    case "message.delete":
      await remove(pool, target);
      return "";
    case "reaction.add":
    case "reaction.remove":
      await react(pool, target, frame.emoji, frame.type === "reaction.add");
      return "";
    case "read":
      return (await readMarks.mark(target)).slice(1, -1);
  }
}

/** The discussion that a frame is about. Throws invalid_request. */
function targetOf(stream: Stream, frame: { discussion_id?: string | undefined }): string {
  const target = frame.discussion_id ?? stream.owner.discussionId;
  return target ?? fail("invalid_request", "discussion_id: is needed on this socket");
}

function readRef(input: unknown): string | undefined {
  if (typeof input !== "object" || input === null || !("ref" in input)) return undefined;
  return typeof input.ref === "string" ? input.ref : undefined;
}

/** Undefined, which no JSON text means, if it is none. */
function parseJson(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}
