// time limit: 120 s
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, createServer, get, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { test } from "uvu";
import { Turns } from "../../server/api/turns.ts";
import { withProgram } from "../support/process.ts";
import { eventually, withServer } from "../support/server.ts";
import { cutAll, dial, ended, head, readAnswers } from "../support/wire.ts";

test.after.each(cutAll);

/** Sends piece after piece and reads nothing before the last, as many clients do; gives what came then. */
async function sendThenRead(url: string, pieces: Iterable<string | Buffer>): Promise<string> {
  const { port } = new URL(url);
  const socket = connect({ port: Number(port), host: "localhost", noDelay: true, allowHalfOpen: true });
  // Told to the write or the read that it ends.
  socket.on("error", () => {});
  await once(socket, "connect");
  for (const piece of pieces) {
    await new Promise<void>((resolve, reject) => {
      socket.write(piece, (error) => (error ? reject(error) : resolve()));
    });
    // A piece of its own, and a read of its own there.
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  let text = "";
  for await (const more of socket) text += more;
  return text;
}

const problemOnly = (status: number) => new RegExp(`^HTTP/1\\.1 ${status} .*\\r\\n\\r\\n\\{.*\\}$`, "s");

test("who still sends behind a mistake in the head gets to read the refusal", () =>
  withServer(async (t) => {
    const more = Array.from({ length: 30 }, () => "x".repeat(1_000));
    const large = `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(40_000)}`;
    assert.match(await sendThenRead(t.url, [large, ...more]), problemOnly(431));
    assert.match(await sendThenRead(t.url, ["GET / HTTP/1.1\r\nno header\r\n", ...more]), problemOnly(400));
    const behind = await sendThenRead(t.url, [`${head("GET", "/healthz")}GET no\r\n\r\n`, ...more]);
    assert.match(behind, /^HTTP\/1\.1 200 .*HTTP\/1\.1 400 /s);
    assert.equal(behind.match(/HTTP\/1\.1 /g)?.length, 2);
  }));

test("who still sends the body of a malformed request gets to read the refusal", () =>
  withServer(async (t) => {
    const lines = ["Host: again", "Content-Type: application/json", "Content-Length: 6000000"];
    const pieces = Array.from({ length: 30 }, () => Buffer.alloc(200_000, "x"));
    const text = await sendThenRead(t.url, [head("POST", "/api/v1/auth/login", lines), ...pieces]);
    assert.match(text, problemOnly(400));
    assert.match(text, /There must be one Host/);
  }));

test("a connection on which nothing is ever asked ends without an answer, and is no request", () =>
  withProgram({ LOG_LEVEL: "info" }, async (program) => {
    const [silent, slow] = [await dial(program.url), await dial(program.url)];
    slow.write("GET / HT");
    await Promise.all([ended(silent, 40_000), ended(slow, 40_000)]);
    assert.equal(silent.text(), "");
    assert.equal(readAnswers(slow)[0]?.status, 408);
    const logged = () => `${program.stdout()}${program.stderr()}`.match(/"status":408|status: 408/g)?.length;
    await eventually(() => assert.equal(logged(), 1));
  }));

test("a connection that waits for its next request keeps nothing of the last", async () => {
  setFlagsFromString("--expose-gc");
  const collectGarbage = runInNewContext("gc");
  const turns = new Turns();
  const responses: WeakRef<ServerResponse>[] = [];
  const server = createServer((_request, response) => {
    responses.push(new WeakRef(response));
    response.end();
  });
  turns.watch(server);
  const agent = new Agent({ keepAlive: true });
  try {
    await once(server.listen(0), "listening");
    const { port } = server.address() as AddressInfo;
    const [answer] = await once(get({ port, agent }), "response");
    await once(answer.resume(), "end");
    await eventually(() => {
      collectGarbage();
      assert.deepEqual([responses.length, responses[0]?.deref()], [1, undefined]);
    });
    assert.equal(await new Promise((resolve) => server.getConnections((_error, n) => resolve(n))), 1);
  } finally {
    agent.destroy();
    server.close();
  }
});

test.run();
