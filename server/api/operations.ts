import { z } from "zod";
import { readLogEnd } from "../../sql/log.ts";
import { Failure } from "../errors.ts";
import { limits } from "../limits.ts";
import { within } from "../within.ts";
import type { Parts } from "./parts.ts";
import { json, type Route, route } from "./route.ts";

export function operationRoutes(parts: Parts): Route[] {
  return [
    route({
      method: "GET",
      path: "/healthz",
      name: "readHealth",
      summary: "Whether the process is alive",
      tag: "Operations",
      access: "open",
      answers: { 200: z.strictObject({ status: z.literal("ok") }) },
      refusals: [],
      handle: async () => json(200, { status: "ok" }),
    }),
    route({
      method: "GET",
      path: "/readyz",
      name: "readReadiness",
      summary: "Whether it reaches Postgres and has caught up with the log",
      tag: "Operations",
      access: "open",
      answers: { 200: z.strictObject({ status: z.literal("ready") }) },
      refusals: ["unavailable"],
      handle: async () => {
        await within(limits.readyMs, readLogEnd(parts.pool, 0));
        if (parts.feed.isCaughtUp()) return json(200, { status: "ready" });
        throw new Failure("unavailable", "The event log's listener is not connected or not caught up", {
          retryAfterSeconds: limits.retryAfterSeconds,
        });
      },
    }),
  ];
}
