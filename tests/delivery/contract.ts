import { test } from "uvu";
import { withServer } from "../support/server.ts";
import type { StreamKind } from "../support/streams.ts";
import { access } from "./access.ts";
import { events } from "./events.ts";
import type { Behaviour } from "./help.ts";
import { members } from "./members.ts";
import { start } from "./start.ts";

/** What every stream does, whether it is read as Server-Sent Events or as a WebSocket. */
export const contract: Behaviour[] = [...start, ...events, ...members, ...access];

/** Registers the whole list as tests of one kind of stream. */
export function testContract(kind: StreamKind): void {
  for (const { name, act } of contract) test(`${kind}: ${name}`, () => withServer((t) => act(kind, t)));
}
