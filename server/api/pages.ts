import { readdir, readFile } from "node:fs/promises";
import { extname } from "node:path";
import { fileRoute } from "./files.ts";
import type { Route } from "./route.ts";

const folder = new URL("../../web/", import.meta.url);
const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** The chat page: the few files of web/. */
export async function pageRoutes(): Promise<Route[]> {
  const routes: Route[] = [];
  for (const file of await readdir(folder)) {
    const mediaType = types[extname(file)];
    if (mediaType === undefined) continue;
    const path = file === "index.html" ? "/" : `/${file}`;
    routes.push(
      fileRoute({ path, mediaType, read: () => readFile(new URL(file, folder)), documentation: null }),
    );
  }
  return routes;
}
