import assert from "node:assert/strict";
import { test } from "uvu";
import { limits } from "../../server/limits.ts";
import { assertProblem, register } from "../support/client.ts";
import { picture, tryUpload, upload } from "../support/files.ts";
import { query } from "../support/postgres.ts";
import { eventually, withServer } from "../support/server.ts";

test("pictures that wait to be looked at take no places of uploads, and are bounded for each user", () =>
  withServer(
    async (t) => {
      const ann = await register(t.url, "ann");
      // Half a second each, and small.
      const slow = await picture("png", { width: 7_000, height: 7_000 });
      const refusals = new Set<string>();
      const push = async () => {
        const answer = await tryUpload(ann, slow);
        if (answer.status === 201) return;
        assertProblem(answer, 429, "rate_limited");
        refusals.add(answer.body.detail);
      };
      const waiting = async () => {
        const [row] = await query(t.databaseUrl, "SELECT count(*)::int AS count FROM attachment_removals");
        return row.count;
      };
      const pushed: Promise<void>[] = [];
      // Eight uploads at once are a user's places: the ninth waits, stored, without one.
      await eventually(async () => {
        if (pushed.length < 60) pushed.push(push(), push());
        assert.ok((await waiting()) > 10);
      });
      await eventually(() => upload(ann, "and no picture"));
      await eventually(() => {
        if (pushed.length < 60) pushed.push(push(), push());
        assert.ok(refusals.has(`At most ${limits.imagesPerUser} at once`), [...refusals].join());
      });
      await Promise.all(pushed);
      assert.equal(await waiting(), 0, "of what was refused nothing is left");
    },
    { RATE_LIMITS: "off" },
  ));

test.run();
