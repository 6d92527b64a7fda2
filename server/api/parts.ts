import type { Logger } from "pino";
import type { Pool } from "../../sql/database.ts";
import type { AccountParts } from "../commands/accounts.ts";
import type { AttachmentParts } from "../commands/attachments.ts";
import type { Sender } from "../commands/messages.ts";
import type { Places } from "../commands/places.ts";
import type { ReadMarks } from "../commands/reads.ts";
import type { Removals } from "../commands/removals.ts";
import type { TypingSignals } from "../commands/typing.ts";
import type { Config } from "../config.ts";
import type { Feed } from "../delivery/feed.ts";
import type { Hub } from "../delivery/hub.ts";
import type { JoinParts } from "../delivery/join.ts";
import type { Authentication } from "./authentication.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { Requests } from "./requests.ts";

/** What routes work with. */
export interface Parts {
  config: Config;
  log: Logger;
  pool: Pool;
  accounts: AccountParts;
  authentication: Authentication;
  rateLimits: RateLimits;
  requests: Requests;
  sender: Sender;
  attachments: AttachmentParts;
  /** Where uploads run: a bounded number at once. */
  inUploadPlace: Places;
  inSearchTurn: Places;
  inAvatarPlace: Places;
  readMarks: ReadMarks;
  typing: TypingSignals;
  removals: Removals;
  feed: Feed;
  hub: Hub;
  joins: JoinParts;
}
