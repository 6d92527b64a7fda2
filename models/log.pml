/*
 * The log and all that is between a commit and a client, small enough to try every interleaving: writers,
 * Postgres, an instance with its feed, a client that lists, joins a stream, is cut off and comes back, here or
 * at another instance. models/README.md tells what is left out, how to run it by hand and how to read a trail.
 *
 * Names are those of the code: sql/functions/02_log.sql, server/delivery/{feed,recent,join,hub,stream}.ts. One
 * turn of an event loop, or one statement of Postgres, is one step; between any two steps anything else may
 * happen. Sets of positions are bits, position 1 being the second lowest.
 *
 * Mistakes are switched on by -D: SUBSCRIBE_AFTER_READ, BARE_SEQUENCE, NO_WATCHDOG, TRUST_NOTIFY,
 * CURSOR_BEFORE_SNAPSHOT, CURSOR_AFTER_SNAPSHOT, PUBLISH_BEFORE_COMMIT, OFFER_AGAIN.
 */
#define POSITIONS 3 /* as many as the writers append at most */
#define concerning (bit(1) | bit(3)) /* those in a discussion of the client's */
#define RECENT 1    /* events that the feed keeps in memory: less than a replay may need */
#ifndef FAULTS
#define FAULTS 2    /* cuts, lost listeners and failed reads together; NOTIFYs are lost without number */
#endif

#define bit(position) (1 << (position))
#define upTo(position) (bit((position) + 1) - 2)
#define range(from, to) (upTo(to) - upTo((from) - 1))
#define newest(set) (((set) >= bit(1)) + ((set) >= bit(2)) + ((set) >= bit(3)))
#define larger(a, b) ((a) > (b) -> (a) : (b))

byte p; /* counts within one step */

/* What must happen in some runs, so that the others show something: -DWITNESS=… has Spin find one. */
#define OWN_EVENTS 1
#define KEPT_ANNOUNCEMENT 2
#define BARE_RANGE 3
#define REPLAY_FROM_MEMORY 4
#define REPLAY_FROM_TABLE 5
#define FEED_BEHIND_CURSOR 6
#define NEWS_DURING_REPLAY 7
#define EVERYTHING_STORED_AND_READ 8
#ifndef WITNESS
#define WITNESS 0
#endif
#define happens(what) assert(WITNESS != what)

/* ==== Postgres ==== */

byte committed;  /* the positions that a snapshot taken now shows */
bool logIsLocked;
byte sequence;
/* What is on its way to the listener: "from to", and whether it brings the events along. */
chan notifications = [3] of { byte, byte, bool };

/* A transaction that appends `count` events and commits or rolls back; who asked for it hears of it last. */
inline transact(count) {
  d_step {
#ifdef BARE_SEQUENCE
    true;
    from = sequence + 1;
    sequence = sequence + count;
#else
    !logIsLocked; /* else it waits: lock_log() */
    logIsLocked = true;
    from = newest(committed) + 1;
#endif
    to = from + count - 1;
#ifdef PUBLISH_BEFORE_COMMIT
    announce(true)
#endif
  }
  if
  :: d_step { commit(); announce(true) }
  :: d_step { commit(); announce(false) } /* the events are large: their range alone */
  :: d_step { commit() } /* and the announcement is lost */
  :: d_step { rollBack() }
  fi;
  if
  :: d_step { take(); working-- }
  :: d_step { working-- } /* it happened at another instance, or its answer was lost */
  fi
}

inline commit() {
#ifndef BARE_SEQUENCE
  assert(from == newest(committed) + 1); /* the order of positions is that of commits, without holes */
#endif
  committed = committed | range(from, to);
  printf("%d to %d are committed\n", from, to);
  logIsLocked = false
}

inline rollBack() {
  printf("%d to %d are rolled back\n", from, to);
  from = 0;
  to = 0;
  logIsLocked = false
}

inline announce(isWithEvents) {
  if
  :: feed.isListening -> notifications!from,to,isWithEvents
  :: !feed.isListening
  fi
}

/* ==== The feed: feed.ts, recent.ts ==== */

mtype = { IDLE, ASKED, ANSWERED };

typedef Feed {
  bool isListening;
  byte position;
  byte oldest; /* in memory, which ends at the position; if it is above that, nothing is in it */
  mtype reading;
  bool readAgain;
  byte page;
  byte announcedFrom; /* an announcement that came during a read; 0: none */
  byte announcedTo;
  bool isAnnouncedWhole;
}
Feed feed;

inline hear() {
  printf("the feed hears of %d to %d\n", from, to);
  if
  :: to <= feed.position
#ifdef TRUST_NOTIFY
  :: else ->
    feed.position = larger(feed.position, from - 1);
    apply(range(from, to))
#else
  :: else ->
    if
    :: feed.reading != IDLE && feed.announcedTo == 0 ->
      feed.announcedFrom = from;
      feed.announcedTo = to;
      feed.isAnnouncedWhole = isWhole
    :: feed.reading != IDLE && feed.announcedTo > 0 -> feed.readAgain = true
    :: feed.reading == IDLE && isWhole && from <= feed.position + 1 -> apply(range(from, to))
    :: feed.reading == IDLE && !(isWhole && from <= feed.position + 1) ->
      happens(BARE_RANGE);
      readGap()
    fi
#endif
  fi
}

/* The process that stored the events itself need not wait for their announcement. */
inline take() {
  if
  :: from > 0 && feed.reading == IDLE && from == feed.position + 1 ->
    happens(OWN_EVENTS);
    apply(range(from, to))
  :: else
  fi
}

inline readGap() {
  if
  :: feed.reading == IDLE -> feed.reading = ASKED
  :: else -> feed.readAgain = true
  fi
}

inline takePage() {
  printf("the feed has read the table\n");
  apply(feed.page);
  if
  :: feed.announcedTo > feed.position ->
    if
    :: feed.isAnnouncedWhole && feed.announcedFrom <= feed.position + 1 ->
      happens(KEPT_ANNOUNCEMENT);
      apply(range(feed.announcedFrom, feed.announcedTo))
    :: else -> feed.readAgain = true
    fi
  :: else
  fi;
  endReading((feed.readAgain -> ASKED : IDLE))
}

inline endReading(next) {
  feed.reading = next;
  feed.readAgain = false;
  feed.page = 0;
  feed.announcedFrom = 0;
  feed.announcedTo = 0;
  feed.isAnnouncedWhole = false
}

/* Takes those of the events that come after the position, and shows them to the stream if it is live. */
inline apply(events) {
  p = feed.position + 1;
  do
  :: p <= POSITIONS && (events) & bit(p) ->
    if
    :: p != feed.position + 1 -> /* the log has a hole */
#ifndef BARE_SEQUENCE
      assert(false);
#endif
      feed.oldest = p;
      close()
    :: else
    fi;
    feed.position = p;
    printf("the feed comes to %d\n", p);
    feed.oldest = larger(feed.oldest, p - RECENT + 1);
    if
    :: stream.phase == LIVE -> offer(p)
    :: else
    fi;
    p++
  :: p <= POSITIONS && !((events) & bit(p)) -> p++
  :: p > POSITIONS -> break
  od;
  p = 0
}

/* ==== Joining a stream, and being live: join.ts, stream.ts ==== */

mtype = { CLOSED, OPENING, JOINING, PAGE_ASKED, PAGE_ANSWERED, CAUGHT_UP, LIVE };

typedef Stream {
  mtype phase;
  byte position;
  byte authorizedAt;
  byte pageEnd;
  byte page;
}
Stream stream;

mtype = { EVENT, READY };
/* Written by the server, and not yet read by the client. */
chan wire = [5] of { mtype, byte };

#ifdef OFFER_AGAIN
#define reached larger(feed.position, stream.position)
#else
#define reached feed.position
#endif

/* Memory has all that the stream must see before it is live. */
#define isInMemory \
  (reached >= stream.authorizedAt && \
    (stream.position >= feed.position || stream.position + 1 >= feed.oldest))

/* What its opening saw comes before `ready`: having replayed that, a stream waits until the feed has it too. */
#define mayGoOn (reached >= stream.authorizedAt || stream.position < stream.authorizedAt)

/* One turn: from memory to the end and over to the hub; or else a page of the table is asked for. */
inline join() {
  if
  :: isInMemory ->
    p = stream.position + 1;
    do
    :: p <= feed.position -> happens(REPLAY_FROM_MEMORY); offer(p); p++
    :: else -> break
    od;
    p = 0;
    assert(stream.position >= stream.authorizedAt);
    printf("the stream is ready at %d\n", stream.position);
    wire!READY,stream.position;
#ifdef SUBSCRIBE_AFTER_READ
    stream.phase = CAUGHT_UP
#else
    stream.authorizedAt = 0;
    printf("the stream is live\n");
    stream.phase = LIVE /* hub.attach() */
#endif
  :: else ->
    stream.pageEnd = larger(feed.position, stream.authorizedAt);
    stream.phase = PAGE_ASKED
  fi
}

/* The page's events in order; whatever else is before its end is not for this stream. */
inline replayPage() {
  printf("the stream has read the table to %d\n", stream.pageEnd);
  p = stream.position + 1;
  do
  :: p <= POSITIONS && stream.page & bit(p) -> happens(REPLAY_FROM_TABLE); offer(p); p++
  :: p <= POSITIONS && !(stream.page & bit(p)) -> p++
  :: p > POSITIONS -> break
  od;
  p = 0;
  if
  :: feed.position > stream.pageEnd -> happens(NEWS_DURING_REPLAY)
  :: else
  fi;
  stream.position = larger(stream.position, stream.pageEnd); /* skipTo() */
  stream.pageEnd = 0;
  stream.page = 0;
  stream.phase = JOINING
}

inline offer(event) {
  if
#ifndef OFFER_AGAIN
  :: event <= stream.position
#endif
  :: else ->
    stream.position = event;
    if
    :: concerning & bit(event) -> wire!EVENT,event
    :: else
    fi
  fi
}

/* The connection is gone, with what was on its way. */
inline close() {
  printf("the stream is cut\n");
  stream.phase = CLOSED;
  stream.position = 0;
  stream.authorizedAt = 0;
  stream.pageEnd = 0;
  stream.page = 0;
  do
  :: wire?_,_
  :: empty(wire) -> break
  od
}

/* ==== The client ==== */

byte cursor;
byte seen; /* what is for it and came, by its list or by a stream */

inline takeEvent() {
  assert(committed & bit(position)); /* nothing that was rolled back, or still may be */
  assert(!(seen & bit(position)));   /* once */
  assert(position > cursor);         /* in order */
  seen = seen | bit(position)
}

/* Another instance: its feed has gone its own way, to whatever position, and may be behind the cursor. */
inline turnToAnother() {
  printf("the client turns to another instance\n");
  loseListener();
  endReading(IDLE);
  feed.isListening = true;
  feed.position = 0;
  do
  :: feed.position < newest(committed) -> feed.position++
  :: break
  od;
  if
  :: feed.oldest = feed.position + 1
  :: feed.position > 0 -> feed.oldest = feed.position
  fi
}

inline loseListener() {
  printf("the listener is lost\n");
  feed.isListening = false;
  do
  :: notifications?_,_,_
  :: empty(notifications) -> break
  od
}

/* ==== Who acts ==== */

byte working; /* writers that have not finished */
byte faults;

proctype writer(byte size) {
  byte from, to;
  transact(size)
}

proctype follower() {
  byte from, to;
  bool isWhole;
end:
  do
  :: d_step { notifications?from,to,isWhole -> hear(); from = 0; to = 0; isWhole = false }
  :: d_step { feed.reading == ASKED -> feed.page = committed; feed.reading = ANSWERED }
  :: d_step { feed.reading == ANSWERED -> takePage() }
  :: d_step { !feed.isListening -> feed.isListening = true; readGap() }
#ifndef NO_WATCHDOG
  :: d_step { feed.reading == IDLE && newest(committed) > feed.position -> readGap() }
#endif
  od
}

proctype server() {
end:
  do
  :: d_step { stream.phase == OPENING -> /* readOpenings(): one snapshot */
      printf("a stream begins at %d, while the log ends at %d\n", cursor, newest(committed));
      stream.authorizedAt = newest(committed);
      stream.position = cursor;
      assert(stream.position <= stream.authorizedAt); /* else it would be reset */
      if
      :: stream.position > feed.position -> happens(FEED_BEHIND_CURSOR)
      :: else
      fi;
      stream.phase = JOINING
    }
  :: d_step { stream.phase == JOINING && mayGoOn -> join() }
  :: d_step { stream.phase == PAGE_ASKED ->
      stream.page = committed & upTo(stream.pageEnd);
      stream.phase = PAGE_ANSWERED
    }
  :: d_step { stream.phase == PAGE_ANSWERED -> replayPage() }
#ifdef SUBSCRIBE_AFTER_READ
  :: d_step { stream.phase == CAUGHT_UP -> printf("the stream is live\n"); stream.phase = LIVE }
#endif
  od
}

proctype client() {
  mtype told;
  byte position;
#ifdef CURSOR_BEFORE_SNAPSHOT
  cursor = newest(committed);
  seen = committed & concerning;
#elif defined CURSOR_AFTER_SNAPSHOT
  seen = committed & concerning;
  cursor = newest(committed);
#else
  d_step { seen = committed & concerning; cursor = newest(committed) } /* GET /discussions: one snapshot */
#endif
  stream.phase = OPENING;
end:
  do
  :: d_step { wire?told,position ->
      printf("the client reads %e %d\n", told, position);
      if
      :: told == EVENT -> takeEvent()
      :: else
      fi;
      assert(!(committed & concerning & upTo(position) & ~seen)); /* nothing was left out */
      cursor = position;
      if
      :: cursor == POSITIONS && faults == FAULTS && stream.phase == LIVE -> happens(EVERYTHING_STORED_AND_READ)
      :: else
      fi;
      position = 0;
      told = 0
    }
  :: atomic { stream.phase == CLOSED ->
      if
      :: turnToAnother()
      :: true
      fi;
      stream.phase = OPENING
    }
  od
}

proctype trouble() {
end:
  do
  :: d_step { faults < FAULTS && stream.phase != CLOSED -> close(); faults++ }
  :: d_step { faults < FAULTS && feed.isListening -> loseListener(); faults++ }
  :: d_step { faults < FAULTS && feed.reading != IDLE -> endReading(IDLE); faults++ }
  :: faults < FAULTS -> faults = FAULTS /* no more of it */
  od
}

/* ==== What must come of it ==== */

/* Whatever was lost on the way, the feed and the client have heard of everything that happened. */
#define arrived (working == 0 && stream.phase == LIVE && len(wire) == 0 && \
  feed.position == newest(committed) && seen == (committed & concerning))

/* No run stops, or goes on for ever, before that. */
ltl arrives { <>[] arrived }

init {
  atomic {
    feed.isListening = true;
    feed.oldest = 1;
    feed.reading = IDLE;
    stream.phase = CLOSED;
    working = 2;
    run writer(1);
    run writer(2);
    run follower();
    run server();
    run client();
    run trouble()
  }
}
