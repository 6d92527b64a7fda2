// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { assertProblem, type Client, register } from "../support/client.ts";
import { filePart, openRequest, picture, rawForm, sendBody, tryUpload } from "../support/files.ts";
import { query } from "../support/postgres.ts";
import { eventually, withServer } from "../support/server.ts";

const env = { RATE_LIMITS: "off" };
const form = rawForm([[filePart, "x".repeat(1024 * 1024)]]);
const formHeaders = { "content-type": form.type, "content-length": form.body.length };

type Opened = ReturnType<typeof openRequest>;

/** Sends `bytes` bytes every so often until it is answered or has sent all. */
function trickle({ sent, answer }: Opened, body: Buffer, bytes: number, ms: number): Opened["answer"] {
  sent.on("error", () => {});
  let at = 0;
  const timer = setInterval(() => {
    sent.write(body.subarray(at, at + bytes));
    at += bytes;
    if (at < body.length) return;
    clearInterval(timer);
    sent.end();
  }, ms);
  const ended = answer.finally(() => clearInterval(timer));
  // Whoever waits for it hears of it; until then it is no failure of the test.
  ended.catch(() => {});
  return ended;
}

/** The same, to where uploads begin: what follows is of the file. */
function trickleFile(client: Client, bytes: number, ms: number): Opened["answer"] {
  const opened = openRequest(client, "/attachments", formHeaders);
  opened.sent.write(form.body.subarray(0, 200));
  return trickle(opened, form.body.subarray(200), bytes, ms);
}

/** Until so many uploads have begun. */
function placesTaken(databaseUrl: string, expected: number): Promise<void> {
  return eventually(async () => {
    const [row] = await query(databaseUrl, "SELECT count(*)::int AS count FROM attachment_removals");
    assert.equal(row.count, expected);
  });
}

test("uploads that trickle take all places for seconds only; who is slow but honest gets through", () =>
  withServer(async (t) => {
    const crowd = await Promise.all(Array.from({ length: 8 }, (_, n) => register(t.url, `user${n}`)));
    const [slow, late] = [await register(t.url, "slow"), await register(t.url, "late")];
    // 10 kB/s, for longer than anybody may be slow: 28 s.
    const honest = openRequest(slow, "/attachments", {
      "content-type": form.type,
      "transfer-encoding": "chunked",
    });
    const short = rawForm([[filePart, "x".repeat(280_000)]]).body;
    const taken = trickle(honest, short, 2_500, 250);
    await placesTaken(t.databaseUrl, 1);
    // The last of them finds no place.
    const trickles = crowd.flatMap((client) =>
      Array.from({ length: 8 }, () => trickleFile(client, 1, 1_000)),
    );
    await placesTaken(t.databaseUrl, 64);
    assertProblem(await tryUpload(late, "x"), 503, "overloaded");
    const answers = await Promise.all(trickles);
    const codes = answers.map(({ status, body }) => `${status} ${body.code}`).sort();
    assert.deepEqual(codes, [...Array(63).fill("408 request_timeout"), "503 overloaded"]);
    assert.equal((await tryUpload(late, "x")).status, 201);
    const { status, body } = await taken;
    assert.deepEqual([status, body.size], [201, 280_000]);
  }, env));

test("every other body that trickles is given up too: avatars, JSON, with the length told or not", () =>
  withServer(async (t) => {
    const ann = await register(t.url, "ann");
    const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
    const image = await picture("png", { noise: true });
    const json = Buffer.from(JSON.stringify({ content: "x".repeat(10_000) }));
    const bodies: [method: string, path: string, type: string, body: Buffer][] = [
      ["PUT", "/users/me/avatar", "image/png", image],
      ["PUT", "/users/me/avatar", form.type, form.body],
      ["POST", `/discussions/${id}/messages`, "application/json", json],
      ["POST", "/auth/login", "application/json", json],
    ];
    const answers = bodies.flatMap(([method, path, type, body]) =>
      [{ "content-length": body.length }, { "transfer-encoding": "chunked" }].map(async (length) => {
        const opened = openRequest(ann, path, { "content-type": type, ...length }, method);
        opened.sent.write(body.subarray(0, 200));
        const answer = await trickle(opened, body.subarray(200), 1, 1_000);
        return [path, answer.status, answer.body.code];
      }),
    );
    // Of one person's avatars only two come at once.
    const codes = (await Promise.all(answers)).map(([path, ...rest]) => `${path} ${rest.join(" ")}`).sort();
    assert.deepEqual(codes, [
      "/auth/login 408 request_timeout",
      "/auth/login 408 request_timeout",
      `/discussions/${id}/messages 408 request_timeout`,
      `/discussions/${id}/messages 408 request_timeout`,
      "/users/me/avatar 408 request_timeout",
      "/users/me/avatar 408 request_timeout",
      "/users/me/avatar 429 rate_limited",
      "/users/me/avatar 429 rate_limited",
    ]);
    const avatar = await sendBody(ann, "PUT", "/users/me/avatar", image, { "content-type": "image/png" });
    assert.equal(avatar.status, 204);
  }, env));

test.run();
