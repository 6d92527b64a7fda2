// time limit: 600 s
import { test } from "uvu";
import { networkTest, suffer } from "./run.ts";

/** The watchdog's two looks, the wait for answers and for a new connection, and as much again. */
const recoveryMs = 50_000;

// For longer than a server waits for an answer.
networkTest("links to Postgres are cut, and nothing is lost, repeated or told in another order", () =>
  suffer(recoveryMs, [
    { first: "one", second: "postgres", how: "silent", seconds: 15 },
    { first: "two", second: "postgres", how: "back", seconds: 15 },
    { first: "one", second: "postgres", how: "there", seconds: 15 },
    { first: "two", second: "postgres", how: "unreachable", seconds: 6 },
    { first: "one", second: "postgres", how: "unplugged", seconds: 8 },
    { first: "two", second: "postgres", how: "slow", seconds: 8 },
  ]),
);

test.run();
