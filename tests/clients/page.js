/**
 * One person in a page of a real browser, on top of client.js. Steered from the test by `person.…`,
 * which takes and gives JSON only.
 */
(() => {
  const { createLedger, countOf, readEvents, readSocket, writeBySocket, writeByRest } =
    globalThis.streamClients;
  const ledgers = [];
  const readers = [];
  const writers = [];
  let token = null;

  function headers() {
    return token ? { authorization: `Bearer ${token}` } : {};
  }

  async function call(method, path, body) {
    const response = await fetch(`/api/v1${path}`, {
      method,
      headers: { ...headers(), ...(body && { "content-type": "application/json" }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const answer = text === "" ? null : JSON.parse(text);
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return answer;
  }

  /** The address of a stream: with a cookie it is enough by itself, else it takes a ticket each time. */
  async function address(path, since) {
    const query = new URLSearchParams({ since });
    if (token) query.set("ticket", (await call("POST", "/auth/tickets")).ticket);
    return `${location.origin}/api/v1${path}?${query}`;
  }

  globalThis.person = {
    call,
    /** With a cookie, this page keeps no secret; without, the access token in memory buys tickets. */
    logIn: async (username, password, cookie) => {
      const { access_token } = await call("POST", "/auth/login", {
        username,
        password,
        ...(cookie && { cookie }),
      });
      if (!cookie) token = access_token;
    },
    readEvents: (name, path, since) => {
      const ledger = createLedger(name);
      ledgers.push(ledger);
      const open = async (cursor) => new EventSource(await address(path, cursor));
      readers.push(readEvents(ledger, { open, since, renew: token !== null }));
    },
    /** With `writing`, sends on the same socket. */
    readSocket: (name, path, since, writing) => {
      const ledger = createLedger(name);
      ledgers.push(ledger);
      const open = async (cursor) => new WebSocket((await address(path, cursor)).replace("http", "ws"));
      const writer = writing && writeBySocket(writing);
      if (writer) writers.push(writer);
      readers.push(readSocket(ledger, { open, since, writer }));
    },
    writeByRest: (writing) => {
      writers.push(writeByRest({ ...writing, url: location.origin, headers: headers() }));
    },
    stopWriting: () => {
      for (const writer of writers) writer.stop();
    },
    isDone: () => writers.every((writer) => writer.isDone()),
    count: (name, content) =>
      countOf(
        ledgers.find((ledger) => ledger.name === name),
        content,
      ),
    ledgers: () => ledgers.map(({ fault, take, ...seen }) => seen),
    works: () => writers.map(({ work }) => work),
    close: () => {
      for (const reader of readers) reader.close();
    },
    /** Opens an address with the browser's EventSource; resolves with how it ended once it has given up. */
    untilGivenUp: (url) =>
      new Promise((resolve) => {
        const source = new EventSource(url);
        let opened = 0;
        source.addEventListener("open", () => opened++);
        source.addEventListener("error", () => {
          if (source.readyState === EventSource.CLOSED) resolve({ opened });
        });
      }),
  };
})();
