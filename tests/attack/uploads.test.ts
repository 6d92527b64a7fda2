// time limit: 120 s
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import { detect } from "../../server/commands/media-types.ts";
import { withBucket } from "../support/bucket.ts";
import { assertProblem, type Client, type Json, register } from "../support/client.ts";
import { type Download, download, picture, rawForm, sendBody, upload } from "../support/files.ts";
import { createRandom } from "../support/random.ts";
import { type TestServer, withServer } from "../support/server.ts";
import { deflatedZeros, nestedZip, pngChunk, withChunks, withSegment, zip } from "./files.ts";

const env = { RATE_LIMITS: "off" };
const script = "<script>alert(document.domain)</script>";
const page = `<!doctype html><html><body onload=alert(1)>${script}</body></html>`;

type Act = (t: TestServer, keys: () => Promise<string[]>) => Promise<void>;

async function withFolder(act: Act): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "parley-test-folder-"));
  const keys = async () => {
    const files = await readdir(folder, { recursive: true, withFileTypes: true });
    return files.filter((file) => file.isFile()).map(({ name }) => name);
  };
  try {
    await withServer((t) => act(t, keys), { ...env, ATTACHMENTS_URL: pathToFileURL(folder).href });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A server with each of the storages; `keys` are the names under which bytes were stored. */
const storages: [string, (act: Act) => Promise<void>][] = [
  ["the database", (act) => withServer((t) => act(t, async () => []), env)],
  ["a folder", withFolder],
  [
    "a bucket",
    (act) =>
      withBucket(({ url, objects }) =>
        withServer((t) => act(t, async () => [...objects.keys()]), { ...env, ATTACHMENTS_URL: url }),
      ),
  ],
];

/** Types that no browser runs, shows as a page, or hands to a plug-in, in place or as a script. */
const harmless = new RegExp(
  [
    "^(text/plain; charset=utf-8|image/(png|apng|jpeg|gif|webp|avif)|(audio|video)/[\\w.-]+|",
    "application/(?!x?html|javascript|ecmascript)[\\w.+-]+)$",
  ].join(""),
);

const policy = "default-src 'none'; frame-ancestors 'none'; sandbox";

/** What must hold of whatever somebody uploaded. */
function assertHarmless({ status, headers, bytes }: Download, original: Buffer, name: string): void {
  assert.equal(status, 200, name);
  assert.ok(bytes.equals(original), `${name}: stored as it came`);
  const type = headers.get("content-type") ?? "";
  assert.match(type, harmless, name);
  assert.equal(headers.get("x-content-type-options"), "nosniff", name);
  assert.equal(headers.get("content-security-policy"), policy, name);
  assert.equal(headers.get("cross-origin-resource-policy"), "same-site", name);
  assert.equal(headers.get("content-encoding"), null, `${name}: nobody unpacks it on the way`);
  const inPlace = /^(image|audio|video)\//.test(type);
  if (!inPlace) assert.match(headers.get("content-disposition") ?? "", /^attachment; filename/, name);
}

/** Files that are two things at once. */
async function polyglots(): Promise<Record<string, Buffer>> {
  const [png, jpeg, gif] = [await picture("png"), await picture("jpeg"), await picture("gif")];
  const archive = zip([{ name: "Main.class", data: Buffer.from("cafebabe", "hex") }]);
  const comment = Buffer.concat([
    Buffer.from("!\xfe", "latin1"),
    Buffer.from([script.length]),
    Buffer.from(script),
  ]);
  return {
    "GIF and JavaScript": Buffer.from("GIF89a/*\0\0\0\0\0\0*/=1;alert(document.domain)//;", "latin1"),
    "GIF with a page in its comment": Buffer.concat([gif.subarray(0, -1), comment, Buffer.from("\0;")]),
    GIFAR: Buffer.concat([gif, archive]),
    "PNG with a page in its text": withChunks(png, pngChunk("tEXt", Buffer.from(`Comment\0${page}`))),
    "PNG and page": Buffer.concat([png, Buffer.from(page)]),
    "JPEG and JavaScript": withSegment(jpeg, 0, Buffer.from(`*/=alert(1)/*${script}`)),
    "JPEG and PHP": withSegment(jpeg, 13, Buffer.from("<?php system($_GET[0]);?>")),
    "JPEG and ZIP": Buffer.concat([jpeg, archive]),
    "SVG with a script": Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg">${script}</svg>`),
    "SVG in UTF-16": Buffer.from(`\ufeff<svg xmlns="http://www.w3.org/2000/svg">${script}</svg>`, "utf16le"),
    XHTML: Buffer.from(`<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">${script}</html>`),
    "XML with a style": Buffer.from('<?xml version="1.0"?><?xml-stylesheet href="javascript:alert(1)"?><a/>'),
    page: Buffer.from(page),
    "page in UTF-7": Buffer.from("+ADw-script+AD4-alert(1)+ADw-/script+AD4-"),
    "page behind a mark": Buffer.from(`\ufeff\n\n   ${page}`),
    "PDF and JavaScript": Buffer.from(`%PDF-1.7\n%/*\n<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>\n*/`),
    "PDF behind junk": Buffer.from(`${"x".repeat(500)}%PDF-1.7\n`),
    MHTML: Buffer.from(`MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n${page}`),
    Flash: Buffer.concat([Buffer.from("CWS\x09", "latin1"), Buffer.alloc(100)]),
    "a shell script": Buffer.from("#!/bin/sh\nrm -rf ~\n"),
    WebAssembly: Buffer.from("\0asm\x01\0\0\0", "latin1"),
    "an event stream": Buffer.from("event: message.new\ndata: {}\n\n"),
    "a service worker": Buffer.from("self.onfetch = (e) => e.respondWith(new Response('ha'))"),
    "an application": zip([
      { name: "META-INF/MANIFEST.MF", data: Buffer.from("Main-Class: A") },
      { name: "A.class", data: Buffer.from("cafebabe", "hex") },
    ]),
    "Matroska of nothing": Buffer.from(
      "1a45dfa3a34286810142f7810142f2810442f381084282847765626d42878104428581021853",
      "hex",
    ),
    "Ogg of nothing": Buffer.concat([Buffer.from("OggS\0\x02"), Buffer.alloc(60)]),
    "MP3 and page": Buffer.concat([Buffer.from("ID3\x04\0\0\0\0\x0f\x7f", "latin1"), Buffer.from(page)]),
  };
}

for (const [storage, withStorage] of storages) {
  test(`in ${storage}: a file that is two things is served as bytes that nothing runs`, () =>
    withStorage(async (t) => {
      const ann = await register(t.url, "ann");
      const lies = ["text/html", "image/svg+xml", "application/javascript", "image/png", 'text/html"; x="'];
      for (const [index, [name, bytes]] of Object.entries(await polyglots()).entries()) {
        const type = lies[index % lies.length] ?? "";
        const file = await upload(ann, bytes, "page.html", type);
        assert.doesNotMatch(file.media_type, /html|svg|javascript/, name);
        assertHarmless(await download(ann, file.url), bytes, name);
        const part = await download(ann, file.url, { range: "bytes=1-3" });
        assert.equal(part.headers.get("content-security-policy"), policy, name);
        const avatar = await sendBody(ann, "PUT", "/users/me/avatar", bytes, { "content-type": "image/png" });
        assert.ok([204, 400, 415].includes(avatar.status), `${name} ${avatar.status}`);
        const shown = await download(ann, ann.user.avatar_url);
        assert.match(shown.headers.get("content-type") ?? "", /^image\/(webp|svg\+xml)$/);
        assert.ok(
          !shown.bytes.includes("alert") && !shown.bytes.includes("Main.class"),
          `${name}: only pixels`,
        );
      }
    }));

  test(`in ${storage}: an archive is bytes, however much it says that it unpacks to`, () =>
    withStorage(async (t) => {
      const ann = await register(t.url, "ann");
      for (const [name, bytes] of Object.entries(await archives())) {
        const file = await upload(ann, bytes, "letter.docx");
        assert.equal(file.size, bytes.length, name);
        assertHarmless(await download(ann, file.url), bytes, name);
      }
    }));

  test(`in ${storage}: a name is a name, and names no place`, () =>
    withStorage(async (t, keys) => {
      const ann = await register(t.url, "ann");
      const ids: string[] = [];
      for (const [header, expected] of names) {
        const file = await uploadNamed(ann, header, expected);
        if (file) ids.push(file.id);
      }
      const stored = await keys();
      assert.deepEqual(
        stored.filter((key) => !ids.includes(key)),
        [],
      );
    }));

  test(`in ${storage}: what others may not see they cannot have by any way of asking`, () =>
    withStorage(async (t) => {
      const [ann, bob, eve] = await Promise.all(["ann", "bob", "eve"].map((name) => register(t.url, name)));
      const people = [ann, bob, eve] as [Client, Client, Client];
      await assertUnseen(people, await picture("png"));
    }));
}

/** Asks for an attachment in every way; nothing of the answers may tell that there is one. */
async function assertUnseen([ann, bob, eve]: [Client, Client, Client], bytes: Buffer): Promise<void> {
  const group = await ann.ok("POST", "/discussions", { kind: "group", member_ids: [bob.user.id] });
  const own = await eve.ok("POST", "/discussions", { kind: "direct", user_id: eve.user.id });
  const file = await upload(ann, bytes, "secret.png");
  const etag = (await download(ann, file.url)).headers.get("etag") ?? "";
  const unknown = file.url.replace(/[^/]*$/, "0198c0de-0000-7000-8000-000000000000");
  const assertBlind = async (client: Client) => {
    const ways: [string, Record<string, string>][] = [
      ["", {}],
      ["", { range: "bytes=0-9" }],
      ["", { range: "bytes=99999999-" }],
      ["", { "if-none-match": etag }],
      ["", { "if-none-match": "*" }],
      ["", { range: "bytes=0-9", "if-range": etag }],
      ["?thumbnail=1", {}],
    ];
    for (const [query, headers] of ways) {
      for (const method of ["GET", "HEAD"]) {
        const [there, nowhere] = [
          await download(client, file.url + query, headers, method),
          await download(client, unknown + query, headers, method),
        ];
        const told = ({ status, headers: got }: Download) => [
          status,
          ...["content-type", "etag", "content-range", "content-disposition"].map((name) => got.get(name)),
        ];
        assert.equal(there.status, 404, `${method} ${query} ${JSON.stringify(headers)}`);
        assert.deepEqual(told(there), told(nowhere));
      }
    }
    const taken = { content: "mine", attachment_ids: [file.id] };
    assert.equal((await client.call("POST", `/discussions/${own.id}/messages`, taken)).status, 404);
  };
  await assertBlind(bob);
  await assertBlind(eve);
  await ann.send(group.id, "for us", { attachment_ids: [file.id] });
  assert.equal((await download(bob, file.url)).status, 200);
  await assertBlind(eve);
  await ann.ok("DELETE", `/discussions/${group.id}/members/${bob.user.id}`);
  await assertBlind(bob);
}

/** Archives of kinds that are told apart by looking into them. */
async function makeArchives(): Promise<Record<string, Buffer>> {
  const gigabyte = 1024 ** 3;
  const bomb = await deflatedZeros(gigabyte, true);
  const small = await deflatedZeros(3 * 1024 * 1024, true);
  const unpackedSize = 0xffffffff;
  const many = Array.from({ length: 5_000 }, (_, n) => ({ name: `${n}`, data: Buffer.alloc(0) }));
  return {
    "a ZIP of a gigabyte": zip([{ name: "zeros", data: bomb, unpackedSize: gigabyte }]),
    "a document that begins with a bomb": zip([{ name: "[Content_Types].xml", data: small, unpackedSize }]),
    "a document with one inside": zip([{ name: "[Content_Types].xml", data: bomb, unpackedSize }]),
    "a book": zip([{ name: "mimetype", data: small, unpackedSize }]),
    "a book whose type is as long as it likes": zip([
      { name: "mimetype", data: Buffer.alloc(2e6, "text/html") },
    ]),
    "ZIPs in ZIPs": nestedZip(500),
    "5,000 files": zip(many),
    "an archive of paths": zip(
      ["../../etc/passwd", "/etc/shadow", "C:\\boot.ini", "a\0b"].map((name) => ({ name, data: small })),
    ),
    "gzip of gzip": Buffer.concat([Buffer.from("1f8b0800000000000003", "hex"), small]),
    "only the end of a ZIP": zip([]),
  };
}

/** Made once: a gigabyte takes a while. */
let made: ReturnType<typeof makeArchives> | undefined;
function archives(): ReturnType<typeof makeArchives> {
  made ??= makeArchives();
  return made;
}

/** What a part's header tells, and the name that is made of it; null: it is refused. */
const names: [header: string, expected: string | null][] = [
  ['filename="../../../etc/passwd"', "passwd"],
  ['filename="..\\..\\windows\\win.ini"', "win.ini"],
  ['filename="C:\\autoexec.bat"', "autoexec.bat"],
  ['filename="/"', "file"],
  ['filename="."', "file"],
  ['filename=".."', "file"],
  ['filename="..."', "..."],
  ['filename="    "', "file"],
  ['filename=""', "file"],
  ['filename=".htaccess"', ".htaccess"],
  ['filename="CON"', "CON"],
  ['filename="nul.txt"', "nul.txt"],
  ['filename="a\0b.txt"', "ab.txt"],
  ['filename="%00%0d%0aSet-Cookie: x=1"', "%00%0d%0aSet-Cookie: x=1"],
  ['filename="a%2f..%2f..%2fb"', "a%2f..%2f..%2fb"],
  ['filename="it\'s; filename=x.html"', "it's; filename=x.html"],
  ['filename="\u202egpj.exe"', "gpj.exe"],
  ['filename="a\u2028b\u2029c"', "abc"],
  [`filename="${"x".repeat(300)}.jpeg"`, `${"x".repeat(250)}.jpeg`],
  [`filename="${"é".repeat(300)}"`, "é".repeat(255)],
  ['filename="cafe\u0301.txt"', "cafe\u0301.txt"],
  ["filename*=UTF-8''%2e%2e%2f%2e%2e%2fpasswd", "passwd"],
  ["filename*=UTF-8''%E2%82%AC%20rates.html", "€ rates.html"],
  ["filename*=UTF-8''a%00b", "ab"],
  ["filename*=UTF-8''a%0d%0aSet-Cookie: x=1", null],
  ['filename="a\nb"', null],
  ['filename="a.png"; filename="b.html"', "a.png"],
];

async function uploadNamed(
  client: Client,
  header: string,
  expected: string | null,
): Promise<Json | undefined> {
  const form = rawForm([[`Content-Disposition: form-data; name="file"; ${header}`, "x"]]);
  const answer = await sendBody(client, "POST", "/attachments", form.body, { "content-type": form.type });
  if (expected === null) return void assertProblem(answer, 400, "invalid_request");
  assert.equal(answer.status, 201, `${header}: ${JSON.stringify(answer.body)}`);
  assert.equal(answer.body.name, expected, header);
  const { headers } = await download(client, answer.body.url);
  const disposition = headers.get("content-disposition") ?? "";
  assert.match(disposition, /^attachment; filename\*?=[^\r\n\0]*$/, header);
  assert.equal(headers.get("set-cookie"), null);
  return answer.body;
}

test("whatever the first bytes are, it is known what kind they are of, or that nobody knows", async () => {
  const random = createRandom();
  const starts = [...Object.values(await polyglots()), ...Object.values(await archives())];
  const more = [
    "1f8b08",
    "49492a00",
    "4d4d002a",
    "3026b2758e66cf11",
    "1a45dfa3",
    "494433",
    "664c6143",
    "fd377a585a00",
  ];
  starts.push(...more.map((hex) => Buffer.from(hex, "hex")));
  for (let round = 0; round < 3_000; round++) {
    const start = starts[Math.floor(random.between(0, starts.length))] ?? Buffer.alloc(0);
    const head = Buffer.alloc(4_100);
    for (let at = 0; at < head.length; at += 4)
      head.writeUInt32LE(Math.floor(random.between(0, 2 ** 32)), at);
    start.copy(head, 0, 0, random.between(4, 400));
    const type = await detect(head);
    assert.ok(type === undefined || /^[\w.+-]+\/[\w.+-]+(; ?[\w=.-]+)?$/.test(type), type);
  }
});

test.run();
