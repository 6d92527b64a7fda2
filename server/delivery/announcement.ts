import type { LogEvent } from "../../sql/log.ts";

/** One NOTIFY of the channel `events`: a range of positions and, if they fitted into it, their events. */
export interface Announcement {
  from: number;
  to: number;
  events: LogEvent[] | null;
}

/**
 * Reads a payload as announce_events() writes it: "from to", then a line of tab-separated fields per event.
 */
export function parseAnnouncement(payload: string): Announcement {
  const lines = payload.split("\n");
  const [from = "", to = ""] = (lines[0] ?? "").split(" ");
  const announcement = { from: Number(from), to: Number(to), events: null };
  if (!Number.isSafeInteger(announcement.from) || !Number.isSafeInteger(announcement.to)) {
    throw new Error("not an announcement");
  }
  if (lines.length === 1) return announcement;
  return { ...announcement, events: lines.slice(1).map(parseLine) };
}

function parseLine(line: string): LogEvent {
  const [position, discussion_id, user_id, type, at, data] = line.split("\t");
  if (!position || discussion_id === undefined || user_id === undefined || !type || !at || !data) {
    throw new Error("not an event line");
  }
  return { position: Number(position), discussion_id, user_id, type, at, data };
}
