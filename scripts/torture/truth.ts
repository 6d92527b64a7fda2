import { query } from "../../tests/support/postgres.ts";
import { aboutOf, type LogRow, type StoredMessage, type Truth } from "./history.ts";
import { hashOf } from "./load/notebook.ts";

/**
 * What Postgres held, asked past all instances: also of what was taken away from it, which is read before
 * that happens.
 */
export class Archive {
  readonly #ended: Truth[] = [];
  /** By position: of the history that goes on. */
  readonly #log = new Map<number, LogRow>();
  #keptTo = 0;
  #newest = 0;
  readonly #prunes: number[] = [];

  /** To be called before a part of the log is pruned: keeps what is new. Gives its newest position. */
  async keepLog(databaseUrl: string): Promise<number> {
    await this.#keepLog(databaseUrl, this.#newest);
    return this.#newest;
  }

  /** Up to this position Postgres has forgotten the log. */
  prunedTo(): number {
    return this.#prunes.at(-1) ?? 0;
  }

  /** To be called when the log was pruned up to a position. */
  notePrune(position: number): void {
    this.#prunes.push(position);
  }

  /** To be called before a backup is restored, when nobody can write any more. */
  async endHistory(databaseUrl: string): Promise<void> {
    this.#ended.push(await this.#read(databaseUrl));
  }

  /** To be called when a backup was restored, which holds the history up to a position. */
  beginHistory(keptTo: number): void {
    for (const position of [...this.#log.keys()]) if (position > keptTo) this.#log.delete(position);
    this.#keptTo = keptTo;
    this.#newest = Math.min(this.#newest, keptTo);
  }

  /** All histories, in their order; the last one is what Postgres holds now. */
  async read(databaseUrl: string): Promise<Truth[]> {
    return [...this.#ended, await this.#read(databaseUrl)];
  }

  async #read(databaseUrl: string): Promise<Truth> {
    await this.#keepLog(databaseUrl, 0);
    const log = [...this.#log.values()].sort((a, b) => a.position - b.position);
    const [{ epoch }] = await query(databaseUrl, "SELECT epoch FROM log_epoch");
    const messages = await readMessages(databaseUrl);
    return { epoch, log, messages, prunes: [...this.#prunes], keptTo: this.#keptTo };
  }

  async #keepLog(databaseUrl: string, after: number): Promise<void> {
    for (const row of await readLog(databaseUrl, after)) {
      this.#log.set(row.position, row);
      this.#newest = Math.max(this.#newest, row.position);
    }
  }
}

async function readLog(databaseUrl: string, after: number): Promise<LogRow[]> {
  const rows = await query(
    databaseUrl,
    `SELECT l.position, l.discussion_id, l.user_id, l.type, coalesce(m.seq, e.seq) AS seq,
       CASE WHEN m.seq IS NULL AND e.seq IS NULL THEN e.data ELSE '{}' END AS data
     FROM (SELECT position, discussion_id, user_id, type FROM log_events WHERE position > $1) AS l
     LEFT JOIN messages AS m ON m.position = l.position
     LEFT JOIN events AS e ON e.position = l.position`,
    [after],
  );
  return rows.map(({ position, discussion_id, user_id, type, seq, data }) => {
    const told = JSON.parse(data);
    return {
      position: Number(position),
      discussion_id: discussion_id ?? "",
      user_id: user_id ?? "",
      type,
      seq: seq === null ? (told.seq ?? null) : Number(seq),
      about: aboutOf(told),
    };
  });
}

/** Those of discussions that are being deleted are on their way out. */
async function readMessages(databaseUrl: string): Promise<StoredMessage[]> {
  const rows = await query(
    databaseUrl,
    `SELECT m.discussion_id, m.seq, m.client_id, m.sender_id, m.deleted_at IS NOT NULL AS is_deleted,
       array(SELECT e.content FROM message_edits AS e
         WHERE (e.discussion_id, e.seq) = (m.discussion_id, m.seq) ORDER BY e.version
       ) || m.content AS contents
     FROM messages AS m JOIN discussions AS d ON d.id = m.discussion_id`,
  );
  return rows.map(({ contents, seq, sender_id, ...message }) => ({
    ...message,
    seq: Number(seq),
    about: aboutOf({ sender_id, client_id: message.client_id }),
    hashes: contents.map(hashOf),
  }));
}
