import type { Person } from "../population.ts";

/** One connection of a person, as the generator is told to open it. */
export interface ConnectionPlan {
  port: number;
  person: Person;
  format: "ws" | "sse";
  /** Only this room; null: all of the person's. */
  roomId: string | null;
  /** Everything after this cursor; null: from now. */
  since: string | null;
}

/** A message to be sent. */
export interface Outgoing {
  person: Person;
  roomId: string;
  /** Of 100 bytes, plain ASCII, with its marker at the start. */
  content: string;
}

export type FrameKind = "delivery" | "ack" | "control";

/** What a client does about a frame that is neither delivery nor ack. */
export type Reaction = { ready: true } | { reply: string } | { refused: string } | null;

/** How clients of one system speak. */
export interface Client {
  /** The request that opens a connection; its headers besides those of every upgrade. */
  opening(plan: ConnectionPlan): { path: string; headers: Record<string, string> };
  /** Whether nothing more is awaited once the connection is accepted. */
  readyWhenOpen: boolean;
  /**
   * What a text frame, or a Server-Sent Event, is, by its first bytes: parsing every delivery as JSON would
   * cost the generator more than it costs the server.
   */
  kindOf(data: Buffer, at: number): FrameKind;
  react(text: string, plan: ConnectionPlan): Reaction;
  /** The text frame that sends a message. */
  frame(message: Outgoing): string;
  /** The request that sends a message over REST; only where there is one. */
  request?(message: Outgoing): { path: string; headers: Record<string, string>; body: string };
}
