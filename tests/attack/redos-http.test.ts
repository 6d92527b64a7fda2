// time limit: 180 s
import assert from "node:assert/strict";
import { test } from "uvu";
import { type Client, register } from "../support/client.ts";
import { withServer } from "../support/server.ts";
import { cutAll, dial, ended, upgradeHead } from "../support/wire.ts";

// Patterns and parsers that are met only behind a request, those of Postgres among them: the worst text for
// them against harmless text of the same length.

test.after.each(cutAll);

const header = 15_000;
/**
 * 3,200 mentions of one name take six times as long as none; the rest is for busy machines. What grows with
 * the square of the length takes hundreds of times as long.
 */
const mostCost = 20;

/** What is repeated, between a beginning and an end that make it fail late. */
type Shape = [begin: string, repeated: string, end: string];
type Ask = (input: string) => Promise<unknown>;

/** What is behind a request: headers, queries, forms and Postgres' own patterns. Evil and harmless alike. */
function overHttp(ann: Client, id: string): [what: string, ask: Ask, length: number, worst: Shape[]][] {
  const get =
    (path: string, name: string): Ask =>
    (input) =>
      ann.call("GET", path, undefined, { [name]: input });
  const query =
    (path: string): Ask =>
    (input) =>
      ann.call("GET", path + encodeURIComponent(input));
  const typed: Ask = (type) => ann.call("POST", "/discussions", "{}", { "content-type": type });
  const form =
    (name: string, type: string): Ask =>
    (input) =>
      ann.call(
        "POST",
        "/attachments",
        `--b\r\ncontent-disposition: form-data; name="file"; ${name}${input}\r\n\r\nx\r\n--b--`,
        {
          "content-type": type,
        },
      );
  const handshake =
    (name: string): Ask =>
    async (input) => {
      const wire = await dial(ann.url);
      wire.write(upgradeHead(ann, "/nothing", [`${name}: ${input}`]));
      await ended(wire);
    };
  const anonymous =
    (name: string): Ask =>
    (input) =>
      fetch(`${ann.url}/api/v1/users/me`, { headers: { [name]: input } }).then((response) => response.text());
  const send: Ask = (content) => ann.call("POST", `/discussions/${id}/messages`, { content });
  return [
    [
      "cookies",
      anonymous("cookie"),
      header,
      [
        ["", ";", ""],
        ["", "=", ""],
        ["", " ", ";"],
        ["", "parley_session", "="],
      ],
    ],
    [
      "authorization",
      anonymous("authorization"),
      header,
      [
        ["Bearer ", " ", "x y"],
        ["Bearer ", ".", ""],
        ["", "Bearer ", ""],
      ],
    ],
    [
      "tags",
      get(`/users/${ann.user.id}/avatar`, "if-none-match"),
      header,
      [
        ["", ",", ""],
        ["", '"', ""],
        ["", " ", ","],
        ["", "W/", ""],
      ],
    ],
    [
      "ranges",
      get(`/users/${ann.user.id}/avatar`, "range"),
      header,
      [
        ["bytes=", "1", "-"],
        ["bytes=", " ", "x"],
        ["bytes=-", "1", " x"],
      ],
    ],
    [
      "accepted types",
      get("/users/me", "accept"),
      header,
      [
        ["", "*/*,", ""],
        ["", ";q=", ""],
      ],
    ],
    [
      "types of bodies",
      typed,
      header,
      [
        ["application/json", " ", "x"],
        ["application/json", ";charset=", ""],
        ["application/json", "; ", "charset"],
      ],
    ],
    [
      "types of forms",
      (type) => form("filename=a", type)(""),
      header,
      [
        ["multipart/form-data; boundary=", '"', ""],
        ["multipart/form-data", ";a", ""],
        ["multipart/form-data; ", '"\\', ""],
        ["multipart/form-data; boundary=", "b", ""],
      ],
    ],
    [
      "names in forms",
      form("filename=", "multipart/form-data; boundary=b"),
      7_500,
      [
        ["", "%", ""],
        ['"', "\\", ""],
        ["", '"', ""],
        ["", ";", ""],
        ["x; filename*=", "'", ""],
      ],
    ],
    [
      "encoded names in forms",
      form("filename*=", "multipart/form-data; boundary=b"),
      7_500,
      [
        ["utf-8''", "%", ""],
        ["utf-8''", "%e", ""],
        ["", "'", ""],
      ],
    ],
    [
      "protocols",
      handshake("Sec-WebSocket-Protocol"),
      header,
      [
        ["", ",", ""],
        ["", "a,", ""],
        ["", " ", ","],
      ],
    ],
    [
      "extensions",
      handshake("Sec-WebSocket-Extensions"),
      header,
      [
        ["", ";", ""],
        ["", "=,", ""],
      ],
    ],
    [
      "searches",
      query("/search?q="),
      256,
      [
        ["", '"', ""],
        ["", '"a', ""],
        ["", "a ", ""],
        ["", "%", ""],
        ["", "_", ""],
        ["", "\\", ""],
        ["", "字", ""],
        ["", "„“", ""],
      ],
    ],
    [
      "people",
      query("/users?query="),
      64,
      [
        ["", "%", ""],
        ["", "_", ""],
        ["", "\\", ""],
        ["", "a%", ""],
      ],
    ],
    [
      "groups",
      query("/discussions?visibility=public&query="),
      100,
      [
        ["", "%", ""],
        ["", "\\", ""],
        ["", "_%", ""],
      ],
    ],
    [
      "mentions",
      send,
      16_000,
      [
        ["", "@", ""],
        ["", "@a", ""],
        ["", "a@aaa", ""],
        ["", "@aaa ", ""],
        ["@", "a", ""],
        ["@", "a.", ""],
        ["", "@aaa-", ""],
        ["", "-@", ""],
      ],
    ],
    [
      "words",
      send,
      16_000,
      [
        ["", "\u0301", ""],
        ["", "a\u0301", ""],
        ["", " ", ""],
        ["", "\u200d", ""],
        ["", "ﷺ", ""],
        ["", "字", ""],
      ],
    ],
  ];
}

/** The least of some tries, in turn with harmless text of the same length: the machine is as busy. */
async function costOf(ask: Ask, worst: string): Promise<number> {
  const harmless = "word".repeat(Math.ceil(worst.length / 4)).slice(0, worst.length);
  let [evil, good] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  const timed = async (input: string) => {
    const at = performance.now();
    await ask(input);
    return performance.now() - at;
  };
  for (let round = 0; round < 4; round++) {
    good = Math.min(good, await timed(harmless));
    evil = Math.min(evil, await timed(worst));
  }
  return evil / good;
}

test("what is behind a request takes at most twenty times as long for the worst text as for harmless", () =>
  withServer(
    async (t) => {
      const ann = await register(t.url, "ann");
      const { id } = await ann.ok("POST", "/discussions", { kind: "direct", user_id: ann.user.id });
      for (const content of ["a ".repeat(8_000), "字".repeat(16_000), "a".repeat(16_000)])
        await ann.send(id, content);
      for (const [what, ask, length, worst] of overHttp(ann, id))
        for (const [begin, repeated, end] of worst) {
          const room = length - begin.length - end.length;
          const input = begin + repeated.repeat(Math.floor(room / repeated.length)) + end;
          const costs: number[] = [];
          do costs.push(await costOf(ask, input));
          while (Math.min(...costs) > mostCost && costs.length < 4);
          const shown = JSON.stringify([begin, repeated, end]);
          assert.ok(Math.min(...costs) <= mostCost, `${what} ${shown}: ${costs} times as long`);
        }
    },
    { RATE_LIMITS: "off", TRUST_PROXY: "1" },
  ));

test.run();
