import { createHmac, randomUUID } from "node:crypto";
import type pg from "pg";
import { migrate } from "../../sql/migrate.ts";
import { type Person, type Population, range, type Seeded } from "./population.ts";
import { withClient } from "./postgres.ts";

/** The secret that Parley is started with, so that access tokens can be made here. */
export const jwtSecret = "a secret that only the benchmark knows";

const tokenSeconds = 24 * 3600;
/** The log of joinings is made by a trigger whose work grows with the square of its statement's rows. */
const membersPerStatement = 500;

/**
 * Migrates a database and fills it with people, their sessions, and group discussions: by SQL, as hashing
 * thousands of passwords takes minutes. Done before the server starts, as in a server that has users.
 */
export async function seedParley(url: string, population: Population): Promise<Seeded> {
  await migrate({ url });
  return withClient(url, async (client) => {
    const people = await insertPeople(client, population.people);
    const { rows } = await client.query(
      `INSERT INTO discussions (kind, name, created_by)
       SELECT 'group', 'room ' || i, $2 FROM generate_series(1, $1::int) AS i RETURNING id`,
      [population.rooms.length, people[0]?.id],
    );
    const roomIds = rows.map(({ id }) => id as string);
    const insert =
      "INSERT INTO members (discussion_id, user_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])";
    await insertMembers(client, insert, population, people, roomIds);
    await client.query("VACUUM ANALYZE users, sessions, discussions, members, events");
    return { people, roomIds };
  });
}

/** Fills a peer's database; it believes people that they are who they say. */
export async function seedPeer(url: string, schema: string, population: Population): Promise<Seeded> {
  return withClient(url, async (client) => {
    await client.query(schema);
    const people = range(population.people).map(() => ({ id: randomUUID(), token: "" }));
    const roomIds = population.rooms.map(() => randomUUID());
    const insert = "INSERT INTO members (room, person) SELECT * FROM unnest($1::uuid[], $2::uuid[])";
    await insertMembers(client, insert, population, people, roomIds);
    await client.query("VACUUM ANALYZE members");
    return { people, roomIds };
  });
}

async function insertPeople(client: pg.Client, count: number): Promise<Person[]> {
  const { rows } = await client.query(
    `WITH people AS (
       INSERT INTO users (username, display_name, password_hash)
       SELECT 'person' || i, 'Person ' || i, '-' FROM generate_series(1, $1::int) AS i RETURNING id
     )
     INSERT INTO sessions (user_id, expires_at)
     SELECT id, now() + interval '30 days' FROM people RETURNING id, user_id`,
    [count],
  );
  return rows.map((row) => ({ id: row.user_id, token: signToken(row.user_id, row.id) }));
}

async function insertMembers(
  client: pg.Client,
  insert: string,
  { rooms }: Population,
  people: Person[],
  roomIds: string[],
): Promise<void> {
  let [chosenRooms, chosenPeople]: [string[], string[]] = [[], []];
  const flush = async () => {
    await client.query(insert, [chosenRooms, chosenPeople]);
    [chosenRooms, chosenPeople] = [[], []];
  };
  for (const [index, members] of rooms.entries()) {
    // A room is never divided: who is added to one that exists already is announced to all its members.
    if (chosenRooms.length > 0 && chosenRooms.length + members.length > membersPerStatement) await flush();
    for (const member of members) {
      chosenRooms.push(roomIds[index] ?? "");
      chosenPeople.push(people[member]?.id ?? "");
    }
  }
  await flush();
}

/** An access token as the server makes them (JWT, HS256), but for a day: a benchmark outlasts 15 minutes. */
function signToken(userId: string, sessionId: string): string {
  const now = Math.floor(Date.now() / 1_000);
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const claims = { sub: userId, sid: sessionId, iat: now, exp: now + tokenSeconds };
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", jwtSecret).update(signed).digest("base64url")}`;
}
