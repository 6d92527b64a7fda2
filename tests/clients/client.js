/**
 * What a client of the streams does, on nothing but the standard EventSource, WebSocket and fetch. It is
 * written once and runs twice: in Node with those of npm, and inside a page of a real browser with the
 * browser's own.
 */
(() => {
  const types = [
    "message.new",
    "message.updated",
    "message.deleted",
    "reaction.added",
    "reaction.removed",
    "discussion.created",
    "discussion.updated",
    "discussion.deleted",
    "member.added",
    "member.updated",
    "member.removed",
    "read.updated",
    "typing",
    "presence",
    "ready",
    "reset",
    "closed",
  ];
  const CLOSED = 2;
  const mostInFlight = 8;
  const sendTimeoutMs = 4_000;

  /** What one reader got. `faults` is empty when all is well. */
  function createLedger(name) {
    const ledger = {
      name,
      /** `[cursor, type, discussion_id, seq, content]` of every durable event, in the order of arrival. */
      events: [],
      /** How often the stream was opened, and how often it ended. */
      readies: 0,
      losses: 0,
      signals: 0,
      closings: [],
      faults: [],
      cursor: null,
      fault: (text) => {
        if (ledger.faults.length < 20) ledger.faults.push(`${name}: ${text}`);
      },
      /** `id`: what the transport says the cursor is, where it has one. */
      take: (json, id) => {
        if (json.type === "typing" || json.type === "presence") {
          ledger.signals++;
          if (json.cursor) ledger.fault("a signal with a cursor");
          return;
        }
        if (id !== undefined && json.cursor && id !== json.cursor) ledger.fault(`id ${id} on ${json.cursor}`);
        if (json.cursor) ledger.cursor = json.cursor;
        if (json.type === "ready") ledger.readies++;
        else if (json.type === "closed") ledger.closings.push(json.code);
        else if (json.type === "reset") ledger.fault(`reset: ${json.reason}`);
        else if (!json.cursor) ledger.fault(`no cursor: ${JSON.stringify(json)}`);
        else {
          const { seq = null, content = null } = json.message ?? {};
          ledger.events.push([json.cursor, json.type, json.discussion_id, seq, content]);
        }
      },
    };
    return ledger;
  }

  /**
   * Reads Server-Sent Events. `open(cursor)` gives an EventSource, which reconnects by itself. With
   * `renew` it is opened anew instead, for an address that is good only once.
   */
  function readEvents(ledger, { open, since, renew = false }) {
    let source = null;
    let stopped = false;
    const again = () => !stopped && setTimeout(connect, 50 + Math.random() * 200);
    async function connect() {
      try {
        source = await open(ledger.cursor ?? since);
      } catch {
        return again();
      }
      if (stopped) return source.close();
      const opened = source;
      for (const type of types) {
        opened.addEventListener(type, (event) => {
          const json = JSON.parse(event.data);
          if (json.type !== type) ledger.fault(`type ${json.type} in an event ${type}`);
          ledger.take(json, event.lastEventId);
        });
      }
      opened.addEventListener("message", (event) => ledger.fault(`an event without a type: ${event.data}`));
      opened.addEventListener("error", (event) => {
        ledger.losses++;
        if (renew) {
          opened.close();
          again();
        } else if (opened.readyState === CLOSED && !stopped) {
          ledger.fault(`the EventSource gave up: ${event.code ?? ""} ${event.message ?? ""}`);
        }
      });
    }
    connect();
    return {
      close: () => {
        stopped = true;
        source?.close();
      },
    };
  }

  /**
   * Reads a socket, and comes back with the last cursor as the close code says. `open(cursor)` gives a
   * WebSocket.
   */
  function readSocket(ledger, { open, since, writer = null }) {
    let socket = null;
    let stopped = false;
    const again = (delayMs) => !stopped && setTimeout(connect, Math.random() * delayMs);
    async function connect() {
      try {
        socket = await open(ledger.cursor ?? since);
      } catch {
        return again(300);
      }
      if (stopped) return socket.close();
      const opened = socket;
      opened.addEventListener("open", () => writer?.opened(opened));
      opened.addEventListener("message", (event) => {
        const json = JSON.parse(event.data);
        if (json.type === "ack" || json.type === "error") writer?.answered(json);
        else ledger.take(json);
      });
      opened.addEventListener("error", () => {});
      opened.addEventListener("close", ({ code }) => {
        ledger.losses++;
        ledger.closings.push(code);
        if (code >= 4500) ledger.fault(`closed for ever with ${code}`);
        else again(code === 1001 || code === 1012 ? 2_000 : 300);
      });
    }
    connect();
    return {
      close: () => {
        stopped = true;
        socket?.close();
      },
    };
  }

  /** What a writer has done: the contents in the order of sending, and what went wrong. */
  function createWork(author, discussionIds) {
    const work = { author, sent: [], repeats: 0, faults: [] };
    return {
      work,
      next: () => {
        const n = work.sent.length + 1;
        const content = `${author} says ${n} – ${["tea?", "чай?", "お茶?", "🫖"][n % 4]}`;
        work.sent.push(content);
        return {
          discussion_id: discussionIds[n % discussionIds.length],
          content,
          client_id: `${author}-${n}`,
        };
      },
    };
  }

  /** Sends by a socket that readSocket() keeps open; what was not acknowledged goes again on the next one. */
  function writeBySocket({ author, discussionIds, everyMs }) {
    const { work, next } = createWork(author, discussionIds);
    const unacknowledged = new Map();
    let socket = null;
    const send = (frame) => {
      if (socket?.readyState === 1) socket.send(JSON.stringify(frame));
    };
    const timer = setInterval(() => {
      if (unacknowledged.size >= mostInFlight) return;
      const message = next();
      const frame = { type: "message.send", ref: message.client_id, ...message };
      unacknowledged.set(frame.ref, frame);
      send(frame);
    }, everyMs);
    return {
      work,
      opened: (opened) => {
        socket = opened;
        work.repeats += unacknowledged.size;
        for (const frame of unacknowledged.values()) send(frame);
      },
      answered: ({ type, ref, code, detail, message }) => {
        const [first] = unacknowledged.keys();
        if (type === "error") work.faults.push(`${ref}: ${code} ${detail}`);
        else if (ref !== first) work.faults.push(`acknowledged ${ref} before ${first}`);
        else if (message.content !== unacknowledged.get(ref).content)
          work.faults.push(`${ref}: other content`);
        unacknowledged.delete(ref);
      },
      stop: () => clearInterval(timer),
      isDone: () => unacknowledged.size === 0,
    };
  }

  /** Sends by REST, one after the other; what got no answer is tried again with the same client_id. */
  function writeByRest({ author, discussionIds, everyMs, url, headers }) {
    const { work, next } = createWork(author, discussionIds);
    let stopped = false;
    const post = async ({ discussion_id, ...body }) => {
      for (;;) {
        try {
          const response = await fetch(`${url}/api/v1/discussions/${discussion_id}/messages`, {
            method: "POST",
            headers: { ...headers, "content-type": "application/json" },
            body: JSON.stringify(body),
            signal: AbortSignal.timeout(sendTimeoutMs),
          });
          const answer = await response.json();
          if (!response.ok) work.faults.push(`${body.client_id}: ${response.status} ${answer.code}`);
          else if (answer.content !== body.content) work.faults.push(`${body.client_id}: other content`);
          return;
        } catch {
          work.repeats++;
          await pause(50 + Math.random() * 150);
        }
      }
    };
    const done = (async () => {
      while (!stopped) {
        await post(next());
        await pause(everyMs);
      }
    })();
    let isDone = false;
    done.then(() => {
      isDone = true;
    });
    return {
      work,
      stop: () => {
        stopped = true;
      },
      isDone: () => isDone,
    };
  }

  function pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** How often a reader has seen a message with this content. */
  function countOf(ledger, content) {
    return ledger.events.filter((event) => event[4] === content).length;
  }

  globalThis.streamClients = { createLedger, countOf, readEvents, readSocket, writeBySocket, writeByRest };
})();
