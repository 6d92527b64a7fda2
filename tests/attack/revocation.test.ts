// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { createGroup, login, openReady, viaInstance } from "../delivery/help.ts";
import { openRaw, streamPath } from "../delivery/raw.ts";
import { Client, type Json, password, register } from "../support/client.ts";
import { query } from "../support/postgres.ts";
import { type TestServer, withServer } from "../support/server.ts";
import type { StreamKind, TestStream } from "../support/streams.ts";
import { claimsOf } from "./forging.ts";

// A right that is taken away ends what was opened by it: at once, on every instance, and also what is just
// being opened. (What such a stream still hears: tests/delivery/access.ts.)

const env = { RATE_LIMITS: "off" };
const kinds: StreamKind[] = ["sse", "ws"];

interface Scene {
  t: TestServer;
  /** Has the right to end what Bob has, where it is not Bob who does it. */
  ann: Client;
  /** On another instance than what ends his streams. */
  bob: Client;
  /** Another session of his. */
  other: Client;
  group: Json;
}

/** What ends a session of Bob's. */
const revocations: Record<string, (scene: Scene) => Promise<unknown>> = {
  "logging out": ({ t, bob }) => viaInstance(bob, t.url).ok("POST", "/auth/logout"),
  "his other session": ({ other, bob }) => other.ok("DELETE", `/auth/sessions/${claimsOf(bob.token).sid}`),
  "a new password": ({ other }) =>
    other.ok("PATCH", "/users/me", { password: "another password", current_password: password }),
  "a refresh token that came twice": async ({ t, bob }) => {
    for (const status of [200, 401]) {
      const body = { refresh_token: bob.refreshToken };
      assert.equal((await new Client(t.url).call("POST", "/auth/refresh", body)).status, status);
    }
  },
  "too many sessions": async ({ t }) => {
    // The oldest go; to sign in a hundred times would take seconds.
    await query(
      t.databaseUrl,
      `INSERT INTO sessions (user_id, used_at, expires_at)
       SELECT id, now() + interval '1 minute', now() + interval '1 day'
       FROM users, generate_series(1, 100) WHERE username = 'bob'`,
    );
    await login(t.url, "bob");
  },
  "somebody at the database": ({ t, bob }) =>
    query(t.databaseUrl, "UPDATE sessions SET revoked_at = now() WHERE id = $1", [claimsOf(bob.token).sid]),
  erasing: ({ other }) => other.ok("DELETE", "/users/me", { password }),
};

for (const [what, revoke] of Object.entries(revocations)) {
  test(`every stream of a session ends on every instance by ${what}, and none of others`, () =>
    withScene(async (scene) => {
      const { t, ann, bob, other, group } = scene;
      const near = viaInstance(bob, t.url);
      const streams: TestStream[] = [];
      for (const client of [bob, near]) {
        for (const kind of kinds) {
          streams.push(await openReady(kind, client));
          streams.push(await openReady(kind, client, { discussionId: group.id }));
        }
      }
      const kept = await openReady("ws", ann);
      const others = await openReady("sse", other);
      await revoke(scene);
      for (const stream of streams) {
        await stream.until(() => stream.ended() !== undefined);
        // Who is erased leaves their groups first.
        assert.ok(stream.ended() === 4502 || (what === "erasing" && stream.ended() === 4503));
      }
      await ann.send(group.id, "still here");
      await kept.until((received) => received.some(({ message }) => message?.content === "still here"));
      const isOver = ["erasing", "too many sessions"].includes(what);
      if (!isOver) await others.until((received) => received.some(({ type }) => type === "message.new"));
      for (const stream of [kept, others]) stream.cut();
    }));
}

/** What ends Bob's membership. */
const removals: Record<string, (scene: Scene) => Promise<unknown>> = {
  "a removal": ({ ann, bob, group }) => ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`),
  leaving: ({ t, bob, group }) =>
    viaInstance(bob, t.url).ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`),
  deletion: ({ ann, group }) => ann.ok("DELETE", `/discussions/${group.id}`),
};

for (const [what, remove] of Object.entries(removals)) {
  test(`every stream of a discussion ends on every instance by ${what}, and those of all go on`, () =>
    withScene(async (scene) => {
      const { t, bob, group } = scene;
      const ofOne: TestStream[] = [];
      const ofAll: TestStream[] = [];
      for (const client of [bob, viaInstance(bob, t.url)]) {
        for (const kind of kinds) {
          ofOne.push(await openReady(kind, client, { discussionId: group.id }));
          ofAll.push(await openReady(kind, client));
        }
      }
      await remove(scene);
      for (const stream of ofOne) {
        await stream.until(() => stream.ended() !== undefined);
        assert.equal(stream.ended(), 4503);
      }
      const own = await createGroup(viaInstance(bob, t.url), "own", []);
      for (const stream of ofAll) {
        await stream.until((received) => received.some(({ discussion_id }) => discussion_id === own.id));
        assert.equal(stream.ended(), undefined);
        stream.cut();
      }
    }));
}

/** What ends a session, as far as its cookie is concerned. */
const cookieEnds: Record<string, string> = {
  revoked: "UPDATE sessions SET revoked_at = now() WHERE cookie_hash IS NOT NULL",
  "run out": "UPDATE sessions SET expires_at = now() WHERE cookie_hash IS NOT NULL",
  gone: "DELETE FROM sessions WHERE cookie_hash IS NOT NULL",
};

for (const [what, statement] of Object.entries(cookieEnds)) {
  test(`the cookie of a session that is ${what} is worth nothing, by route and by stream`, () =>
    withScene(async ({ t, group }) => {
      const body = { username: "bob", password, cookie: true };
      const signIn = await new Client(t.url).call("POST", "/auth/login", body);
      const cookie = signIn.headers.get("set-cookie")?.split(";")[0] ?? "";
      const headers = { cookie, origin: t.url };
      const tryAll = async () => {
        const said = { content: "by cookie" };
        const rest = [
          await new Client(t.url).call("GET", "/users/me", undefined, headers),
          await new Client(t.url).call("POST", `/discussions/${group.id}/messages`, said, headers),
        ];
        for (const kind of kinds)
          for (const path of [streamPath(kind), streamPath(kind, group.id)]) {
            const stream = await openRaw(kind, t.url, path, { headers });
            stream.cut();
            rest.push(stream);
          }
        return rest.map(({ status }) => status);
      };
      assert.deepEqual(await tryAll(), [200, 201, 200, 200, 101, 101]);
      await query(t.databaseUrl, statement);
      assert.deepEqual(await tryAll(), [401, 401, 401, 401, 401, 401]);
    }));
}

/** It takes chance for a stream to open just before its end. */
const mostRounds = 100;

for (const kind of kinds) {
  test(`${kind}: a stream that opens while its session is revoked elsewhere does not stay open`, () =>
    withScene(async ({ t, other, bob: { url: far } }) => {
      let opened = 0;
      let rounds = 0;
      for (; rounds < 10 || (opened === 0 && rounds < mostRounds); rounds++) {
        const bob = viaInstance(await login(t.url, "bob"), far);
        const authorization = `Bearer ${bob.token}`;
        const open = () => openRaw(kind, far, streamPath(kind), { headers: { authorization } });
        const [streams] = await Promise.all([
          Promise.all([open(), open(), open()]),
          other.ok("DELETE", `/auth/sessions/${claimsOf(bob.token).sid}`),
        ]);
        for (const stream of streams) {
          if (stream.status >= 300) assert.equal(stream.status, 401);
          else {
            opened++;
            await stream.until((text) => text.includes("session_revoked"));
            stream.cut();
          }
        }
      }
      console.log(`${opened} of ${3 * rounds} were open for a moment`);
      assert.ok(opened > 0, "some were open for a moment");
    }));

  test(`${kind}: a stream of a discussion that opens during the removal does not stay open`, () =>
    withScene(async ({ ann, bob, group }) => {
      const authorization = `Bearer ${bob.token}`;
      const path = streamPath(kind, group.id);
      let opened = 0;
      let rounds = 0;
      for (; rounds < 10 || (opened === 0 && rounds < mostRounds); rounds++) {
        const open = () => openRaw(kind, bob.url, path, { headers: { authorization } });
        const [streams] = await Promise.all([
          Promise.all([open(), open(), open()]),
          ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`),
        ]);
        for (const stream of streams) {
          if (stream.status >= 300) assert.equal(stream.status, 404);
          else {
            opened++;
            await stream.until((text) => text.includes("not_a_member"));
            stream.cut();
          }
        }
        await ann.ok("POST", `/discussions/${group.id}/members`, { user_ids: [bob.user.id] });
      }
      console.log(`${opened} of ${3 * rounds} were open for a moment`);
      assert.ok(opened > 0, "some were open for a moment");
    }));
}

test.run();

async function withScene(act: (scene: Scene) => Promise<void>): Promise<void> {
  await withServer(async (t) => {
    const ann = await register(t.url, "ann");
    await register(t.url, "bob");
    const bob = viaInstance(await login(t.url, "bob"), (await t.another()).url);
    const group = await createGroup(ann, "G", [bob]);
    await act({ t, ann, bob, other: await login(t.url, "bob"), group });
  }, env);
}
