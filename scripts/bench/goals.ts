import { formatNumber } from "./report.ts";

/** The median of a metric of a variant; NaN if it was not measured. */
export type Figures = (variant: string, metric: string) => number;

export interface Goal {
  /** The id of its scenario. */
  scenario: string;
  text: string;
  /** What was reached, and whether it is enough; null: not measured. */
  judge(figures: Figures): { figure: string; reached: boolean | null };
}

/** The aims of this project, on two cores with everything on one machine. */
export const goals: Goal[] = [
  atLeast("fan-out", "WebSocket: ≥ 5 × socket.io + Postgres in deliveries/s", 5, (of) =>
    ratio(of, "deliveries_per_second", "parley", "socketio"),
  ),
  atLeast("fan-out", "WebSocket: ≥ 60 % of ws with one write per tick", 0.6, (of) =>
    ratio(of, "deliveries_per_second", "parley", "ws-tick"),
  ),
  atMost("fan-out", "server CPU per delivery ≤ 1/5 of socket.io's", 0.2, (of) =>
    ratio(of, "server_us_per_delivery", "parley", "socketio"),
  ),
  atLeast("fan-out", "SSE: ≥ 80 % of our own WebSocket figure", 0.8, (of) =>
    ratio(of, "deliveries_per_second", "parley-sse", "parley"),
  ),
  atLeast("rooms", "sent by socket: ≥ 4 × socket.io + Postgres", 4, (of) =>
    ratio(of, "messages_per_second", "parley", "socketio"),
  ),
  atLeast("rooms", "sent by REST: ≥ 3 × socket.io + Postgres", 3, (of) =>
    ratio(of, "messages_per_second", "parley-rest", "socketio"),
  ),
  atLeast("rooms", "≥ 50 % of multi-row INSERT with equal batches", 0.5, (of) =>
    ratio(of, "messages_per_second", "parley", "insert"),
  ),
  atLeast("snapshot", "≥ 75 % of the figure without", 0.75, (of) =>
    quotient(of("beside", "messages_per_second"), of("without", "messages_per_second")),
  ),
  atLeast("snapshot", "not falling: the last quarter ≥ 90 % of the first", 0.9, (of) =>
    quotient(of("beside", "last_quarter"), of("beside", "first_quarter")),
  ),
  atLeast("slow-disk", "≥ 5 × ws + NOTIFY", 5, (of) =>
    ratio(of, "slow_messages_per_second", "parley", "ws-notify"),
  ),
  atMost("ping", "p50 ≤ 1.3 × ws + NOTIFY", 1.3, (of) => ratio(of, "p50_ms", "parley", "ws-notify")),
  atMost("ping", "p99 ≤ socket.io's", 1, (of) => ratio(of, "p99_ms", "parley", "socketio")),
  atMost("idle", "WebSocket: ≤ 1.5 × ws", 1.5, (of) =>
    ratio(of, "kilobytes_per_connection", "parley-ws", "ws-tick-ws"),
  ),
  atMost("idle", "SSE: ≤ 1.2 × a node:http response", 1.2, (of) =>
    ratio(of, "kilobytes_per_connection", "parley-sse", "http-plain-sse"),
  ),
  atMost("storm", "p99 under 5 s; all caught up", 5, (of) => of("parley", "p99_ms") / 1_000, "s"),
  atMost("storm", "≤ 50 reads of the log", 50, (of) => of("parley", "log_queries"), ""),
  atMost("history", "p99 at the end ≤ 1.5 × at the start", 1.5, (of) =>
    quotient(of("parley", "end_p99_ms"), of("parley", "start_p99_ms")),
  ),
  atMost("search", "p99 of each question under 100 ms", 100, (of) => of("parley", "slowest_p99_ms"), "ms"),
  atLeast("instances", "4 processes store no less than one; one order", 1, (of) =>
    ratio(of, "messages_per_second", "parley-4", "parley-1"),
  ),
  atMost("soak", "memory of Node: last third ≤ 1.1 × second third", 1.1, (of) =>
    quotient(of("parley", "node_megabytes_last"), of("parley", "node_megabytes")),
  ),
  atMost("soak", "memory of Postgres: last third ≤ 1.1 × second third", 1.1, (of) =>
    quotient(of("parley", "postgres_megabytes_last"), of("parley", "postgres_megabytes")),
  ),
  atMost("soak", "bytes on disk per message: last third ≤ 1.1 × second third", 1.1, (of) =>
    quotient(of("parley", "message_bytes_last"), of("parley", "message_bytes")),
  ),
];

function ratio(of: Figures, metric: string, variant: string, other: string): number {
  return quotient(of(variant, metric), of(other, metric));
}

function quotient(value: number, other: number): number {
  return value / other;
}

type Value = (of: Figures) => number;

function atLeast(scenario: string, text: string, bound: number, value: Value, unit = "×"): Goal {
  return { scenario, text, judge: (of) => judged(value(of), unit, (figure) => figure >= bound) };
}

function atMost(scenario: string, text: string, bound: number, value: Value, unit = "×"): Goal {
  return { scenario, text, judge: (of) => judged(value(of), unit, (figure) => figure <= bound) };
}

function judged(value: number, unit: string, isReached: (value: number) => boolean) {
  if (!Number.isFinite(value)) return { figure: "–", reached: null };
  return { figure: `${formatNumber(value, unit === "" ? 0 : 2)} ${unit}`.trim(), reached: isReached(value) };
}
