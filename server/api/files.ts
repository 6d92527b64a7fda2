import { createHash } from "node:crypto";
import { HTTPResponse } from "h3";
import type { Described, Route } from "./route.ts";

/** Something that is the same for everybody for as long as the server runs. */
export interface ServedFile {
  path: string;
  mediaType: string;
  /** Called when it is first asked for. */
  read(): string | Buffer | Promise<string | Buffer>;
  documentation: Described["documentation"];
  /** What it may do in a browser besides, as a Content-Security-Policy says it. */
  policy?: string;
}

/** Scripts and styles come from here only; nothing inline, no frames, no plug-ins. */
const contentPolicy =
  "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const headers = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  // Kept by browsers, who ask each time whether it is still the same.
  "cache-control": "no-cache",
};

/** Serves a file from memory, to anybody. */
export function fileRoute(file: ServedFile): Route {
  const policy = file.policy === undefined ? contentPolicy : `${contentPolicy}; ${file.policy}`;
  let loading: Promise<{ body: string | Buffer; etag: string }> | undefined;
  return {
    method: "GET",
    path: file.path,
    access: "open",
    rate: null,
    documentation: file.documentation,
    call: async (event) => {
      loading ??= load(file).catch((error) => {
        loading = undefined;
        throw error;
      });
      const { body, etag } = await loading;
      const all = { ...headers, "content-security-policy": policy, etag, "content-type": file.mediaType };
      // A list of them may be asked for, and proxies that compress mark them as weak.
      const isKnown = event.req.headers.get("if-none-match")?.includes(etag);
      return new HTTPResponse(isKnown ? null : body, { status: isKnown ? 304 : 200, headers: all });
    },
  };
}

async function load(file: ServedFile) {
  const body = await file.read();
  return { body, etag: `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"` };
}
