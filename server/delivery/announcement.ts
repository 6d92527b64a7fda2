import type { LogEvent } from "../../sql/log.ts";

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
  const [, from, to] = /^([0-9]{1,15}) ([0-9]{1,15})$/.exec(lines[0] ?? "") ?? [];
  const announcement = { from: Number(from), to: Number(to), events: null };
  if (!(announcement.from >= 1 && announcement.from <= announcement.to))
    throw new Error("not an announcement");
  if (lines.length === 1) return announcement;
  const events = lines.slice(1).map((line, index) => parseLine(line, announcement.from + index));
  if (events.length !== announcement.to - announcement.from + 1) throw new Error("not all events announced");
  return { ...announcement, events };
}

function parseLine(line: string, expected: number): LogEvent {
  const [position, discussion_id, user_id, type, at, data] = line.split("\t");
  if (position !== `${expected}`) throw new Error("events are announced in order");
  if (discussion_id === undefined || user_id === undefined || !type || !at || !data?.startsWith("{")) {
    throw new Error("not an event line");
  }
  return { position: expected, discussion_id, user_id, type, at, data };
}
