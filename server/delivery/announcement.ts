import { type LogEvent, parseEventLine } from "../../sql/log.ts";

/** One NOTIFY of the channel `events`: a range of positions and, if they fitted into it, their events. */
export interface Announcement {
  from: number;
  to: number;
  events: LogEvent[] | null;
}

/**
 * Reads a payload as announce_events() writes it: "from to", then a line of tab-separated fields per event.
 * Throws on anything else: whoever may connect to the database can NOTIFY.
 */
export function parseAnnouncement(payload: string): Announcement {
  const lines = payload.split("\n");
  const announcement = { ...readRange(payload), events: null };
  if (lines.length === 1) return announcement;
  const events = lines.slice(1).map((line) => parseEventLine(line));
  events.forEach(({ position }, index) => {
    if (position !== announcement.from + index) throw new Error("events are announced in order");
  });
  if (events.length !== announcement.to - announcement.from + 1) throw new Error("not all events announced");
  return { ...announcement, events };
}

/** The positions that a payload is about. Throws on anything else. */
export function readRange(payload: string): { from: number; to: number } {
  const [, from, to] = /^([0-9]{1,15}) ([0-9]{1,15})(?:\n|$)/.exec(payload) ?? [];
  const range = { from: Number(from), to: Number(to) };
  if (!(range.from >= 1 && range.from <= range.to)) throw new Error("not an announcement");
  return range;
}
