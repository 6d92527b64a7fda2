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
 * Carries out what a client sends on its socket. Frames are carried out, and answered, in order: sends go
 * into the group commit's line as they come, which keeps their order; any other frame waits for all before
 * it. The handler never throws: crossws would end the process.
 */
export function createFrameHandler(parts: FrameParts, stream: Stream): (data: unknown) => void {
  let waiting = 0;
  let last: Promise<void> = Promise.resolve();
  let lastIsSend = true;

  const carryOut = async (frame: Frame): Promise<string> => {
    if (frame.type === "ping") return pongFrame(frame.ref);
    return ackFrame(frame.ref, await send(parts.sender, stream, frame));
  };

  const handle = async (data: string, before: Promise<void>): Promise<void> => {
    let ref: string | undefined;
    let answer: string;
    try {
      const input: unknown = JSON.parse(data);
      ref = readRef(input);
      const frame = parse(frameSchema, input);
      const isSend = frame.type === "message.send";
      const afterSend = lastIsSend;
      lastIsSend = isSend;
      if (!isSend || !afterSend) await before;
      answer = await carryOut(frame);
    } catch (error) {
      const failure = toFailure(error, parts.log);
      if (failure.code === "session_revoked") return stream.close("session_revoked");
      answer = errorFrame(ref, failure.code, failure.message);
    }
    await before;
    stream.answer(answer);
  };

  return (data) => {
    if (typeof data !== "string" || !isJson(data)) return stream.close("bad_frame");
    if (waiting >= limits.framesWaiting) return stream.close("rate_limited");
    waiting++;
    last = handle(data, last).finally(() => {
      waiting--;
    });
  };
}

async function send(sender: Sender, stream: Stream, frame: Extract<Frame, { type: "message.send" }>) {
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
  return sent.message;
}

function readRef(input: unknown): string | undefined {
  if (typeof input !== "object" || input === null || !("ref" in input)) return undefined;
  return typeof input.ref === "string" ? input.ref : undefined;
}

function isJson(data: string): boolean {
  try {
    JSON.parse(data);
    return true;
  } catch {
    return false;
  }
}
