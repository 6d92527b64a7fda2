import { readdir, readFile } from "node:fs/promises";
import { extname } from "node:path";
import { HTTPResponse } from "h3";
import { type Route, route } from "./route.ts";

const folder = new URL("../../web/", import.meta.url);
const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
const headers = {
  // Scripts and styles come from here only; nothing inline, no frames, no plug-ins.
  "content-security-policy":
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-cache",
};

/** The chat page: the few files of web/, read once at the start. */
export async function pageRoutes(): Promise<Route[]> {
  const files = (await readdir(folder)).filter((file) => types[extname(file)]);
  return Promise.all(
    files.map(async (file) => {
      const body = await readFile(new URL(file, folder));
      return route({
        method: "GET",
        path: file === "index.html" ? "/" : `/${file}`,
        access: "open",
        handle: async () =>
          new HTTPResponse(body, { headers: { ...headers, "content-type": types[extname(file)] as string } }),
      });
    }),
  );
}
