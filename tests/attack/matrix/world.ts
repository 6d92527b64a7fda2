import assert from "node:assert/strict";
import pg from "pg";
import { createTokens } from "../../../server/commands/tokens.ts";
import { Client, type Json, register } from "../../support/client.ts";
import { type TestServer, testSecret } from "../../support/server.ts";
import { enrol } from "../../support/signals.ts";
import { aged } from "../forging.ts";
import type { Place } from "./routes.ts";
import type { Actor } from "./table.ts";

const roles = ["owner", "admin", "deputy", "member", "blocked", "former", "stranger"] as const;
export type PersonName = (typeof roles)[number];

/** What tells that a message was read, or that it was not. */
export const text = "ultramarine";

/** One place with its people, which nobody else uses. */
export interface World {
  url: string;
  place: Place;
  /** The discussion's; empty if there is none. */
  id: string;
  people: Readonly<Record<PersonName, Client>>;
  /** What somebody wrote there; the owner's first message, which all have reacted to, for who wrote none. */
  seqOf(person: Client): number;
  /** Somebody of the world as this actor comes: with what that one has to show. */
  as(actor: Actor): Client;
  /** Whose rights the actor has, or once had, or pretends to have. */
  person(actor: Actor): Client;
  has(condition: string, ...values: unknown[]): Promise<boolean>;
  run(statement: string, ...values: unknown[]): Promise<unknown>;
}

/** Makes worlds, all in one database. */
export interface Universe {
  create(place: Place): Promise<World>;
  /** Everything that is stored, but for what comes and goes by itself, as one hash for each table. */
  snapshot(): Promise<Json>;
}

/** Worlds whose people are made together. */
const worldsAtOnce = 20;

/** What streams and tickets leave behind, and what is made of messages later. */
const passing = ["tickets", "presences", "instances", "last_seen", "rate_limits", "search_documents"];

export async function withUniverse(t: TestServer, act: (universe: Universe) => Promise<void>): Promise<void> {
  const db = new pg.Client({ connectionString: t.databaseUrl });
  await db.connect();
  try {
    await register(t.url, "first");
    const tables = await db.query(
      "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL ($1)",
      [passing],
    );
    assert.ok(tables.rows.length > 12);
    const hashes = tables.rows.map(
      ({ name }) => `SELECT '${name}' AS name, count(*)::int AS rows,
        md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) AS hash FROM ${name} AS t`,
    );
    let number = 0;
    const waiting: World["people"][] = [];
    await act({
      create: async (place) => {
        number++;
        if (waiting.length === 0) waiting.push(...(await createPeople(t, db, number)));
        return createWorld(t, db, place, number, waiting.shift() as World["people"]);
      },
      snapshot: async () => (await db.query(hashes.join(" UNION ALL "))).rows,
    });
  } finally {
    await db.end();
  }
}

async function createWorld(
  t: TestServer,
  db: pg.Client,
  place: Place,
  number: number,
  people: World["people"],
): Promise<World> {
  const has = async (condition: string, ...values: unknown[]) =>
    (await db.query(`SELECT EXISTS (${condition}) AS it`, values)).rows[0].it;
  const { id, speakers } = await createPlace(db, place, people, number);
  const block = [people.owner.user.id, people.blocked.user.id];
  await db.query("INSERT INTO blocks (blocker_id, blocked_id) VALUES ($1, $2)", block);
  const past = await createPast(t.url, db, people.owner);
  const person = (actor: Actor): Client => {
    if (actor === "ticket") return people.stranger;
    return actor === "anonymous" || actor === "revoked" || actor === "expired" ? people.owner : people[actor];
  };
  return {
    url: t.url,
    place,
    id,
    people,
    seqOf: (one) => Math.max(speakers.indexOf(one), 0) + 1,
    person,
    as: (actor) => past[actor] ?? person(actor),
    has,
    run: (statement, ...values) => db.query(statement, values),
  };
}

/** The people of some worlds, the first of which has this number. */
async function createPeople(t: TestServer, db: pg.Client, first: number): Promise<World["people"][]> {
  const numbers = Array.from({ length: worldsAtOnce }, (_, index) => first + index);
  const names = numbers.flatMap((number) => roles.map((role) => `${role}-${number}`));
  const clients = await enrol(t.url, t.databaseUrl, names);
  // A hash costs 25 ms: all have the first one's password.
  await db.query(
    `UPDATE users SET password_hash = f.password_hash FROM users AS f
     WHERE f.username = 'first' AND users.password_hash = '-'`,
  );
  const byName = new Map(clients.map((client) => [client.user.username, client]));
  return numbers.map((number) =>
    Object.fromEntries(roles.map((role) => [role, byName.get(`${role}-${number}`)])),
  ) as unknown as World["people"][];
}

/** A discussion, by hand, as dozens are needed: its members, and a message of each. */
async function createPlace(db: pg.Client, place: Place, people: World["people"], number: number) {
  if (place === "nowhere") return { id: "", speakers: [] };
  const { owner, admin, deputy, member, blocked, former } = people;
  const isGroup = place.endsWith("group");
  const speakers = isGroup
    ? [owner, admin, deputy, member, blocked, former]
    : [owner, place === "direct" ? member : blocked];
  const ids = speakers.map(({ user }) => user.id);
  const created = await db.query(
    "INSERT INTO discussions (kind, name, visibility, created_by, identity) VALUES ($1, $2, $3, $4, " +
      "CASE WHEN $1 = 'direct' THEN discussion_identity('direct', NULL, $5::uuid[]) END) RETURNING id",
    isGroup
      ? ["group", `${place} ${number}`, place.startsWith("public") ? "public" : "private", ids[0], ids]
      : ["direct", null, "private", ids[0], ids],
  );
  const { id } = created.rows[0];
  const given = [id, ids];
  await db.query(
    `INSERT INTO members (discussion_id, user_id, role)
     SELECT $1, m.id,
       CASE WHEN $3 AND place = 1 THEN 'owner' WHEN $3 AND place <= 3 THEN 'admin' ELSE 'member' END
     FROM unnest($2::uuid[]) WITH ORDINALITY AS m (id, place) ORDER BY place`,
    [...given, isGroup],
  );
  await db.query(
    `INSERT INTO messages (discussion_id, sender_id, content) SELECT $1, m.id, $3
     FROM unnest($2::uuid[]) WITH ORDINALITY AS m (id, place) ORDER BY place`,
    [...given, `of old: ${text}`],
  );
  await db.query("UPDATE messages SET content = $2 WHERE discussion_id = $1 AND seq = 1", [id, text]);
  await db.query(
    `INSERT INTO reactions (discussion_id, seq, emoji, user_id) SELECT $1, 1, '👍', unnest($2::uuid[])`,
    given,
  );
  if (isGroup) {
    const leaving = [id, former.user.id];
    await db.query("DELETE FROM members WHERE discussion_id = $1 AND user_id = $2", leaving);
  }
  return { id: String(id), speakers };
}

/** What an owner once had, and nothing at all. */
async function createPast(
  url: string,
  db: pg.Client,
  owner: Client,
): Promise<Partial<Record<Actor, Client>>> {
  const { rows } = await db.query(
    `INSERT INTO sessions (user_id, expires_at, revoked_at) VALUES ($1, now() + interval '1 day', now())
     RETURNING id`,
    [owner.user.id],
  );
  const holding = (token: string) => Object.assign(new Client(url), { token, user: owner.user });
  return {
    ticket: holding(""),
    anonymous: holding(""),
    revoked: holding(await createTokens(testSecret).sign(owner.user.id, rows[0].id)),
    expired: holding(aged(owner.token, 20 * 60)),
  };
}
