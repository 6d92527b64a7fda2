import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { test } from "uvu";
import { connectionName, findUnheard } from "../../server/delivery/unheard.ts";

// That streams are cut off is tried where a network can die: tests/network.

const head =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const rest = "     0        0 1601623 1 000000002f0b0943 100 0 0 10 0\n";

test("connections on which the same was sent again and again are told by the kernel's table", () => {
  const table =
    `${head}   0: 02024D0A:0BB8` +
    ` 02044D0A:D431 01 00000003:00000000 01:00001388 00000007${rest}` +
    `   1: 02024D0A:0BB8 02044D0A:D432 01 00000003:00000000 01:00001388 00000006${rest}` +
    `   2: 02024D0A:0BB8 02044D0A:D433 01 00000000:00000000 02:00001388 00000008${rest}` +
    `   3: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000${rest}`;
  assert.deepEqual([...findUnheard(table, 7)], [connectionName(3000, "10.77.4.2", 54321)]);
});

test("addresses of version 6, and of 4 on a socket for both, are told as Node tells them", () => {
  const local = "00000000000000000000000000000000:0BB8";
  const row = (remote: string) =>
    `   0: ${local} ${remote}:D431 01 00000003:00000000 01:00001388 0000000A${rest}`;
  const found = findUnheard(
    row("0000000000000000FFFF000002044D0A") + row("B80D0120000000000000000001000000"),
    7,
  );
  assert.deepEqual(
    [...found],
    [connectionName(3000, "::ffff:10.77.4.2", 54321), connectionName(3000, "2001:db8::1", 54321)],
  );
});

if (process.platform === "linux") {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address));
  for (const host of ["127.0.0.1", "::1"].filter((own) => addresses.includes(own))) {
    test(`a real connection has the same name in the kernel's table: ${host}`, async () => {
      const server = createServer().listen(0, host);
      await once(server, "listening");
      const address = server.address();
      assert.ok(typeof address === "object" && address);
      const client = connect(address.port, host);
      const [socket] = await once(server, "connection");
      try {
        const file = host === "::1" ? "/proc/net/tcp6" : "/proc/net/tcp";
        // As if each had been sent again already.
        const table = (await readFile(file, "latin1")).replaceAll(
          / \d\d:[0-9A-F]{8} [0-9A-F]{8} /g,
          " 01:00000000 00000009 ",
        );
        const { localPort, remoteAddress, remotePort } = socket;
        assert.ok(findUnheard(table, 7).has(connectionName(localPort, remoteAddress, remotePort)));
      } finally {
        client.destroy();
        socket.destroy();
        server.close();
      }
    });
  }
}

test.run();
