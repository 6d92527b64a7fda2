// time limit: 120 s
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import { Client } from "../support/client.ts";
import { withProgram } from "../support/process.ts";
import { eventually } from "../support/server.ts";
import { hasBrowser, withBrowser } from "./browser.ts";

// What README.md has newcomers copy does what it says.

const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");

/** The blocks of code below a heading, for the server at a URL. */
function blocksBelow(heading: string, language: string, url: string): string[] {
  const [section = ""] = (readme.split(`\n## ${heading}\n`)[1] ?? "").split("\n## ");
  const { host } = new URL(url);
  return [...section.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, "gm"))].map(
    ([, code = ""]) => code.replaceAll("localhost:3000", host),
  );
}

/** Runs lines in a shell until what they print is enough, and ends all that they have begun. */
async function type(lines: readonly string[], isEnough: (output: string) => boolean): Promise<string> {
  const shell = spawn("bash", ["-c", lines.join("\n")], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const closed = once(shell, "close");
  let output = "";
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  try {
    await eventually(() => assert.ok(isEnough(output), output), 20_000);
    return output;
  } finally {
    // With all that it has started.
    if (shell.pid !== undefined) process.kill(-shell.pid, "SIGKILL");
    await closed;
  }
}

const countOf = (text: string, part: string) => text.split(part).length - 1;

test("the first message, by curl, comes as README says: once, and again to who comes back", () =>
  withProgram({}, async ({ url }) => {
    const [people = "", message = "", comeBack = ""] = blocksBelow("A first message, by curl", "sh", url);
    const again = "echo; say 'Hello, Omar' 1; echo; say 'Still there?' 2";
    const secrets = 'echo; echo "OMAR=$OMAR API=$API"';
    const shown = await type(
      [people, message, again, secrets],
      (output) => countOf(output, "event: message.new") === 2 && /^OMAR=.* API=.*$/m.test(output),
    );
    assert.match(shown, /event: discussion.created\n/);
    assert.equal(countOf(shown, "event: message.new"), 2, "a retry is no second message");
    const [, id = ""] = /id: (\S+)\ndata: .*Hello, Omar/.exec(shown) ?? [];
    const [variables = ""] = /OMAR=.*$/m.exec(shown) ?? [];
    const back = await type([variables, comeBack.replace("PUT-THE-ID-HERE", id)], (output) =>
      output.includes("event: ready"),
    );
    assert.equal(countOf(back, "event: message.new"), 1);
    assert.match(back, /Still there\?/);
  }));

(hasBrowser ? test : test.skip)(
  "what README has for a page of another origin works in a browser",
  async () => {
    const elsewhere = createServer((_request, response) => {
      response.setHeader("content-type", "text/html").end("<!doctype html><title>elsewhere</title>");
    });
    await once(elsewhere.listen(0), "listening");
    const origin = `http://localhost:${(elsewhere.address() as AddressInfo).port}`;
    try {
      await withProgram({ ALLOWED_ORIGINS: origin }, async ({ url }) => {
        const nina = new Client(url);
        const { access_token } = await nina.ok("POST", "/auth/register", {
          username: "nina",
          password: "correct horse",
        });
        nina.token = access_token;
        await nina.ok("POST", "/discussions", { kind: "group", name: "alone", member_ids: [] });
        const [content = ""] = blocksBelow("From a browser", "js", url);
        await withBrowser(async (browser) => {
          const page = await browser.newPage();
          const said: string[] = [];
          page.on("console", (message) => said.push(message.text()));
          page.on("pageerror", (error) => said.push(String(error)));
          await page.goto(origin);
          await page.addScriptTag({ content, type: "module" });
          await eventually(() => assert.deepEqual(said, ["Hi"]), 20_000);
        });
      });
    } finally {
      elsewhere.closeAllConnections();
      elsewhere.close();
    }
  },
);

test.run();
