// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { cutAll, dial, ended, head, heard, readAnswers, upgradeHead } from "../support/wire.ts";
import { all, assertRefusal, post, talk, withTarget } from "./target.ts";

// What comes over TCP and is no request, or one that two programs in a row could read differently.

test.after.each(cutAll);

/** Framing that is ambiguous: header lines, and what stands where the body would. */
const ambiguous: [what: string, lines: string[], body: string][] = [
  ["a length and chunks", ["Content-Length: 6", "Transfer-Encoding: chunked"], "0\r\n\r\n"],
  ["chunks and a length", ["Transfer-Encoding: chunked", "Content-Length: 6"], "0\r\n\r\n"],
  ["two lengths", ["Content-Length: 2", "Content-Length: 0"], "{}"],
  ["twice the same length", ["Content-Length: 2", "Content-Length: 2"], "{}"],
  ["a list of lengths", ["Content-Length: 2, 2"], "{}"],
  ...["+2", "-2", "0x2", "2a", "", "1e1", "\x0b2", "2_0", "99999999999999999999", "2 2"].map(
    (length): [string, string[], string] => [`length ${length}`, [`Content-Length: ${length}`], "{}"],
  ),
  ...[
    "xchunked",
    "identity",
    "gzip, chunked",
    "chunked, identity",
    "chunked, chunked",
    "chunked;q=1",
    ",chunked",
    "chunked,",
    "\x0bchunked",
    "chunked\x0b",
    '"chunked"',
    "chun\tked",
    "chunked\0",
  ].map((encoding): [string, string[], string] => [
    `encoding ${JSON.stringify(encoding)}`,
    [`Transfer-Encoding: ${encoding}`],
    "2\r\n{}\r\n0\r\n\r\n",
  ]),
  ["two encodings", ["Transfer-Encoding: chunked", "Transfer-Encoding: x"], "0\r\n\r\n"],
  ["two encodings, the other way", ["Transfer-Encoding: x", "Transfer-Encoding: chunked"], "0\r\n\r\n"],
  ["a space before the colon", ["Transfer-Encoding : chunked"], "0\r\n\r\n"],
  ["a tab before the colon", ["Content-Length\t: 2"], "{}"],
  ["a folded line", ["X-Other: a", " Transfer-Encoding: chunked"], "0\r\n\r\n"],
  ["a folded value", ["Transfer-Encoding:", " chunked"], "0\r\n\r\n"],
  ["a line that ends with LF", ["X-Other: a\nTransfer-Encoding: chunked"], "0\r\n\r\n"],
  ["a line that ends with CR", ["X-Other: a\rTransfer-Encoding: chunked"], "0\r\n\r\n"],
  ["NUL in a line", ["X-Other: a\0Transfer-Encoding: chunked"], "0\r\n\r\n"],
  ["a line without a name", [": chunked"], ""],
  ["a name that is no token", ["Transfer(Encoding): chunked"], ""],
  ...[
    "g\r\n{}\r\n0\r\n\r\n",
    "-1\r\n{}\r\n0\r\n\r\n",
    "0x2\r\n{}\r\n0\r\n\r\n",
    " 2\r\n{}\r\n0\r\n\r\n",
    "2 \r\n{}\r\n0\r\n\r\n",
    "2\n{}\n0\n\n",
    "2\r\n{}0\r\n\r\n",
    "2\r\n{}XX0\r\n\r\n",
    "2;\n{}\r\n0\r\n\r\n",
    "2\r\n{}\r\n0\r\n\n",
    "FFFFFFFFFFFFFFFFFF\r\n{}",
    "\r\n2\r\n{}\r\n0\r\n\r\n",
    "2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
  ].map((body): [string, string[], string] => [
    `chunks ${JSON.stringify(body)}`,
    ["Transfer-Encoding: chunked"],
    body,
  ]),
];

test("what could be read in two ways is refused, and nothing that follows is answered or done", () =>
  withTarget(async (target) => {
    const { ann, auth, discussionId } = target;
    await all(ambiguous, async ([what, lines, body]) => {
      const attack = head("POST", "/api/v1/discussions", [auth, "Content-Type: application/json", ...lines]);
      const wire = await dial(ann.url);
      wire.write(attack + body + post(target, "smuggled"));
      await ended(wire).catch((error) => assert.fail(`${what}: ${error.message}`));
      // The first may be answered for what it asks before its body is known to be broken.
      const answers = readAnswers(wire);
      assert.equal(answers.length, 1, `${what}: ${wire.text()}`);
      assertRefusal(answers[0], what, [400, 413]);
    });
    assert.deepEqual((await ann.ok("GET", `/discussions/${discussionId}/messages`)).items, []);
  }));

test("what is unusual but clear is read as it is meant, and the next request is the next", () =>
  withTarget(async (target) => {
    const { ann, auth } = target;
    const clear: [what: string, lines: string[], body: string][] = [
      ["spaces around a length", ["Content-Length:   2  "], "{}"],
      ["a length with a zero before", ["Content-Length: 02"], "{}"],
      ["a name in capitals", ["CONTENT-LENGTH: 2"], "{}"],
      ["chunks in capitals", ["Transfer-Encoding: Chunked"], "2\r\n{}\r\n0\r\n\r\n"],
      ["an extension of a chunk", ["Transfer-Encoding: chunked"], "2;a=b\r\n{}\r\n0\r\n\r\n"],
      ["a trailer", ["Transfer-Encoding: chunked"], "2\r\n{}\r\n0\r\nX-Request-Id: evil\r\n\r\n"],
      ["another name", ["Transfer_Encoding: chunked", "Content-Length: 2"], "{}"],
    ];
    await all(clear, async ([what, lines, body]) => {
      const ids = ["first", "second"].map((id) => `X-Request-Id: ${id}`);
      const json = [auth, "Content-Type: application/json", `${ids[0]}`, ...lines];
      const next = head("GET", "/api/v1/users/me", [auth, `${ids[1]}`]);
      const { answers, wire } = await talk(
        ann.url,
        head("POST", "/api/v1/discussions", json) + body + next,
        2,
      );
      assertRefusal(answers[0], what);
      assert.equal(answers[0]?.headers.get("x-request-id"), "first", what);
      assert.equal(answers[1]?.headers.get("x-request-id"), "second", what);
      assert.equal(JSON.parse(answers[1]?.body ?? "").username, "ann", what);
      wire.cut();
    });
  }));

test("the body of a request that has none by its kind is not the next request", () =>
  withTarget(async (target) => {
    const { ann, auth, discussionId } = target;
    const smuggled = post(target, "smuggled");
    await all(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"], async (method) => {
      const ask =
        head(method, "/api/v1/users/nobody", [auth, `Content-Length: ${smuggled.length}`]) + smuggled;
      const wire = await dial(ann.url);
      wire.write(ask + head("GET", "/api/v1/users/me", [auth, "X-Request-Id: next", "Connection: close"]));
      await ended(wire);
      const answers = readAnswers(wire, (index) => index === 0 && method === "HEAD");
      assert.deepEqual(
        answers.map(({ headers }) => headers.get("x-request-id") === "next"),
        [false, true],
        method,
      );
    });
    assert.deepEqual((await ann.ok("GET", `/discussions/${discussionId}/messages`)).items, []);
  }));

test("what is no HTTP is refused, and its connection ends", () =>
  withTarget(async ({ ann, auth }) => {
    const lines = `Host: localhost\r\n${auth}\r\n\r\n`;
    const wrong: Record<string, string> = {
      "LF for line ends": `GET /api/v1/users/me HTTP/1.1\nHost: localhost\n${auth}\n\n`,
      "a TLS greeting": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
      "a preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "a version that is none": `GET /api/v1/users/me HTTP/1.2\r\n${lines}`,
      "a version that is no number": `GET /api/v1/users/me HTTP/one\r\n${lines}`,
      "a method that is none": `BREW /api/v1/users/me HTTP/1.1\r\n${lines}`,
      "a method in small letters": `get /api/v1/users/me HTTP/1.1\r\n${lines}`,
      "NUL in the path": `GET /api/v1/users/m\0e HTTP/1.1\r\n${lines}`,
      "raw bytes in the path": `GET /api/v1/users/\xc0\xaf HTTP/1.1\r\n${lines}`,
      "raw bytes in the query": `GET /api/v1/users?query=\xff HTTP/1.1\r\n${lines}`,
      "a space in the path": `GET /api/v1/users/m e HTTP/1.1\r\n${lines}`,
      "no host": `GET /api/v1/users/me HTTP/1.1\r\n${auth}\r\n\r\n`,
      "two hosts": `GET /api/v1/users/me HTTP/1.1\r\nHost: other\r\n${lines}`,
      "nothing that could be": "\0".repeat(100),
    };
    await all(Object.entries(wrong), async ([what, bytes]) => {
      const { answers, wire } = await talk(ann.url, bytes);
      assertRefusal(answers[0], what);
      await ended(wire);
      assert.equal(readAnswers(wire).length, 1, what);
    });
  }));

test("a host that is none is refused by every kind of route, and not found out half-way", () =>
  withTarget(async ({ ann, auth }) => {
    // The first ones pass for hosts until an address is made of them.
    const hosts = [
      "a:99999",
      "1.2.3.999",
      "[::::]",
      "[1.2.3.4.5]",
      "999999999999",
      "a b",
      "a/b",
      "a@b",
      "a\\b",
    ];
    hosts.push("a:b", "[::1", "é", "<script>", "a?b", "%zz".repeat(3));
    const cookie = ["Cookie: parley_session=x", "Origin: http://localhost"];
    const asked = [
      head("GET", "/api/v1/users/me", [auth]),
      head("GET", "/api/v1/users?query=<>", [auth]),
      head("POST", "/api/v1/auth/logout", cookie),
      head("GET", "/api/v1/events", [auth]),
      head("GET", "/nothing"),
      head("OPTIONS", "/api/v1/users/me", ["Origin: http://localhost"]),
      upgradeHead(ann),
      upgradeHead(ann, "/ws?since=<>"),
    ];
    const pairs = hosts.flatMap((host) => asked.map((request) => [host, request] as const));
    await all(pairs, async ([host, request]) => {
      const { answers, wire } = await talk(ann.url, request.replace("Host: localhost", `Host: ${host}`));
      assertRefusal(answers[0], `${host}: ${request.slice(0, 40)}`);
      await ended(wire);
    });
  }));

test("an address is read in one way, however it is written", () =>
  withTarget(async ({ ann, auth }) => {
    const found = ["http://localhost/api/v1/users/me", "HTTP://other.example:81/api/v1/users/me"];
    found.push("/api/v1/x/../users/me", "/api/v1/users/me?a=1&a=2&__proto__=x", "/api/v1/users/me#x");
    const nothing = [
      "*",
      "//evil.example/api/v1/users/me",
      "/api/v1%2fusers/me",
      "/",
      "/..",
      "/%2e%2e/%2e%2e",
    ];
    nothing.push("/api/v1/users/me/", "/API/v1/users/me", "/api/v1/users//me", "/api/v1/users/me;a=b", "/%");
    const mistaken = ["/api/v1/users/%00", "/api/v1/users/%c0%af", "/api/v1/users/%ff", "/api/v1/users/%"];
    mistaken.push("http://1.2.3.999/api/v1/users/me", "ftp://localhost/api/v1/users/me", "localhost:80");
    mistaken.push("/api/v1/users?limit=%00", "/api/v1/users?cursor=%c0%af", "/api/v1/users/%u0041");
    const addresses = [
      ...found.map((target) => [target, [200]] as const),
      ...nothing.map((target) => [target, [200, 400, 404]] as const),
      ...mistaken.map((target) => [target, [400, 404]] as const),
    ];
    await all(addresses, async ([target, statuses]) => {
      const { answers, wire } = await talk(ann.url, head("GET", target, [auth]));
      const status = answers[0]?.status ?? 0;
      assert.ok(statuses.includes(status as never), `${target} → ${status}`);
      wire.cut();
    });
  }));

test("methods that are not ours are refused and named, and no request comes back to who sent it", () =>
  withTarget(async ({ ann, auth }) => {
    await all(["TRACE", "PROPFIND", "PURGE", "QUERY", "SEARCH", "M-SEARCH", "POST"], async (method) => {
      const { answers, wire } = await talk(
        ann.url,
        head(method, "/api/v1/users/me", [auth, "X-Secret: echo"]),
      );
      assertRefusal(answers[0], method, [405]);
      assert.match(answers[0]?.headers.get("allow") ?? "", /GET/, method);
      assert.doesNotMatch(wire.text(), /X-Secret|echo/);
      wire.cut();
    });
    for (const target of ["localhost:80", "/api/v1/users/me"]) {
      const { answers, wire } = await talk(
        ann.url,
        head("CONNECT", target, [auth]) + head("GET", "/healthz"),
      );
      assertRefusal(answers[0], `CONNECT ${target}`, [405]);
      await ended(wire);
      assert.equal(readAnswers(wire).length, 1);
    }
    const headOnly = await dial(ann.url);
    headOnly.write(head("HEAD", "/api/v1/users/me", [auth, "Connection: close"]));
    await ended(headOnly);
    assert.match(headOnly.text(), /^HTTP\/1\.1 200 .*\r\n\r\n$/s);
  }));

test("expectations are met or ignored, and a body is asked for once", () =>
  withTarget(async ({ ann, auth }) => {
    const json = [auth, "Content-Type: application/json", "Content-Length: 2"];
    const wire = await dial(ann.url);
    wire.write(head("POST", "/api/v1/discussions", [...json, "Expect: 100-continue"]));
    await heard(wire, /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    wire.write("{}");
    await heard(wire, /HTTP\/1\.1 400 .*\}$/s);
    assert.equal(readAnswers(wire).length, 2);
    const other = await talk(ann.url, `${head("POST", "/api/v1/discussions", [...json, "Expect: tea"])}{}`);
    assertRefusal(other.answers[0], "another expectation");
  }));

test("an upgrade is to a WebSocket, whole and alone, or is none", () =>
  withTarget(async ({ ann, auth }) => {
    for (const protocol of ["h2c", "TLS/1.0", "websocket2", "WebSocket, h2c"]) {
      const lines = [auth, "Connection: Upgrade", `Upgrade: ${protocol}`];
      const { answers, wire } = await talk(ann.url, head("GET", "/api/v1/users/me", lines));
      assert.equal(answers[0]?.status, 200, `${protocol}: answered as if it had not been offered`);
      wire.cut();
    }
    const { ticket } = await ann.ok("POST", "/auth/tickets");
    const path = `/ws?ticket=${ticket}`;
    const hello = upgradeHead(ann, path).replace(/Authorization.*\r\n/, "");
    const me = head("GET", "/api/v1/users/me", [auth]);
    const wrong: [what: string, bytes: string, status: number][] = [
      ["another method", hello.replace("GET", "POST"), 405],
      ["a body with its length", hello.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello"), 400],
      ["a body in chunks", hello.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400],
      ["HTTP/1.0", hello.replace("HTTP/1.1", "HTTP/1.0"), 400],
      ["another version", hello.replace("Version: 13", "Version: 8"), 400],
      ["a key that is none", hello.replace(/Key: .*/, "Key: short"), 400],
      ["another scheme", hello.replace("GET /", "GET ftp://localhost/"), 400],
    ];
    await all(wrong, async ([what, bytes, status]) => {
      const { answers, wire } = await talk(ann.url, bytes + me);
      assertRefusal(answers[0], what, [status]);
      await ended(wire);
      assert.equal(readAnswers(wire).length, 1, what);
    });
    const good = await dial(ann.url);
    good.write(hello);
    await heard(good, /"type":"ready"/);
  }));

test("a socket that is asked for behind something unanswered is no socket, as frames would mix with it", () =>
  withTarget(async ({ ann, auth }) => {
    const me = head("GET", "/api/v1/users/me", [auth]);
    const { answers } = await talk(ann.url, me.repeat(3) + upgradeHead(ann), 4);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200, 426],
    );
    const events = await dial(ann.url);
    events.write(head("GET", "/api/v1/events", [auth]) + upgradeHead(ann));
    await heard(events, /event: ready/);
    await ann.ok("POST", "/discussions", { kind: "group", member_ids: [] });
    await heard(events, /event: discussion.created/);
    assert.doesNotMatch(events.text(), /101|\x81/);
  }));

test("heads and addresses are bounded, and told so", () =>
  withTarget(async ({ ann, auth }) => {
    const large = "x".repeat(17_000);
    const over: [what: string, bytes: string][] = [
      ["a header", head("GET", "/api/v1/users/me", [auth, `X-Large: ${large}`])],
      ["a header's name", head("GET", "/api/v1/users/me", [auth, `${large}: x`])],
      ["many headers", head("GET", "/api/v1/users/me", [auth, ...Array<string>(5_000).fill("a:")])],
      ["a path", head("GET", `/api/v1/${large}`, [auth])],
      ["a query", head("GET", `/api/v1/users?query=${large}`, [auth])],
      ["a head without end", `GET / HTTP/1.1\r\n${"a: b\r\n".repeat(20_000)}`],
      ["a line without end", "G".repeat(200_000)],
      ["an upgrade", upgradeHead(ann, "/ws", [`X-Large: ${large}`])],
      [
        "extensions of chunks",
        `${head("POST", "/api/v1/auth/login", [
          "Content-Type: application/json",
          "Transfer-Encoding: chunked",
        ])}1;${large}\r\n{\r\n`,
      ],
    ];
    await all(over, async ([what, bytes]) => {
      const { answers, wire } = await talk(ann.url, bytes);
      assertRefusal(answers[0], what, what === "a line without end" ? [400, 431] : [431, 413]);
      await ended(wire);
    });
    const within = head("GET", `/api/v1/users/me?${"x=&".repeat(4_900)}`, [auth]);
    assert.equal((await talk(ann.url, within)).answers[0]?.status, 200);
  }));

test("a thousand requests in one piece are answered in their order, and a mistake behind them last", () =>
  withTarget(async ({ ann, auth }) => {
    const ids = Array.from({ length: 1_000 }, (_, index) => `nr-${index}`);
    const asked = ids.map((id, index) =>
      head("GET", index % 7 ? "/healthz" : "/api/v1/users/me", [auth, `X-Request-Id: ${id}`]),
    );
    const wire = await dial(ann.url);
    wire.write(`${asked.join("")}garbage\r\n\r\n`);
    await ended(wire, 30_000);
    const answers = readAnswers(wire);
    assert.deepEqual(
      answers.slice(0, -1).map(({ headers }) => headers.get("x-request-id")),
      ids,
    );
    assert.ok(answers.slice(0, -1).every(({ status }) => status === 200));
    assertRefusal(answers.at(-1), "the mistake");
  }));

test("HTTP/1.0 is answered, without Host too, and its connection ends", () =>
  withTarget(async ({ ann, auth }) => {
    const lines = `${auth}\r\nX-Request-Id: old\r\n\r\n`;
    const { answers, wire } = await talk(ann.url, `GET /api/v1/users/me HTTP/1.0\r\n${lines}`);
    await ended(wire);
    assert.equal(answers[0]?.status, 200);
    assert.equal(answers[0]?.headers.get("x-request-id"), "old");
  }));

test.run();
