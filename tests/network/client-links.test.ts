// time limit: 600 s
import { test } from "uvu";
import { networkTest, suffer } from "./run.ts";

/** Clients take a silent connection for dead after 45 s, and come back elsewhere. */
const recoveryMs = 75_000;

// The first for longer than sockets and clients take to notice.
networkTest("links to clients are cut, and nothing is lost, repeated or told in another order", () =>
  suffer(recoveryMs, [
    { first: "clients", second: "one", how: "silent", seconds: 55 },
    { first: "clients", second: "two", how: "back", seconds: 15 },
    { first: "clients", second: "one", how: "there", seconds: 15 },
    { first: "clients", second: "two", how: "unreachable", seconds: 6 },
    { first: "clients", second: "one", how: "unplugged", seconds: 8 },
    { first: "clients", second: "two", how: "slow", seconds: 8 },
  ]),
);

test.run();
