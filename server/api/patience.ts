import { Failure } from "../errors.ts";
import { within } from "../within.ts";

/** Waits for what a client sends, but not longer: throws request_timeout. */
export function inTime<T>(ms: number, promise: Promise<T>): Promise<T> {
  return within(ms, promise, () => new Failure("request_timeout", "It came too slowly"));
}
