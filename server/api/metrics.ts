import { timingSafeEqual } from "node:crypto";
import { HTTPResponse } from "h3";
import { AggregatorRegistry, collectDefaultMetrics, Registry } from "prom-client";
import { hashSecret } from "../commands/secrets.ts";
import { fail } from "../errors.ts";
import type { Tally } from "../tally.ts";
import type { Parts } from "./parts.ts";
import { type Route, route } from "./route.ts";

/** One process's numbers, as plain data that processes can send each other. */
export type MetricsData = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;

/** How the numbers of several processes become one. */
type Sum = "sum" | "max" | "min";

interface Series {
  labels: Record<string, string | number>;
  value: number;
  metricName?: string;
}

/**
 * Reads this process's numbers. What happens often is counted in plain numbers where it happens, and read
 * only here: the library, which looks labels up for each value, is not on any message's way.
 */
export function createMetrics(parts: Parts): () => Promise<MetricsData> {
  const registry = new Registry();
  const add = (name: string, type: string, help: string, read: () => Series[], aggregator: Sum = "sum") => {
    const described = { name, help, type, aggregator };
    const metric = { ...described, get: async () => ({ ...described, values: read() }) };
    // As AggregatorRegistry does it; a metric's types ask for more than a registry uses.
    registry.registerMetric(metric as never);
  };
  addTraffic(parts, add);
  addState(parts, add);
  return async () => [...(await processMetrics().getMetricsAsJSON()), ...(await registry.getMetricsAsJSON())];
}

/** The text format of Prometheus, for one process or several together. */
export function renderMetrics(processes: readonly MetricsData[]): Promise<string> {
  // What makes no sense as a sum, such as when the process started, is left out of one.
  const isAlone = processes.length === 1;
  const data = processes.map((metrics) =>
    metrics.map((metric) => (isAlone ? { ...metric, aggregator: "first" } : metric)),
  );
  return AggregatorRegistry.aggregate(data).metrics();
}

/** `GET /metrics`, for who shows the token, or for everybody if there is none. */
export function metricsRoutes(token: string | undefined, read: () => Promise<string>): Route[] {
  const expected = token === undefined ? null : hashSecret(`Bearer ${token}`);
  return [
    route({
      method: "GET",
      path: "/metrics",
      name: "readMetrics",
      summary: "Numbers for Prometheus",
      description: "With METRICS_TOKEN set, only for who sends it as a Bearer token.",
      tag: "Operations",
      access: "open",
      rate: "scrape",
      answers: { 200: { mediaTypes: ["text/plain"] } },
      refusals: ["unauthenticated"],
      handle: async ({ event }) => {
        const given = hashSecret(event.req.headers.get("authorization") ?? "");
        if (expected && !timingSafeEqual(given, expected)) fail("unauthenticated", "The token is wrong");
        const headers = { "content-type": Registry.PROMETHEUS_CONTENT_TYPE, "cache-control": "no-store" };
        return new HTTPResponse(await read(), { headers });
      },
    }),
  ];
}

type Add = (name: string, type: string, help: string, read: () => Series[], aggregator?: Sum) => void;

function addTraffic({ requests, sender, hub, rateLimits }: Parts, add: Add): void {
  const duration = "parley_http_request_duration_seconds";
  add(duration, "histogram", "Time until the answer, or until the stream was open, by route.", () =>
    requests.list().flatMap(({ labels, tally }) => histogram(duration, labels, tally)),
  );
  add("parley_sends_total", "counter", "Sends by result; stored: the same client_id had been before.", () =>
    labelled("result", sender.counts.results),
  );
  const batch = "parley_send_batch_messages";
  add(batch, "histogram", "Messages stored together in one transaction.", () =>
    histogram(batch, {}, sender.counts.batches),
  );
  add("parley_events_shown_total", "counter", "Events shown to live streams, once for each stream.", () =>
    one(hub.counts().shown),
  );
  add(
    "parley_streams_ended_total",
    "counter",
    "Streams by how they ended; too_slow is close code 4000.",
    () => labelled("reason", hub.counts().ended),
  );
  add("parley_rate_limited_total", "counter", "Refusals by class of rate limit.", () =>
    labelled("class", Object.entries(rateLimits.refused)),
  );
}

function addState({ feed, hub, pool, sender }: Parts, add: Add): void {
  add("parley_streams_open", "gauge", "Streams that are open now.", () =>
    labelled("format", hub.counts().open),
  );
  add("parley_sends_waiting", "gauge", "Sends that wait for a batch.", () => one(sender.counts.waiting()));
  add("parley_log_position", "gauge", "The newest event seen.", () => one(feed.status().position), "max");
  add(
    "parley_log_behind",
    "gauge",
    "Events short of the log's end, as looked at every two seconds.",
    () => one(feed.status().behind),
    "max",
  );
  add(
    "parley_listener_connected",
    "gauge",
    "1 while the listener is connected, in all processes.",
    () => one(Number(feed.status().listening)),
    "min",
  );
  add(
    "parley_caught_up",
    "gauge",
    "1 while /readyz says so, in all processes.",
    () => one(Number(feed.status().caughtUp)),
    "min",
  );
  add("parley_pool_connections", "gauge", "Connections of the pool by state.", () => {
    const { acquiredConnections, idleConnections, pendingConnections } = pool.state();
    return labelled("state", [
      ["in_use", acquiredConnections],
      ["idle", idleConnections],
      ["opening", pendingConnections],
    ]);
  });
  add("parley_pool_waiting", "gauge", "Statements that wait for a connection of the pool.", () =>
    one(pool.state().waitingClients),
  );
}

function one(value: number): Series[] {
  return [{ labels: {}, value }];
}

function labelled(label: string, values: Iterable<[string, number]>): Series[] {
  return [...values].map(([name, value]) => ({ labels: { [label]: name }, value }));
}

function histogram(name: string, labels: Series["labels"], { bounds, counts, sum }: Tally): Series[] {
  let count = 0;
  const buckets = counts.map((own, index) => {
    count += own;
    return { labels: { ...labels, le: bounds[index] ?? "+Inf" }, value: count, metricName: `${name}_bucket` };
  });
  return [
    ...buckets,
    { labels, value: sum, metricName: `${name}_sum` },
    { labels, value: count, metricName: `${name}_count` },
  ];
}

let processRegistry: Registry | undefined;

/** Memory, CPU, event loop and so on. From the first time it is asked for, as watching these has a price. */
function processMetrics(): Registry {
  if (!processRegistry) {
    processRegistry = new Registry();
    collectDefaultMetrics({ register: processRegistry });
  }
  return processRegistry;
}
