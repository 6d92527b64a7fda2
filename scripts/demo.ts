/**
 * `npm run demo`: the server with a few people and discussions in it, and lines of curl to try. All of it
 * goes in over the public API, and running it again on the same database adds nothing.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const password = "correct horse battery";
const people = [
  { username: "ann", display_name: "Ann Lindqvist" },
  { username: "bob", display_name: "Bob Okafor" },
  { username: "cem", display_name: "Cem Aydın" },
];
const greeting = /^Parley listens on (http\S+)$/;
const requestTimeoutMs = 10_000;

interface Person {
  id: string;
  token: string;
}

interface Discussion {
  id: string;
  name: string | null;
}

process.exitCode = await main();

async function main(): Promise<number> {
  const server = startServer();
  const ended = exitCodeOf(server);
  const url = await urlOf(server);
  if (url === null) return ended;
  try {
    const square = await seed(`${url}/api/v1`);
    process.stdout.write(`${introduction(url, square.id)}\n`);
  } catch (error) {
    if (server.killed) return ended;
    console.error(error instanceof Error ? error.message : error);
    server.kill("SIGTERM");
    return (await ended) || 1;
  }
  return ended;
}

/**
 * The same program as `npm start`. A signal that reaches it twice, from a terminal and from us, is no harm.
 */
function startServer(): ChildProcess {
  const main = join(import.meta.dirname, "..", "server", "main.ts");
  const server = spawn(process.execPath, [main], {
    env: { LOG_LEVEL: "warn", ...process.env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => server.kill(signal === "SIGHUP" ? "SIGTERM" : signal));
  }
  process.once("exit", () => server.kill("SIGTERM"));
  return server;
}

async function exitCodeOf(server: ChildProcess): Promise<number> {
  const [code] = await once(server, "exit");
  return code ?? 1;
}

/**
 * The address that the server says it listens on; null when it ends without a word. What else it says is
 * passed on.
 */
async function urlOf(server: ChildProcess): Promise<string | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>();
  if (!server.stdout) return null;
  const lines = createInterface({ input: server.stdout });
  lines.on("line", (line) => {
    const url = greeting.exec(line)?.[1];
    if (url) resolve(url);
    else console.log(line);
  });
  lines.on("close", () => resolve(null));
  return promise;
}

/** Returns the public group. */
async function seed(api: string): Promise<Discussion> {
  const [ann, bob, cem] = await Promise.all(people.map((person) => enter(api, person)));
  if (!ann || !bob || !cem) throw new Error("the demo needs three people");
  const direct = await call<Discussion>(api, "POST", "/discussions", ann, {
    kind: "direct",
    user_id: bob.id,
  });
  await say(api, direct, [
    [ann, "Hi Bob! Does this reach you?"],
    [bob, "At once."],
    [ann, "And when your connection drops in the middle?"],
    [bob, "Then I get what I missed: all of it, in order, and nothing twice."],
  ]);
  const kitchen = await group(api, "Tea kitchen", "private", ann, [bob, cem]);
  await say(api, kitchen, [
    [cem, "Who drank the last of the oat milk?"],
    [bob, "Not me, I take it black."],
    [ann, "I am going to the shop at noon. Anything else?"],
    [cem, "Biscuits, please."],
  ]);
  const square = await group(api, "Town square", "public", cem, [ann, bob]);
  await say(api, square, [
    [cem, "Welcome! Anyone may find this group and join it."],
    [ann, "Good to be here."],
  ]);
  return square;
}

/** Registers, or logs in who has registered before. */
async function enter(api: string, person: { username: string; display_name: string }): Promise<Person> {
  const { username } = person;
  let response = await request(api, "POST", "/auth/register", null, { ...person, password });
  if (response.status === 409) {
    await response.body?.cancel();
    response = await request(api, "POST", "/auth/login", null, { username, password });
    if (response.status === 401) {
      throw new Error(
        `Another "${username}" is in this database. For one of its own: DATA_DIR=.data-demo npm run demo`,
      );
    }
  }
  const { user, access_token } = await answerOf<{ user: { id: string }; access_token: string }>(response);
  return { id: user.id, token: access_token };
}

/**
 * A group is the same only while its members are; so one that others have joined since is looked for by
 * name.
 */
async function group(
  api: string,
  name: string,
  visibility: "private" | "public",
  owner: Person,
  members: Person[],
): Promise<Discussion> {
  const { items } = await call<{ items: Discussion[] }>(api, "GET", "/discussions?limit=200", owner);
  const existing = items.find((discussion) => discussion.name === name);
  const member_ids = members.map(({ id }) => id);
  const fields = { kind: "group", name, visibility, member_ids };
  return existing ?? call<Discussion>(api, "POST", "/discussions", owner, fields);
}

/** The same `client_id` stores nothing new the second time. */
async function say(api: string, discussion: Discussion, lines: [Person, string][]): Promise<void> {
  for (const [index, [person, content]] of lines.entries()) {
    const message = { content, client_id: `demo-${index + 1}` };
    await call(api, "POST", `/discussions/${discussion.id}/messages`, person, message);
  }
}

async function call<T>(api: string, method: string, path: string, as: Person, body?: object): Promise<T> {
  return answerOf<T>(await request(api, method, path, as, body));
}

function request(api: string, method: string, path: string, as: Person | null, body?: object) {
  return fetch(`${api}${path}`, {
    method,
    headers: {
      ...(as && { authorization: `Bearer ${as.token}` }),
      ...(body && { "content-type": "application/json" }),
    },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(requestTimeoutMs),
  });
}

async function answerOf<T>(response: Response): Promise<T> {
  if (response.ok) return (await response.json()) as T;
  const { pathname } = new URL(response.url);
  throw new Error(
    `The demo cannot be set up: ${pathname} answered ${response.status} ${await response.text()}`,
  );
}

function introduction(url: string, squareId: string): string {
  const json = `-H 'content-type: application/json'`;
  const bearer = `-H "authorization: Bearer $TOKEN"`;
  return `
Parley is running, with a few people in it. Open

    ${url}

in two browser windows (one of them private, or they share one login), and log in as two of

    ${people.map(({ username }) => username).join(", ")}        password: ${password}

Or talk to it from a shell:

    # log in as Ann, and keep the access token for the next 15 minutes
    API=${url}/api/v1
    SQUARE=$API/discussions/${squareId}
    TOKEN=$(curl -sS $API/auth/login ${json} \\
      -d '{"username":"ann","password":"${password}"}' | sed 's/.*"access_token":"\\([^"]*\\).*/\\1/')

    # her discussions, with last messages, unread counts and the cursor to stream from
    curl -sS $API/discussions ${bearer}

    # say something in the town square; the client_id makes it safe to repeat
    curl -sS $SQUARE/messages ${bearer} ${json} \\
      -d '{"content":"Hello from a shell!","client_id":"shell-1"}'

    # the newest messages there
    curl -sS "$SQUARE/messages?limit=5" ${bearer}

    # the people one can talk to whose name begins with "b"
    curl -sS "$API/users?query=b" ${bearer}

    # everything that happens from now on, live, until Ctrl-C
    curl -sSN $API/events ${bearer}

Ctrl-C ends the demo; what was said stays in the database.
`;
}
