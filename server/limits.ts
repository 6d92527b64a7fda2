/**
 * Every bound of the server, with its reason. Sizes in bytes, times in milliseconds unless the name says
 * else.
 */
export const limits = {
  /**
   * Connections that wait to be accepted; Linux cuts it to net.core.somaxconn (4,096). With Node's 511, of
   * 5,000 at once some had to try again after a second: the last were connected in 1.2 s instead of 0.4 s.
   */
  listenBacklog: 8_192,
  /** Requests of one connection that wait for their turn, some 12 kB each; beyond it the connection ends. */
  requestsWaiting: 1_024,
  /** A JSON body: 16,000 characters of content, each at worst a pair of six-byte escapes, and the rest. */
  bodyBytes: 256 * 1024,
  /** In which it must be whole: 32 s at 8 kB/s. */
  bodyMs: 40_000,
  /** Mistakes of one body that are told of, and how much of where they are. */
  mistakesTold: 20,
  pathCharacters: 200,
  /** A frame from a client (contract: 1009 above it). */
  frameBytes: 64 * 1024,
  /**
   * What a socket may send without ever finishing a message, pings and pongs for the most part: a third of it
   * is what the smallest fragments of the largest message take. A client that only listens needs days for it.
   */
  unfinishedBytes: 1024 * 1024,
  /** Reads that a frame may come in, each of which takes 250 bytes besides its own; `ws` closes with 1008. */
  frameReads: 1_024,
  /** Frames of one socket that wait for their turn; beyond it the socket is closed with 4002. */
  framesWaiting: 1_000,
  framesWaitingCharacters: 8 * 1024 * 1024,
  contentCharacters: 16_000,
  pageDefault: 50,
  pageMost: 200,
  membersPerCall: 100,
  /** Discussions that an account which is erased leaves in one transaction, with a lock for each. */
  leavingAtOnce: 100,
  /** Different reactions to one message. */
  reactionKinds: 50,
  /**
   * All reactions to one message, which carries them with everybody's id, 39 bytes each, wherever it is told:
   * without it, 700 people with all kinds made a message, and each event of an edit of it, of 1.4 MB.
   */
  reactionsPerMessage: 1_000,
  searchCharacters: 256,
  /** A download of which nothing is taken for so long is broken off; what is taken is counted by pieces. */
  downloadStallMs: 30_000,
  servedPieceBytes: 64 * 1024,
  /** Searches of one person at once, and how many wait for their turn, of one and of all; beyond it 503. */
  searchesPerUser: 3,
  searchesWaiting: 200,
  /**
   * `candidates` are ranked together, in 5 ms, and make full pages. Who sees no more than `read` messages has
   * all of them read, in 5 ms. Of those not indexed yet, which come from a second or two, `unindexed` are
   * read, in 80 ms at worst; the others, after an import or in a flood, are found when their turn has come.
   */
  search: { candidates: 1_000, read: 5_000, unindexed: 10_000 },

  accessTokenSeconds: 15 * 60,
  /** Access tokens that were found good and are not computed again, about half a kilobyte each. */
  tokensKnown: 10_000,
  sessionDays: 30,
  ticketSeconds: 30,
  /** Tickets and sessions that one account may hold at once; the oldest go. */
  ticketsPerSession: 20,
  sessionsPerUser: 100,
  /** Password hashes that wait for a core; beyond it 503. At 25 ms each, the last waits about a second. */
  hashesWaiting: 100,

  /** A group-commit batch: large enough that the commit costs little, small enough to take milliseconds. */
  batchMessages: 500,
  batchBytes: 1024 * 1024,
  /** Batches on their way to Postgres; see commands/messages.ts. */
  batchesInFlight: 2,
  /** A batch waits for more sends for at most so many turns of the event loop. */
  gatherTurns: 10,
  /** So many sends are worth a transaction of their own while another batch is in flight. */
  batchWorthwhile: 16,
  /** Up to so many sends, a batch takes all that wait; of more, half of all that is under way. */
  batchWhole: 32,
  /** Sends that wait for a batch; beyond it 503. */
  sendsWaiting: 10_000,
  sendsWaitingBytes: 64 * 1024 * 1024,

  /** Read marks stored in one statement, and those that wait for it; beyond it 503. */
  readMarksAtOnce: 500,
  readMarksWaiting: 10_000,

  attachmentsPerMessage: 10,
  attachmentNameCharacters: 255,
  /** What a user may have uploaded and not sent: as many bytes as fill one message, and so many files. */
  unsentAttachments: 100,
  orphanHours: 24,
  /** Uploads in progress: each holds up to two chunks in memory. Beyond it 503; of one user, 429. */
  uploadsAtOnce: 64,
  uploadsPerUser: 8,
  /**
   * A whole request, its body included: 10 MiB take 21 minutes at 8 kB/s. Only the last resort, as each kind
   * of body has a closer bound: bodyMs, uploadBytesPerSecond, discardMs.
   */
  requestMs: 1_800_000,
  /** An upload of which nothing comes for so long is given up. */
  uploadStallMs: 20_000,
  /**
   * So is one that has come slower than this on average, after so long. Without it a byte every ten seconds
   * would keep a place for as long as a request may take, and eight accounts all of them. The slowest of
   * mobile networks that are still in use bring twice as much.
   */
  uploadBytesPerSecond: 4_096,
  uploadGraceMs: 20_000,
  /** Its bytes are removed after this, if the process died under it: well above requestMs. */
  uploadMinutes: 60,
  /** Of a form, besides its file: delimiters and the headers of its one part. */
  formBytes: 16 * 1024,
  formHeaderBytes: 8 * 1024,
  formHeaders: 20,
  /** How long a client whose request was given up may take to read why. */
  hangUpMs: 2_000,
  /** How often Node looks for requests that take too long. */
  overdueMs: 5_000,
  /** What may pass of a body that nobody reads any more, so that its sender gets to read the answer. */
  discardedBytes: 16 * 1024 * 1024,
  discardMs: 5_000,
  /** Chunks of attachments: few rows, and little to hold for each slow reader. */
  chunkBytes: 256 * 1024,
  /** Chunks on their way to or from Postgres, which leaves the rest of the pool to others. */
  chunksAtOnce: 4,
  /** Chunks removed by one statement, a millisecond each. */
  chunksRemoved: 100,
  /** Attachments whose bytes are removed in one go, and when somebody else tries if it was not done. */
  removalsAtOnce: 100,
  removalMinutes: 10,
  bucketAnswerMs: 30_000,
  bucketRetries: 2,
  bucketRetryMs: 200,
  /** What `file-type` wants to see of a file. */
  sniffedBytes: 4_100,
  /**
   * Images that are looked into; what is larger is stored as a plain file. A kilobyte of AVIF can say that it
   * has 50 million pixels, for which its library takes 885 MB: so what reading one would hold is looked at
   * before, and there is one at a time. 256 MiB are 14 million pixels of AVIF, 50 of most others.
   */
  imageBytes: 32 * 1024 * 1024,
  imagePixels: 50_000_000,
  imageHeldBytes: 256 * 1024 * 1024,
  /**
   * A progressive JPEG has about ten. Each goes through all of the picture, and a hundred bytes are one:
   * 165 kB with 882 took 53 seconds, as imageSeconds is looked at only behind the last.
   */
  imageScans: 64,
  imagesAtOnce: 1,
  /**
   * Of one user, those that wait to be looked at, beyond it 429: stored, and counted by nothing else. Uploads
   * take no place while they wait. A message's ten, and some.
   */
  imagesPerUser: 16,
  imageSeconds: 10,
  thumbnailPixels: 320,
  avatarBytes: 5 * 1024 * 1024,
  avatarPixels: 256,
  /** Uploads of avatars, which are held in memory as a whole; and of one user. */
  avatarsAtOnce: 8,
  avatarsPerUser: 2,

  /** What may wait in user space for one slow stream before it is closed with 4000. */
  outboxBytes: 1024 * 1024,
  /** Newest events kept in memory: a reconnect storm reads these, not the database. */
  recentEvents: 10_000,
  recentBytes: 32 * 1024 * 1024,
  /**
   * How much of the log is read at once, and so written at once to one stream: with what a replay lets wait
   * (a quarter of an outbox) well below outboxBytes.
   */
  logPage: { limit: 500, maxBytes: 256 * 1024 },
  /**
   * Streams that begin are looked up together. What one statement brings is begun in one turn of the event
   * loop, about 0.2 ms each; two statements at once, so that a slow one does not hold up everybody.
   */
  openingsPerStatement: 100,
  openingStatementsAtOnce: 2,
  /** Streams that wait to be looked up; beyond it 503. */
  openingsWaiting: 20_000,
  /** How many streams may read the log from the database at once. */
  replaysAtOnce: 4,
  /** A replay whose client reads nothing for so long is closed with 4000. */
  replayStallMs: 30_000,
  /** Announced events that wait while the feed reads a gap; beyond it the gap read fetches them too. */
  announcedWaiting: 5_000,

  /** Below Heroku's 55 s and every other common idle limit. */
  sseHeartbeatMs: 15_000,
  /**
   * An event stream is cut off whose client has acknowledged nothing when the same was sent again so often,
   * each time after twice as long: 100 s on a fast network, some minutes on a very slow one. Longer than a
   * train is in a tunnel: who comes back before hears on, while a client that was cut off in there is not
   * told, and waits for ever if it does not miss heartbeats. With 7 it were 25 s.
   */
  unheardRetransmissions: 9,
  /** How often the kernel is asked for that; it takes 3 ms, in another thread, for each 1,000 connections. */
  unheardMs: 15_000,
  socketPingMs: 25_000,
  sseRetryMs: 2_000,
  /** How long a stream that was told to close may take to read its last bytes. */
  closeGraceMs: 5_000,

  /** What may wait for one write of a stream where a signal is to be added; far below outboxBytes. */
  signalBytes: 64 * 1024,
  /**
   * Somebody who goes on typing is shown anew after so long. Clients show it for 6 s and are to say it every
   * three or so.
   */
  typingAgainMs: 1_000,
  /** NOTIFYs of typing: ten a second, and as many of presence. All who send wait for each, for a moment. */
  typingNotifyMs: 100,
  /** Lines of 81 bytes; a NOTIFY has room for 7,999. */
  typingsPerNotify: 95,
  /** Typists who wait to be told of, and who were within the last second; beyond it some are lost. */
  typingsWaiting: 5_000,

  /** Who has no stream for so long has gone: longer than clients take to come back from a restart. */
  presenceGraceMs: 6_000,
  /** Changes go to Postgres together, at most so often … */
  presenceFlushMs: 200,
  /** … and so many at once: it takes some tens of milliseconds, which other instances wait for. */
  presencesPerFlush: 1_000,
  /** People of whom one flush tells, and its NOTIFYs; for each of them presence rests so long after it. */
  presencesTold: 250,
  presenceNotifies: 5,
  presenceNotifyMs: 100,
  /** About how often an instance renews its lease, and how long that is: a crash shows within a minute. */
  leaseRenewMs: 10_000,
  leaseMs: 35_000,
  /** Others are not taken for gone before Postgres could be reached for so long: so long may they take. */
  leaseTrustMs: 15_000,
  presenceRetryMs: 2_000,

  /** The feed looks at the log's end this often; twice this is the longest that a lost NOTIFY goes unseen. */
  watchdogMs: 2_000,
  /** A stream that begins waits so long for the announcement of what its opening has seen. */
  announcementMs: 50,
  /** A listener that was not connected at so many looks in a row is replaced. */
  deafChecks: 5,
  listenerConnectMs: 5_000,
  listenerRetryMs: 500,
  listenerRetryMostMs: 5_000,
  /** How long /readyz waits for Postgres. */
  readyMs: 3_000,
  maintenanceMs: 60_000,
  /** How long /metrics waits for the numbers of the other workers. */
  peersAnswerMs: 1_000,
  sessionWatchMs: 5_000,
  pruneRows: 5_000,
  /**
   * Messages and events that go with a deleted discussion at once, and then in each step: some 50 ms. Also in
   * leave_discussions() (sql/functions/11_erase_user.sql).
   */
  removalStep: 2_000,
  /** Messages wait so long to be indexed; a step holds up who edits one of its messages, for 50 ms. */
  indexMs: 1_000,
  indexStep: { messages: 300, bytes: 64 * 1024 },
  /**
   * With more events per second, indexing gets a fifth of a core; with very many, which it could not follow
   * anyway, a thirtieth.
   */
  indexBusy: { eventsPerSecond: 100, restFactor: 4 },
  indexFlooded: { eventsPerSecond: 2_000, restFactor: 30 },

  /** From SIGTERM to exit, everything included; Heroku kills after 30 s. */
  shutdownMs: 9_000,
  /** How long a server that is stopping waits on open connections for a first request. */
  firstRequestMs: 300,
  /** Over this time streams are told to come back, so that they do not all come at once. */
  drainMs: 3_000,
  retryAfterSeconds: 2,

  /**
   * Streams that one person may have open at one process; the next is refused. Not the oldest closed: its
   * client would come back and close another one's, for ever. Each may hold an outbox of outboxBytes. A phone
   * that changes its network leaves streams behind that are noticed only after two minutes.
   */
  streamsPerUser: 200,
  streamRetryMs: 10_000,
  /** Keys that each class of rate limits keeps; the oldest goes. Strangers can make up any number of them. */
  rateLimitKeys: 50_000,
  /** So many sign-ins and registrations of one address are under way at once; the next wait in its line. */
  signInsAtOnce: 4,
  /** So many wait; beyond it 503. They wait for each other, not for other addresses. */
  signInsWaiting: 500,
} as const;
