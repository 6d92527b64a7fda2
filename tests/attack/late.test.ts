import assert from "node:assert/strict";
import type pg from "pg";
import { test } from "uvu";
import { createDirect, createGroup, heard, login, openReady, withSql } from "../delivery/help.ts";
import { assertProblem, type Client, type Json, register } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { eventually, withServer } from "../support/server.ts";
import { overhear } from "../support/signals.ts";
import { claimsOf } from "./forging.ts";

// A right that ends while something waits is not used any more.

test("who is removed while the list of members waits does not get it", () =>
  withServer(async (t) => {
    const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
    const group = await createGroup(ann, "G", [bob]);
    await withSql(t.databaseUrl, async (db) => {
      await db.query("BEGIN");
      // What a list says of its members depends on messages; what they may see does not.
      await db.query("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE");
      const listing = bob.call("GET", `/discussions/${group.id}/members`);
      await eventually(() => assertWaiting(t.databaseUrl));
      await removeMember(db, group, bob);
      await db.query("COMMIT");
      assertProblem(await listing, 404, "discussion_not_found");
    });
  }));

const ends: Record<string, (db: pg.Client, group: Json, bob: Client) => Promise<unknown>> = {
  "a removal": removeMember,
  "a block": (db, _group, bob) =>
    db.query("INSERT INTO blocks SELECT id, $1 FROM users WHERE username = 'ann'", [bob.user.id]),
  "the end of the session": (db, _group, bob) =>
    db.query("UPDATE sessions SET revoked_at = now() WHERE id = $1", [claimsOf(bob.token).sid]),
};

for (const [what, end] of Object.entries(ends)) {
  test(`typing that waits to be told is not told after ${what}`, () =>
    withServer(
      async (t) => {
        const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
        const group = await createGroup(ann, "G", [bob]);
        const direct = await createDirect(ann, bob);
        const place = what === "a block" ? direct : group;
        await overhear(t.databaseUrl, (overheard) =>
          withSql(t.databaseUrl, async (db) => {
            const line = `typing ${bob.user.id} ${place.id}`;
            const told = async () => {
              await overheard.settled();
              return overheard.lines().filter((one) => one === line).length;
            };
            const before = await holdTyping(t.databaseUrl, db, bob, place, told);
            await end(db, group, bob);
            await db.query("COMMIT");
            // What is told later comes later.
            await ann.ok("POST", `/discussions/${group.id}/typing`);
            await eventually(() =>
              assert.ok(overheard.lines().includes(`typing ${ann.user.id} ${group.id}`)),
            );
            assert.equal(await told(), before);
          }),
        );
      },
      { PRESENCE: "off" },
    ));
}

/** Acts of an owner that wait for their group, and whether they were done. */
const changes: [string, string, unknown, string][] = [
  ["PATCH", "", { name: "renamed" }, "SELECT FROM discussions WHERE name = 'renamed'"],
  ["DELETE", "", undefined, "SELECT FROM log_events WHERE type = 'discussion.deleted'"],
  ["POST", "/members", "eve", "SELECT FROM members JOIN users ON id = user_id WHERE username = 'eve'"],
  ["PATCH", "/members/bob", { role: "owner" }, "SELECT FROM members WHERE role = 'owner' OFFSET 1"],
  ["DELETE", "/members/bob", undefined, "SELECT FROM log_events WHERE type = 'member.removed'"],
];

for (const [method, rest, body, done] of changes) {
  test(`a session that is revoked while ${method} ${rest || "of a group"} waits does not carry it out`, () =>
    withServer(async (t) => {
      const ann = await register(t.url, "ann");
      const bob = await register(t.url, "bob");
      const eve = await register(t.url, "eve");
      const phone = await login(t.url, "ann");
      const group = await createGroup(ann, "G", [bob]);
      const path = `/discussions/${group.id}${rest.replace("bob", bob.user.id)}`;
      await withSql(t.databaseUrl, async (db) => {
        await db.query("BEGIN");
        await db.query("SELECT FROM discussions WHERE id = $1 FOR NO KEY UPDATE", [group.id]);
        const acting = phone.call(method, path, body === "eve" ? { user_ids: [eve.user.id] } : body);
        await eventually(() => assertWaiting(t.databaseUrl));
        await ann.ok("DELETE", `/auth/sessions/${claimsOf(phone.token).sid}`);
        await db.query("COMMIT");
        assertProblem(await acting, 401, "session_revoked");
        assert.deepEqual((await db.query(done)).rows, []);
      });
      const stream = await openReady("ws", ann);
      const again = await ann.call(method, path, body === "eve" ? { user_ids: [eve.user.id] } : body);
      assert.ok(again.status < 300, "another session of the same person may");
      await heard(stream, method === "PATCH" && rest === "" ? "discussion.updated" : eventOf(method, rest));
      stream.cut();
    }));
}

test.run();

function eventOf(method: string, rest: string): string {
  if (rest === "") return "discussion.deleted";
  return { POST: "member.added", PATCH: "member.updated", DELETE: "member.removed" }[method] ?? "";
}

/**
 * Types, and holds up the telling of it in a transaction of `db`, which has to end it. Again if it was told
 * before that. Gives how often it was told.
 */
async function holdTyping(
  url: string,
  db: pg.Client,
  who: Client,
  place: Json,
  told: () => Promise<number>,
): Promise<number> {
  for (;;) {
    const before = await told();
    await who.ok("POST", `/discussions/${place.id}/typing`);
    await db.query("BEGIN");
    await db.query("LOCK TABLE members, messages IN ACCESS EXCLUSIVE MODE");
    if ((await told()) === before) {
      await eventually(() => assertWaiting(url));
      return before;
    }
    await db.query("COMMIT");
    // So that typing is told again, and the next has to wait for its turn.
    await who.send(place.id, "said");
  }
}

function removeMember(db: pg.Client, group: Json, { user }: Client): Promise<unknown> {
  return db.query("DELETE FROM members WHERE discussion_id = $1 AND user_id = $2", [group.id, user.id]);
}

/** Passes once a statement of this database waits for a lock. */
async function assertWaiting(url: string): Promise<void> {
  const rows = await query(
    url,
    `SELECT FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  );
  assert.ok(rows.length > 0);
}
