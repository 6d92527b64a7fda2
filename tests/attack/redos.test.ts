// time limit: 180 s
import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { create as contentDisposition } from "content-disposition";
import { test } from "uvu";
import { z } from "zod";
import { readAddress } from "../../server/api/address.ts";
import { initials } from "../../server/api/avatar-drawing.ts";
import { faultOf } from "../../server/api/malformed.ts";
import { readRequestId } from "../../server/api/request-id.ts";
import { readPlace } from "../../server/api/search.ts";
import { createSnippet } from "../../server/api/snippets.ts";
import { matchStream } from "../../server/api/streams.ts";
import { cleanName, isForm } from "../../server/api/uploads.ts";
import { createTokens } from "../../server/commands/tokens.ts";
import * as fields from "../../server/fields.ts";

// Every pattern and parser of ours that what a client sends comes to. Worst cases, as long as they may be:
// four times the length may cost some four times as much. What is not at hand here: redos-http.test.ts.

/** Linear is 4, square is 16; between them, so that neither noise nor caches decide. */
const mostGrowth = 9;
const header = 15_000;
/** Half of a body: longer strings are made in another part of the heap, which is a step and no slope. */
const body = 120_000;

type Parser = [what: string, parse: (input: string) => unknown, length: number, worst: Shape[]];
/** What is repeated, between a beginning and an end that make it fail late. */
type Shape = [begin: string, repeated: string, end: string];

const safe = (schema: z.ZodType) => (input: string) => schema.safeParse(input);
const asHeader = (name: string, value: string) =>
  ({ headers: { [name]: value }, socket: { remoteAddress: "::1" } }) as unknown as IncomingMessage;
const asRequest = (url: string, host: string, encoding: string) =>
  ({
    url: `http://${host}${url}`,
    runtime: {
      node: {
        req: {
          url,
          httpVersion: "1.1",
          rawHeaders: ["Host", host],
          headers: { host, "transfer-encoding": encoding },
        },
      },
    },
  }) as unknown as Parameters<typeof faultOf>[0];
const marks = (text: string): Shape[] => [
  ["", text, ""],
  ["x", text, "!"],
  [text, "x", text],
];

const parsers: Parser[] = [
  ["usernames", safe(fields.usernameSchema), body, marks("a").concat(marks(".-"))],
  [
    "e-mail addresses",
    safe(fields.emailSchema),
    body,
    [
      ["", "a", "@"],
      ["a@", "a-", "."],
      ["a@", "a.", "a"],
      ["a@", "a.a-", "@"],
      ["", "a.", "@a.b"],
      ["", "a@", ""],
      ["a", ".", "@a.bc"],
      ["'+", "_-", "@a"],
      ["a@", "a", ".b"],
      ["a@b.", "c", "1"],
    ],
  ],
  [
    "display names",
    safe(fields.displayNameSchema),
    body,
    marks(" ").concat(marks("\u0301"), marks("\ud83d\ude00")),
  ],
  ["content", safe(fields.contentSchema), body, marks("\ud800").concat(marks("😀"), marks("@a "))],
  [
    "reactions",
    safe(fields.reactionSchema),
    body,
    marks("👍").concat(marks("👨\u200d"), marks("\ufe0f"), marks("1")),
  ],
  [
    "ids",
    safe(fields.idSchema),
    body,
    marks("0").concat([["0198c0de-0000-7000-8000-00000000000", "0", "g"]]),
  ],
  [
    "timestamps",
    safe(fields.timestampSchema),
    body,
    [
      ["2026-01-01 00:00:00.", "0", "+00"],
      ["", "2026-", ""],
    ],
  ],
  [
    "moments",
    safe(fields.momentSchema),
    body,
    [
      ["2026-01-01T00:00:00.", "0", "Y"],
      ["", "2026-01-01T", "Z"],
    ],
  ],
  [
    "numbers",
    safe(fields.seqSchema),
    body,
    [
      ["", "0", ""],
      ["1", "0", "x"],
      ["", "9", ""],
    ],
  ],
  [
    "cursors",
    safe(fields.cursorSchema),
    body,
    [
      ["", "a", "."],
      ["a.", "0", ""],
      ["a", ".", ""],
      ["a.1", "0", "x"],
    ],
  ],
  [
    "page cursors",
    safe(fields.pageCursorSchema(z.tuple([z.string()]))),
    body,
    [
      ["", "W", ""],
      ["", "=", ""],
      ["", "W1", "="],
      ["", "-_", ""],
    ],
  ],
  [
    "forwarded addresses",
    (input) => readAddress(asHeader("x-forwarded-for", input), 1),
    header,
    [
      ["", ",", ""],
      ["[", "[", ""],
      ["[", "]", ":1x"],
      ["", "1.", ":"],
      ["", "1:", "::"],
      ["::ffff:", "1.", ""],
      ["", " ", ","],
    ],
  ],
  [
    "request ids",
    (input) => readRequestId(new Headers({ "x-request-id": input })),
    header,
    [
      ["", "a", "!"],
      ["", "a.", ""],
    ],
  ],
  [
    "hosts and addresses",
    (input) => [faultOf(asRequest("/", input, "chunked")), faultOf(asRequest(`/${input}`, "a", input))],
    header,
    [
      ["", "a", "/"],
      ["[", ":", ""],
      ["a:", "1", "x"],
      ["", "%41", "%"],
      ["", "a.", ".."],
      ["", "../", ""],
      ["", ",", ""],
    ],
  ],
  [
    "stream paths",
    matchStream,
    header,
    [
      ["/api/v1/discussions/", "a", "/wss"],
      ["", "/", ""],
      ["/api/v1", "/discussions", ""],
    ],
  ],
  [
    "access tokens",
    (input) => createTokens("secret").verify(input),
    header,
    [
      ["", ".", ""],
      ["", "a.", ""],
      ["a.a.", "a", ""],
    ],
  ],
  [
    "names of files",
    cleanName,
    16_000,
    [
      ["", "/", "a"],
      ["", ".", ""],
      [".", "a", ""],
      ["", "\u202e", ""],
      ["", "a.", "a"],
      ["", "😀", ".a"],
    ],
  ],
  [
    "types of forms",
    isForm,
    header,
    [
      ["multipart/form-data", " ", "x"],
      ["", "multipart/form-data", ""],
    ],
  ],
  [
    "names in headers",
    (input) => contentDisposition(input.slice(0, 255)),
    header,
    [
      ["", "%", ""],
      ["", '"', ""],
      ["", "\\", ""],
      ["", "é", ""],
      ["", "%e", ""],
    ],
  ],
  [
    "initials",
    (input) => initials(input),
    16_000,
    [
      ["", "a", ""],
      ["", "a\u200d", ""],
      ["", "\u200d", ""],
      ["", "a\u0301", " b"],
      ["", "! ", ""],
    ],
  ],
  [
    "snippets",
    (input) => createSnippet(input, ["aaab", " a", "b "]),
    16_000,
    [
      ["", "a", ""],
      ["", "a ", ""],
      ["", "\u0301", ""],
      ["", "aab", ""],
      ["", "<", ""],
      ["", "ﷺ", "aaab"],
    ],
  ],
  [
    "places of searches",
    (input) => readPlace(safe(fields.pageCursorSchema(z.any()))(input).data as never),
    512,
    [["", "W", ""]],
  ],
];

/** The least time of some runs, each of so many calls that it can be told from noise. */
function leastMs(act: () => unknown): number {
  let calls = 1;
  const run = () => {
    const at = performance.now();
    for (let call = 0; call < calls; call++) act();
    return performance.now() - at;
  };
  while (run() < 1 && calls < 100_000) calls *= 2;
  return Math.min(...Array.from({ length: 7 }, run)) / calls;
}

function growthOf(parse: (input: string) => unknown, length: number, [begin, repeated, end]: Shape): number {
  const make = (size: number) => begin + repeated.repeat(Math.ceil(size / repeated.length)) + end;
  const [short, long] = [make(length / 4), make(length)];
  return leastMs(() => parse(long)) / leastMs(() => parse(short));
}

for (const [what, parse, length, worst] of parsers)
  test(`what reads ${what} takes time as their length, at worst`, () => {
    for (const shape of worst) {
      // A machine that is busy with others may disturb one; a square is one every time.
      const growths: number[] = [];
      do growths.push(growthOf(parse, length, shape));
      while (Math.min(...growths) > mostGrowth && growths.length < 4);
      assert.ok(Math.min(...growths) <= mostGrowth, `${JSON.stringify(shape)}: ${growths}`);
    }
  });

test("the measure itself tells a square from a line", () => {
  const square = (input: string) => /x*y/.test(input);
  assert.ok(growthOf(square, 4_000, ["", "x", ""]) > mostGrowth);
  assert.ok(growthOf((input) => input.includes("y"), body, ["", "x", ""]) < mostGrowth);
});

test.run();
