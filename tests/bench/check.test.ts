import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import { WebSocketServer } from "ws";
import { Checker, describeIrregularities } from "../../scripts/bench/generator/check.ts";
import { Crowd } from "../../scripts/bench/generator/crowd.ts";
import { Load } from "../../scripts/bench/generator/load.ts";
import type { Verdict } from "../../scripts/bench/generator/orders.ts";
import { wsPlainClient } from "../../scripts/bench/systems/plain.ts";

const exact = { lost: 0, repeated: 0, swapped: 0, stray: 0 };

/** What the checker says when one listener heard these numbers of one sender who sent five. */
function judge(numbers: number[], sent = 5) {
  const checker = new Checker(1, 1);
  for (const number of numbers) checker.hear(0, 0, number);
  return checker.judge(() => sent);
}

test("a whole sequence is exact", () => {
  assert.deepEqual(judge([1, 2, 3, 4, 5]), exact);
  assert.deepEqual(describeIrregularities(judge([1, 2, 3, 4, 5])), []);
});

test("one that was lost is found: at the start, in the middle and at the end", () => {
  for (const numbers of [
    [2, 3, 4, 5],
    [1, 2, 4, 5],
    [1, 2, 3, 4],
  ]) {
    assert.deepEqual(judge(numbers), { ...exact, lost: 1 });
  }
  assert.deepEqual(judge([]), { ...exact, lost: 5 });
  assert.deepEqual(describeIrregularities(judge([1, 2, 4, 5])), ["1 lost"]);
});

test("one that was doubled is found", () => {
  assert.deepEqual(judge([1, 2, 2, 3, 4, 5]), { ...exact, repeated: 1 });
  assert.deepEqual(judge([1, 2, 3, 4, 5, 1]), { ...exact, repeated: 1 });
});

test("one that was swapped is found, and is not taken for lost", () => {
  assert.deepEqual(judge([1, 3, 2, 4, 5]), { ...exact, swapped: 1 });
  assert.deepEqual(judge([1, 3, 2, 2, 4, 5]), { ...exact, swapped: 1, repeated: 1 });
});

test("what nobody sent, or another should hear, is found", () => {
  assert.deepEqual(judge([1, 2, 3, 4, 5, 6]), { ...exact, stray: 1 });
  assert.deepEqual(judge([1], 0), { ...exact, stray: 1 });
});

test("listeners and senders are told apart", () => {
  const checker = new Checker(2, 2);
  for (const [listener, sender] of [
    [0, 0],
    [0, 1],
    [1, 1],
  ] as const) {
    checker.hear(listener, sender, 1);
  }
  assert.deepEqual(
    checker.judge((listener, sender) => (listener === 1 && sender === 0 ? 0 : 1)),
    exact,
  );
  assert.deepEqual(
    checker.judge(() => 1),
    { ...exact, lost: 1 },
  );
});

test("the hash tells one order from another", () => {
  const hear = (messages: [number, number][]) => {
    const checker = new Checker(1, 2);
    for (const [sender, number] of messages) checker.hear(0, sender, number);
    return checker.hashOf(0);
  };
  const order: [number, number][] = [
    [0, 1],
    [1, 1],
    [0, 2],
  ];
  const other: [number, number][] = [
    [1, 1],
    [0, 1],
    [0, 2],
  ];
  assert.equal(hear(order), hear(order));
  assert.notEqual(hear(order), hear(other));
});

/** Ten messages by two people, through a server that gives the other one what `fault` makes of each. */
async function sendThrough(fault: (message: string, count: number) => string[]): Promise<Verdict> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  let count = 0;
  server.on("connection", (socket) => {
    socket.on("message", (data) => {
      count++;
      const { content } = JSON.parse(String(data));
      const message = JSON.stringify({ type: "message", content });
      for (const client of server.clients) {
        for (const each of client === socket ? [message] : fault(message, count)) client.send(each);
      }
      socket.send('{"type":"ack"}');
    });
  });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const person = { id: "someone", token: "" };
  const connection = { port, person, format: "ws", roomId: null, since: null } as const;
  const crowd = new Crowd(wsPlainClient, {
    type: "open",
    system: "",
    connections: [connection, connection],
    hears: [[0], [0]],
    senders: [0, 1].map((index) => ({ person, room: 0, roomId: "", connection: index, heardBy: index })),
    atOnce: 2,
    backlog: 0,
    processes: { server: [], postgres: [] },
    deliveryLimitMs: 200,
  });
  try {
    await crowd.open();
    await new Load(crowd, { inFlight: 1, timed: "answer", restPorts: [] }).fill({
      type: "fill",
      perSender: 5,
      inFlight: 1,
    });
    return await crowd.judge();
  } finally {
    crowd.close();
    server.close();
  }
}

test("a server that passes on everything gets a clean verdict", async () => {
  assert.deepEqual(await sendThrough((message) => [message]), { problems: [], groupsOutOfOrder: 0 });
});

test("a server that loses one message is found out", async () => {
  const verdict = await sendThrough((message, count) => (count === 4 ? [] : [message]));
  assert.deepEqual(verdict.problems, ["1 lost"]);
});

test("a server that doubles one message is found out", async () => {
  const verdict = await sendThrough((message, count) => (count === 4 ? [message, message] : [message]));
  assert.deepEqual(verdict.problems, ["1 repeated"]);
});

test("a server that holds one message back is found out", async () => {
  let held: string[] = [];
  const verdict = await sendThrough((message, count) => {
    if (count === 4) held = [message];
    if (count === 4) return [];
    return count === 8 ? [message, ...held] : [message];
  });
  assert.deepEqual(verdict.problems, ["1 swapped"]);
});

test("an order of its own at one listener is found out, though every sender's order is kept", async () => {
  let held: string[] = [];
  const verdict = await sendThrough((message, count) => {
    if (count === 4) held = [message];
    if (count === 4) return [];
    // The next one of the same sender: a message of the other one lies between.
    return count === 6 ? [...held, message] : [message];
  });
  assert.deepEqual(verdict, { problems: [], groupsOutOfOrder: 1 });
});

test.run();
