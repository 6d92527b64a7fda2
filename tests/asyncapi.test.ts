import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Ajv } from "ajv";
import formats from "ajv-formats";
import { test } from "uvu";
import { closings } from "../server/errors.ts";
import { frameSchema, heardSchemas } from "../server/events.ts";
import type { Json } from "./support/client.ts";
import { checkEvent } from "./support/documents.ts";
import { withServer } from "./support/server.ts";

const id = "0198c0de-0000-7000-8000-000000000000";
const at = "2026-03-01T08:30:00.000Z";

test("the document is valid AsyncAPI 3.0, by the specification's own schema", () =>
  withServer(async (t) => {
    const document = await readDocument(t.url);
    const schema = import.meta.resolve("@asyncapi/specs/schemas/3.0.0-without-$id.json");
    const ajv = new Ajv({ strict: false, allErrors: true });
    formats.default(ajv);
    const isValid = ajv.compile(JSON.parse(await readFile(new URL(schema), "utf8")));
    assert.ok(isValid(document), ajv.errorsText(isValid.errors?.slice(0, 10)));
    // That this can fail:
    assert.ok(!isValid({ ...document, chanels: {} }));
  }));

test("every reference leads somewhere, and every schema compiles", () =>
  withServer(async (t) => {
    const document = await readDocument(t.url);
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)];
    assert.ok(references.length > 50);
    for (const [, reference = ""] of references) {
      let place = document;
      for (const key of reference.split("/")) place = place?.[key];
      assert.ok(place, reference);
    }
    const ajv = new Ajv({ strict: false });
    formats.default(ajv);
    ajv.addSchema({ ...document, $id: "document" });
    for (const name of Object.keys(document.components.messages))
      assert.ok(ajv.getSchema(`document#/components/messages/${name}/payload`), name);
  }));

test("the four addresses are there, each with what goes over it", () =>
  withServer(async (t) => {
    const { channels, operations } = await readDocument(t.url);
    const addresses = Object.values<Json>(channels).map(({ address }) => address);
    assert.deepEqual(addresses.sort(), [
      "/api/v1/discussions/{id}/events",
      "/api/v1/discussions/{id}/ws",
      "/api/v1/events",
      "/api/v1/ws",
    ]);
    for (const { address, messages, description } of Object.values<Json>(channels)) {
      const isSocket = address.endsWith("/ws");
      assert.ok("message.new" in messages && "ready" in messages, address);
      assert.equal("closed" in messages, !isSocket, address);
      for (const name of ["ack", "error", "pong"]) assert.equal(name in messages, isSocket, address);
      for (const { shape } of frameSchema.options)
        assert.equal(`frame.${shape.type.value}` in messages, isSocket, address);
      if (isSocket)
        for (const code of Object.values(closings)) assert.ok(description.includes(`| ${code} |`), `${code}`);
    }
    const actions = Object.values<Json>(operations).map(({ action }) => action);
    assert.deepEqual(actions.sort(), ["receive", "receive", "send", "send", "send", "send"]);
  }));

// The check that every test makes with each event that it hears.
test("an event of which the document does not tell fails the test that heard it", () => {
  const event = { type: "member.removed", cursor: "k3v9x2.7", discussion_id: id, at, user_id: id };
  checkEvent(event);
  checkEvent({ type: "discussion.deleted", cursor: "k3v9x2.7", discussion_id: id, at });
  checkEvent({ type: "closed", code: 4502, reason: "session_revoked" });
  checkEvent({ type: "error", ref: "1", code: "not_a_member", detail: "Not a member" });
  const { user_id: _, ...withoutUser } = event;
  const wrong: [Json, RegExp][] = [
    [withoutUser, /user_id/],
    [{ ...event, more: 1 }, /additional properties/],
    [{ ...event, at: "now" }, /at/],
    [{ ...event, cursor: "7" }, /cursor/],
    [{ ...event, type: "member.lost" }, /there is no/],
    [{ type: "closed", code: 4999, reason: "session_revoked" }, /code/],
    [{ type: "error", code: "unheard_of", detail: "" }, /code/],
  ];
  for (const [json, reason] of wrong) assert.throws(() => checkEvent(json), reason, JSON.stringify(json));
});

test("the page for people has every event, frame and close code, and no other", async () => {
  const text = await readFile(new URL("../docs/streams.md", import.meta.url), "utf8");
  const inTable = (heading: string) => {
    const [, section = ""] = text.split(`\n## ${heading}\n`);
    const rows = (section.split("\n## ")[0] ?? "").matchAll(/^\| ([^|]+) \|/gm);
    return [...rows].flatMap(([, cell = ""]) => cell.split(", ")).filter((word) => /^(`.*`|\d+)$/.test(word));
  };
  const types = (names: readonly string[]) => names.map((name) => `\`${name}\``).sort();
  const answers = ["ack", "error", "pong"];
  const ofStream = ["ready", "reset", "closed"];
  const events = Object.keys(heardSchemas).filter((type) => ![...answers, ...ofStream].includes(type));
  assert.deepEqual(inTable("What comes").sort(), types(events));
  for (const type of [...answers, ...ofStream]) assert.ok(text.includes(`\`${type}\``), type);
  const frames = frameSchema.options.map(({ shape }) => shape.type.value);
  assert.deepEqual(inTable("What one may say on a socket").sort(), types(frames));
  const codes = inTable("When it ends").map(Number);
  for (const code of Object.values(closings)) assert.ok(codes.includes(code), `${code}`);
});

async function readDocument(url: string): Promise<Record<string, Json>> {
  return (await (await fetch(`${url}/asyncapi.json`)).json()) as Record<string, Json>;
}

test.run();
