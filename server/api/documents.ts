import { readFile } from "node:fs/promises";
import { createAsyncApi } from "./asyncapi.ts";
import { fileRoute } from "./files.ts";
import { createOpenApi } from "./openapi.ts";
import type { Described, Route } from "./route.ts";
import { streamRoutes } from "./streams.ts";

const page = new URL("../../web/docs/", import.meta.url);

/** The documents that describe the API, made when first asked for, and the page that shows them. */
export function documentRoutes(others: readonly Described[]): Route[] {
  const document = (path: string, name: string, summary: string, make: () => object): Route =>
    fileRoute({
      path,
      mediaType: "application/json; charset=utf-8",
      read: () => JSON.stringify(make()),
      documentation: {
        name,
        summary,
        tag: "Operations",
        answers: { 200: { mediaTypes: ["application/json"] }, 304: null },
        refusals: [],
      },
    });
  const routes: Route[] = [
    document("/openapi.json", "readOpenApi", "This document", () =>
      createOpenApi([...others, ...streamRoutes, ...routes]),
    ),
    document("/asyncapi.json", "readAsyncApi", "The streams, as AsyncAPI 3.0", createAsyncApi),
    ...docsRoutes(),
  ];
  return routes;
}

/** Swagger UI: its scripts and styles come from its package, the page that starts it from web/docs. */
function docsRoutes(): Route[] {
  const script = "text/javascript; charset=utf-8";
  const style = "text/css; charset=utf-8";
  const own = (name: string) => () => readFile(new URL(name, page));
  const bundled = (name: string) => () => readFile(new URL(import.meta.resolve(`swagger-ui-dist/${name}`)));
  return [
    fileRoute({
      path: "/docs",
      mediaType: "text/html; charset=utf-8",
      read: own("index.html"),
      // The icons of Swagger UI's style sheet stand in it, and it makes markup of the document's Markdown.
      policy: { "img-src": "'self' data:", "require-trusted-types-for": null, "trusted-types": null },
      documentation: {
        name: "showDocs",
        summary: "These pages",
        tag: "Operations",
        answers: { 200: { mediaTypes: ["text/html"] }, 304: null },
        refusals: [],
      },
    }),
    ...[
      { path: "/docs/docs.js", mediaType: script, read: own("docs.js") },
      { path: "/docs/docs.css", mediaType: style, read: own("docs.css") },
      { path: "/docs/swagger-ui-bundle.js", mediaType: script, read: bundled("swagger-ui-bundle.js") },
      { path: "/docs/swagger-ui.css", mediaType: style, read: bundled("swagger-ui.css") },
    ].map((file) => fileRoute({ ...file, documentation: null })),
  ];
}
