import type { Logger } from "pino";
import type { Sender } from "../commands/messages.ts";
import type { Stream } from "../delivery/stream.ts";
import { Failure } from "../errors.ts";
import { ackFrame, errorFrame, type Frame, frameSchema, pongFrame } from "../events.ts";
import { limits } from "../limits.ts";
import { parse, toFailure } from "./problems.ts";

export interface FrameParts {
  sender: Sender;
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
      if (held === 0) return send(parts.sender, stream, frame);
      const started = begun.then(() => ({ answer: send(parts.sender, stream, frame) }));
      holdUp(started);
      return started.then(({ answer }) => answer);
    }
    const done = answered.then(() => pongFrame(frame.ref));
    holdUp(done);
    return done;
  };

  const handle = async (input: unknown, previous: Promise<unknown>): Promise<void> => {
    const answer = await refuseGently(parts, readRef(input), async () => carryOut(parse(frameSchema, input)));
    await previous;
    if (answer === null) stream.close("session_revoked");
    else stream.answer(answer);
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

/** The answer, or an `error` frame if it was refused; null when the session is over. */
async function refuseGently(
  parts: FrameParts,
  ref: string | undefined,
  act: () => Promise<string>,
): Promise<string | null> {
  try {
    return await act();
  } catch (error) {
    const failure = toFailure(error, parts.log);
    return failure.code === "session_revoked" ? null : errorFrame(ref, failure.code, failure.message);
  }
}

type SendFrame = Extract<Frame, { type: "message.send" }>;

/** Hands a message in before it first waits; gives its `ack`. */
async function send(sender: Sender, stream: Stream, frame: SendFrame): Promise<string> {
  const { discussionId, userId, sessionId } = stream.owner;
  const target = frame.discussion_id ?? discussionId;
  if (target === null) throw new Failure("invalid_request", "discussion_id: is needed on this socket");
  const sent = await sender.send({
    session_id: sessionId,
    sender_id: userId,
    discussion_id: target,
    content: frame.content,
    client_id: frame.client_id ?? null,
    reply_to_seq: frame.reply_to_seq ?? null,
  });
  return ackFrame(frame.ref, sent.message);
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
