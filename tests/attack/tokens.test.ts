import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { test } from "uvu";
import { login, openReady } from "../delivery/help.ts";
import { openRaw, streamPath } from "../delivery/raw.ts";
import { assertProblem, Client, type Json, password, register } from "../support/client.ts";
import { eventually, testSecret, withServer } from "../support/server.ts";
import type { StreamKind } from "../support/streams.ts";
import { claimsOf, encodePart, forge, head } from "./forging.ts";

// Access tokens that are not what the server gave out. Each is tried by REST, where the session is looked up
// and where it is not, and by both kinds of stream.

const kinds: StreamKind[] = ["sse", "ws"];
const unknownId = "0198c0de-0000-7000-8000-000000000000";
const now = () => Math.floor(Date.now() / 1_000);

test("a token without a signature is worth nothing, however it spells that it needs none", () =>
  withAnn(async ({ ann, refuse }) => {
    const [, claims = "", signature = ""] = ann.token.split(".");
    for (const alg of ["none", "None", "NONE", "nOnE", "none ", "", null, undefined, 0, false, ["none"]]) {
      const start = `${encodePart({ alg, typ: "JWT" })}.${claims}`;
      await refuse(`${start}.`, `alg ${JSON.stringify(alg)}`);
      await refuse(start, `alg ${JSON.stringify(alg)} and no third part`);
      await refuse(`${start}.${signature}`, `alg ${JSON.stringify(alg)} and the old signature`);
    }
  }));

test("a token says by what it is signed, and only what we sign by is taken, also by the right key", () =>
  withAnn(async ({ ann, refuse }) => {
    const claims = claimsOf(ann.token);
    const algorithms = [
      "none",
      "HS384",
      "HS512",
      "RS256",
      "ES256",
      "EdDSA",
      "hs256",
      "",
      null,
      256,
      ["HS256"],
    ];
    for (const alg of algorithms)
      await refuse(
        forge({ ...head, alg }, claims),
        `SHA-256 by the right key, called ${JSON.stringify(alg)}`,
      );
    for (const [alg, hash] of [
      ["HS384", "sha384"],
      ["HS512", "sha512"],
    ] as const) {
      await refuse(forge({ ...head, alg }, claims, testSecret, hash), `${alg} by the right key`);
      await refuse(forge(head, claims, testSecret, hash), `${alg} by the right key, called HS256`);
    }
    await refuse(forge({ typ: "JWT" }, claims), "no alg");
    await refuse(forge({ ...head, typ: "JWE" }, claims), "another type");
    await refuse(forge({ ...head, crit: ["exp"] }, claims), "something critical that we do not know");
    for (const header of ["", "{", "null", "[]", '"HS256"', "1"])
      await refuse(forge(header, claims), `a header of ${header}`);
  }));

test("a token by another key is worth nothing, wherever it says that the key is", () =>
  withAnn(async ({ ann, refuse }) => {
    const claims = claimsOf(ann.token);
    const keys = ["", "\0", "secret", `${testSecret} `, testSecret.toUpperCase(), testSecret.slice(0, -1)];
    for (const key of keys) await refuse(forge(head, claims, key), `key ${JSON.stringify(key)}`);
    await refuse(forge(head, claims, Buffer.alloc(32)), "a key of zeros");
    const mine = "a key of my own";
    const jwk = { kty: "oct", k: Buffer.from(mine).toString("base64url") };
    for (const more of [
      { kid: "../../dev/null" },
      { kid: "' OR 1=1 --" },
      { jwk },
      { jku: "http://[::1]:1/" },
    ])
      await refuse(forge({ ...head, ...more }, claims, mine), JSON.stringify(more));

    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
    const signed = `${encodePart({ alg: "RS256", typ: "JWT" })}.${encodePart(claims)}`;
    const signature = sign("sha256", Buffer.from(signed), privateKey).toString("base64url");
    await refuse(`${signed}.${signature}`, "RS256 by a pair of keys");
    const pem = publicKey.export({ type: "spki", format: "pem" });
    await refuse(forge({ ...head, alg: "RS256" }, claims, pem), "a public key as the secret");
    await refuse(forge(head, claims, pem), "a public key as the secret, called HS256");
  }));

test("a token whose claims were edited, or are not those of ours, is worth nothing", () =>
  withAnn(async ({ ann, bob, refuse }) => {
    const [header = "", , signature = ""] = ann.token.split(".");
    const claims = claimsOf(ann.token);
    const edits: Json[] = [
      { sub: bob.user.id },
      { sid: claimsOf(bob.token).sid },
      { exp: claims.exp + 1 },
      { exp: claims.exp + 1e6 },
      { admin: true },
    ];
    for (const edit of edits)
      await refuse(
        `${header}.${encodePart({ ...claims, ...edit })}.${signature}`,
        `edited: ${Object.keys(edit)}`,
      );

    // What follows is signed by the right key, as by a mistake of ours elsewhere.
    const { sub, sid, exp, ...rest } = claims;
    const strange: Record<string, Json> = {
      "no sub": { ...rest, sid, exp },
      "no sid": { ...rest, sub, exp },
      "no exp": { ...rest, sub, sid },
      "a list as sub": { ...claims, sub: [sub] },
      "an object as sid": { ...claims, sid: { id: sid } },
      "null as sub": { ...claims, sub: null },
      "a number as sub": { ...claims, sub: 1 },
      "SQL as sub": { ...claims, sub: "' OR true --" },
      "a text as exp": { ...claims, exp: `${exp}` },
      "exp in milliseconds of the past": { ...claims, exp: -exp * 1_000 },
      "exp of now": { ...claims, exp: now() },
      "exp that was": { ...claims, exp: now() - 1 },
      "null as exp": { ...claims, exp: null },
      "somebody else's sub": { ...claims, sub: bob.user.id },
      "somebody else's sid": { ...claims, sid: claimsOf(bob.token).sid },
      "an unknown sid": { ...claims, sid: unknownId },
      "an unknown sub": { ...claims, sub: unknownId },
      "nbf of later": { ...claims, nbf: now() + 600 },
      "a text as nbf": { ...claims, nbf: "now" },
      "no object": [claims],
      nothing: null,
    };
    for (const [what, claims] of Object.entries(strange)) await refuse(forge(head, claims), what);
    for (const text of ["", "{", "nonsense", "\0", "{}{}"])
      await refuse(forge(head, text), `claims: ${text}`);
  }));

test("a token is one text and no other: not a bit of it may be different", () =>
  withAnn(async ({ ann, refuse }) => {
    const [header = "", claims = "", signature = ""] = ann.token.split(".");
    const respelt = (form: "base64" | "hex") => Buffer.from(signature, "base64url").toString(form);
    const variants: Record<string, string> = {
      "a dot more": `${ann.token}.`,
      "four parts": `${ann.token}.${signature}`,
      "a dot before": `.${ann.token}`,
      "two dots": `${header}..${claims}.${signature}`,
      dots: "..",
      dot: ".",
      "padding after the signature": `${ann.token}=`,
      "padding after the claims": `${header}.${claims}=.${signature}`,
      "a signature of base64": `${header}.${claims}.${respelt("base64")}`,
      "a signature in hexadecimal": `${header}.${claims}.${respelt("hex")}`,
      "a shorter signature": ann.token.slice(0, -1),
      "half a signature": `${header}.${claims}.${signature.slice(0, 20)}`,
      "a longer signature": `${ann.token}A`,
      "a signature twice": `${ann.token}${signature}`,
      "no header": `.${claims}.${signature}`,
      "no claims": `${header}..${signature}`,
      "parts in another order": `${claims}.${header}.${signature}`,
      "an encoded dot": ann.token.replace(".", "%2e"),
      "a percent sign": `${ann.token}%00`,
    };
    for (const [what, token] of Object.entries(variants)) await refuse(token, what);
    // 256 bits are 43 letters, and the last has two bits that say nothing: the decoder takes four spellings.
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const last = alphabet.indexOf(signature.at(-1) ?? "");
    const spellings = [1, 2, 3].map((bits) => signature.slice(0, -1) + alphabet[last ^ bits]);
    const bytes = (text: string) => Buffer.from(text, "base64url").toString("hex");
    assert.ok(
      spellings.some((other) => bytes(other) === bytes(signature)),
      "some mean the same bytes",
    );
    for (const other of spellings) await refuse(`${header}.${claims}.${other}`, "trailing bits");
  }));

test("a secret of one kind is worth nothing as another", () =>
  withAnn(async ({ ann, bob, url, refuse }) => {
    const { ticket } = await ann.ok("POST", "/auth/tickets");
    const signIn = await new Client(url).call("POST", "/auth/login", {
      username: "ann",
      password,
      cookie: true,
    });
    const cookie = /parley_session=([^;]+)/.exec(signIn.headers.get("set-cookie") ?? "")?.[1] ?? "";
    assert.ok(cookie.length > 40);
    const secrets = {
      ticket,
      cookie,
      "refresh token": signIn.body.refresh_token,
      "session id": claimsOf(ann.token).sid,
    };
    for (const [what, secret] of Object.entries(secrets))
      await refuse(secret, `a ${what} as an access token`);
    const wrongTickets = { ...secrets, ticket: undefined, "access token": ann.token };
    for (const [what, secret] of Object.entries(wrongTickets)) {
      if (secret === undefined) continue;
      for (const kind of kinds) {
        const answer = await openRaw(kind, url, `${streamPath(kind)}?ticket=${encodeURIComponent(secret)}`);
        assert.equal(answer.status, 401, `a ${what} as a ticket`);
      }
    }
    const refreshing = {
      ticket,
      cookie,
      "access token": ann.token.slice(0, 128),
      "session id": secrets["session id"],
    };
    for (const [what, secret] of Object.entries(refreshing)) {
      const answer = await new Client(url).call("POST", "/auth/refresh", { refresh_token: secret });
      assert.deepEqual(
        [answer.status, answer.body.code],
        [401, "invalid_refresh_token"],
        `a ${what} refreshes`,
      );
    }
    for (const secret of [ticket, signIn.body.refresh_token, ann.token]) {
      const headers = { cookie: `parley_session=${secret}`, origin: url };
      assertProblem(
        await new Client(url).call("GET", "/users/me", undefined, headers),
        401,
        "unauthenticated",
      );
    }
    // None of these was used up by it, and each still is what it was.
    assert.equal(
      (await new Client(url).call("POST", "/auth/refresh", { refresh_token: secrets["refresh token"] }))
        .status,
      200,
    );
    const headers = { cookie: `parley_session=${cookie}`, origin: url };
    assert.equal((await new Client(url).call("GET", "/users/me", undefined, headers)).body.id, ann.user.id);
    const opened = await openRaw("sse", url, `/events?ticket=${ticket}`);
    assert.equal(opened.status, 200);
    opened.cut();
    assert.equal((await bob.call("GET", "/users/me")).status, 200);
  }));

test("a header that is not exactly one bearer token is none, and what else is sent does not help", () =>
  withAnn(async ({ ann, url }) => {
    const signIn = await new Client(url).call("POST", "/auth/login", {
      username: "ann",
      password,
      cookie: true,
    });
    const cookie = signIn.headers.get("set-cookie")?.split(";")[0] ?? "";
    const { token } = ann;
    const wrong = [
      "",
      "Bearer",
      "Bearer ",
      token,
      `Basic ${token}`,
      `Token ${token}`,
      `Bearer: ${token}`,
      `Bearer ${token} x`,
      `Bearer ${token}, Bearer ${token}`,
      `Bearer ${token},${token}`,
      `Bearer "${token}"`,
      `xBearer ${token}`,
      `Bearer Bearer ${token}`,
    ];
    for (const authorization of wrong) {
      const headers = { authorization, cookie, origin: url };
      const answer = await new Client(url).call("GET", "/users/me", undefined, headers);
      assert.equal(answer.status, 401, `${authorization.replace(token, "…")} → ${answer.status}`);
      for (const kind of kinds) {
        const { ticket } = await ann.ok("POST", "/auth/tickets");
        const stream = await openRaw(kind, url, `${streamPath(kind)}?ticket=${ticket}`, { headers });
        assert.equal(stream.status, 401, `${kind}: ${authorization.replace(token, "…")}`);
      }
    }
    for (const name of ["token", "access_token", "authorization", "ticket", "jwt"])
      assertProblem(await new Client(url).call("GET", `/users/me?${name}=${token}`), 401, "unauthenticated");
  }));

test("a token that ran out between two requests is not remembered as good", () =>
  withAnn(async ({ ann, url }) => {
    const short = forge(head, { ...claimsOf(ann.token), exp: now() + 2 });
    const me = () => call(url, short, "GET", "/users/me");
    assert.equal((await me()).status, 200);
    await eventually(async () => assertProblem(await me(), 401, "unauthenticated"));
    assert.equal((await ann.call("GET", "/users/me")).status, 200);
  }));

test("the token of an erased user is worth nothing, nor is anything else that was the user's", () =>
  withAnn(async ({ ann, url, group }) => {
    const phone = await login(url, "ann");
    const { ticket } = await phone.ok("POST", "/auth/tickets");
    const streams = await Promise.all(kinds.map((kind) => openReady(kind, phone)));
    await ann.ok("DELETE", "/users/me", { password });
    for (const stream of streams) await eventually(() => assert.equal(stream.ended(), 4502));
    for (const { token } of [ann, phone]) {
      for (const [method, path, body] of requests(group.id))
        assertProblem(await call(url, token, method, path, body), 401, "session_revoked");
      for (const kind of kinds) {
        const headers = { authorization: `Bearer ${token}` };
        assertProblem(await openRaw(kind, url, streamPath(kind), { headers }), 401, "session_revoked");
      }
    }
    assertProblem(await openRaw("sse", url, `/events?ticket=${ticket}`), 401, "unauthenticated");
    const refreshing = await phone.call("POST", "/auth/refresh", { refresh_token: phone.refreshToken });
    assert.equal(refreshing.status, 401);
  }));

test.run();

/** One whose session is looked up before the act, and one whose act looks at it. */
function requests(discussionId: string): [string, string, unknown?][] {
  return [
    ["GET", "/users/me"],
    ["POST", `/discussions/${discussionId}/messages`, { content: "by nobody" }],
  ];
}

interface Scene {
  url: string;
  ann: Client;
  bob: Client;
  group: Json;
  /** Asserts that nothing can be had, or be done, with a token; `what` names it. */
  refuse(token: string, what: string): Promise<void>;
}

/** Ann has a group, in which nothing may be said by those who are refused. */
async function withAnn(act: (scene: Scene) => Promise<void>): Promise<void> {
  await withServer(
    async (t) => {
      const [ann, bob] = [await register(t.url, "ann"), await register(t.url, "bob")];
      const group = await ann.ok("POST", "/discussions", {
        kind: "group",
        name: "G",
        member_ids: [bob.user.id],
      });
      let refused = 0;
      const refuse = async (token: string, what: string) => {
        refused++;
        for (const [method, path, body] of requests(group.id)) {
          const { status, body: problem } = await call(t.url, token, method, path, body);
          assert.equal(status, 401, `${what}: ${method} → ${status} ${JSON.stringify(problem)}`);
        }
        for (const kind of kinds) {
          const headers = { authorization: `Bearer ${token}` };
          const { status, cut } = await openRaw(kind, t.url, streamPath(kind), { headers });
          cut();
          assert.equal(status, 401, `${what}: ${kind} → ${status}`);
        }
      };
      await act({ url: t.url, ann, bob, group, refuse });
      if (refused > 0) {
        assert.equal((await bob.ok("GET", `/discussions/${group.id}`)).last_seq, 0);
        const good = forge(head, claimsOf(ann.token));
        assert.equal(
          (await call(t.url, good, "GET", "/users/me")).status,
          200,
          "a forgery like ours is good",
        );
      }
    },
    { RATE_LIMITS: "off" },
  );
}

function call(url: string, token: string, method: string, path: string, body?: unknown) {
  return new Client(url).call(method, path, body, { authorization: `Bearer ${token}` });
}
