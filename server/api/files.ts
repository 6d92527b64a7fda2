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
  /** Where its Content-Security-Policy is another one than that of the others. */
  policy?: Partial<Record<Directive, string | null>>;
}

/**
 * All that a page loads comes from here, nothing stands in line, and it is framed by nobody. Where browsers
 * know trusted types, it cannot even make markup of text. That no attachment is a script: serving.ts.
 */
const contentPolicy = {
  "default-src": "'none'",
  "script-src": "'self'",
  "style-src": "'self'",
  "img-src": "'self'",
  "connect-src": "'self'",
  "base-uri": "'none'",
  "form-action": "'self'",
  "frame-ancestors": "'none'",
  "object-src": "'none'",
  "require-trusted-types-for": "'script'",
  "trusted-types": "'none'",
};
type Directive = keyof typeof contentPolicy;

const headers = {
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
  // Kept by browsers, who ask each time whether it is still the same.
  "cache-control": "no-cache",
};

/** Serves a file from memory, to anybody. */
export function fileRoute(file: ServedFile): Route {
  const directives = Object.entries({ ...contentPolicy, ...file.policy }).filter(
    ([, value]) => value !== null,
  );
  const policy = directives.map(([name, value]) => `${name} ${value}`).join("; ");
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
