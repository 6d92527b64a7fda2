import type { Pool } from "../../sql/database.ts";
import { readEventsFor } from "../../sql/log.ts";
import { joiningTypes, type ResetReason } from "../events.ts";
import { limits } from "../limits.ts";
import { within } from "../within.ts";
import { EncodedEvent } from "./encoding.ts";
import type { Feed } from "./feed.ts";
import type { Hub } from "./hub.ts";
import type { Stream } from "./stream.ts";

export interface JoinParts {
  pool: Pool;
  feed: Feed;
  hub: Hub;
  /** Bounds how many streams read the log from the database at once. */
  inTurn<T>(read: () => Promise<T>): Promise<T>;
}

/** A replay writes pieces of this size, and looks after each whether its client keeps up. */
const bytesPerWrite = 64 * 1024;

/**
 * Brings a stream from its position to the feed's or beyond, then hands it to the hub: replay, then live,
 * with nothing between. The last look at the feed's position and the handing over are one turn of the event
 * loop; the feed moves only in other turns. The client's own pace bounds what is buffered. With `reset` that
 * comes first.
 */
export async function join(parts: JoinParts, stream: Stream, reset: ResetReason | null): Promise<void> {
  const { feed, hub } = parts;
  const { epoch } = stream.owner;
  // After a restored backup the opening may have seen the new history before the feed has, and perhaps by the
  // old one's name.
  if (epoch !== feed.epoch || reset === "cursor_ahead") await feed.verify();
  if (epoch !== feed.epoch) return stream.close("restarting");
  if (reset) stream.reset(epoch, reset);
  await feed.reach(stream.owner.authorizedAt);
  for (;;) {
    if (stream.isClosed) return;
    if (stream.isCongested()) {
      await waitForRoom(stream);
      continue;
    }
    // What was stored before the stream was asked for comes before `ready`, even where the feed is behind. It
    // may have changed what memory holds: then the table tells.
    const end = Math.max(feed.position, stream.owner.authorizedAt);
    if (stream.position >= end && feed.position < end) {
      // Live events would only begin with those that the stream has seen.
      await feed.reach(end);
      continue;
    }
    const recent = feed.position < end ? null : feed.recentAfter(stream.position);
    if (recent === null || (recent.length === 0 && stream.position < end)) {
      await replayPage(parts, stream, end);
      continue;
    }
    for (const encoded of recent) {
      stream.offer(encoded);
      if (stream.pendingBytes >= bytesPerWrite && stream.isCongested()) break;
    }
    if (stream.isClosed) return;
    if (stream.position >= end) {
      stream.ready(feed.epoch);
      hub.attach(stream);
      return;
    }
  }
}

/**
 * One page from the table: events of the discussions the stream is in at its position, and those that concern
 * its user by name. A joining that comes up ends the page, as that discussion's events were not asked for.
 */
async function replayPage(parts: JoinParts, stream: Stream, to: number): Promise<void> {
  const { pool, feed } = parts;
  const epoch = feed.epoch;
  const discussionIds = [...stream.discussions];
  const filter = { discussion_ids: discussionIds, user_id: stream.owner.userId, after: stream.position, to };
  const page = await parts.inTurn(async () =>
    stream.isClosed ? null : readEventsFor(pool, filter, limits.logPage),
  );
  if (page === null) return;
  // Pruned under the replay: the client comes back with its cursor, and is told to begin anew.
  if (page.oldest > filter.after + 1) return stream.close("restarting");
  const asked = new Set(discussionIds);
  for (const event of page.events) {
    stream.offer(new EncodedEvent(epoch, event));
    const joined = event.user_id === stream.owner.userId && joiningTypes.has(event.type);
    if (joined && stream.discussions.has(event.discussion_id) && !asked.has(event.discussion_id)) return;
  }
  if (page.complete) stream.skipTo(to);
}

/** A client that reads nothing at all of its replay is given up after a while. */
async function waitForRoom(stream: Stream): Promise<void> {
  await within(limits.replayStallMs, stream.drained()).catch(() => stream.close("too_slow"));
}
