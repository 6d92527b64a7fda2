// time limit: 300 s
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "uvu";
import { openRaw } from "../delivery/raw.ts";
import { type Answer, assertProblem, type Client, type Json } from "../support/client.ts";
import { sendBody } from "../support/files.ts";
import { withServer } from "../support/server.ts";
import { type Act, type Asked, acts } from "./matrix/acts.ts";
import { type Place, routeTables } from "./matrix/routes.ts";
import { actors, type Row, routeOf, type Verdict } from "./matrix/table.ts";
import { type Universe, type World, withUniverse } from "./matrix/world.ts";

// Who may do what: every route × everybody who might try it. What is refused changes nothing at all in the
// database, and what is allowed does what it is for.

const env = { RATE_LIMITS: "off" };
/** What stands beside /api/v1, and not below it. */
const besideApi = /^\/(healthz|readyz|metrics|openapi\.json|asyncapi\.json|docs)$/;
const places = Object.entries(routeTables) as [Place, readonly Row[]][];
const inDiscussions = places.filter(([place]) => place !== "nowhere");

test("the tables have every route that there is, and no other", () =>
  withServer(async (t) => {
    const there = await routesOf(t.url);
    const rows = places.flatMap(([, rows]) => rows.map(routeOf));
    assert.ok(there.length > 50, `${there}`);
    assert.deepEqual([...new Set(rows)].sort(), there.sort());
    const ofOne = there.filter((route) => / \/discussions\/\{id\}/.test(route));
    for (const [place, rows] of inDiscussions) {
      const missing = ofOne.filter((route) => !rows.some((row) => routeOf(row) === route));
      assert.deepEqual(missing, [], `no rows in ${place}`);
    }
  }));

test("the API document, from which the routes are taken, knows all that the server's code routes", () =>
  withServer(async (t) => {
    const there = (await routesOf(t.url)).map((route) => route.replaceAll(/\{\w+\}/g, ":"));
    const folder = new URL("../../server/api/", import.meta.url);
    let found = 0;
    for (const name of await readdir(folder)) {
      const text = await readFile(new URL(name, folder), "utf8");
      for (const [, method, path] of text.matchAll(/method: "([A-Z]+)",\s+path: "([^"]+)"/g)) {
        found++;
        const route = `${method} ${path?.replace("/api/v1", "").replaceAll(/:\w+/g, ":")}`;
        assert.ok(there.includes(route), `${name}: ${route}`);
      }
    }
    assert.ok(found > 40, `${found}`);
    const streams: Json = await (await fetch(`${t.url}/asyncapi.json`)).json();
    const addresses = Object.values<Json>(streams.channels).map(({ address }) => address);
    assert.equal(addresses.length, 4);
    for (const address of addresses)
      assert.ok((await routesOf(t.url)).includes(`GET ${address.replace("/api/v1", "")}`), address);
  }));

for (const [place, rows] of places) {
  test(`${place}: everybody may do what the table says and nothing else`, () =>
    withServer(
      (t) =>
        withUniverse(t, async (universe) => {
          for (const row of rows) await tryRow(universe, place, row);
        }),
      env,
    ));
}

test.run();

/** `GET /users/{id}`, for every operation of the API document. */
async function routesOf(url: string): Promise<string[]> {
  const document: Json = await (await fetch(`${url}/openapi.json`)).json();
  return Object.entries<Json>(document.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path.replace("/api/v1", "")}`),
  );
}

/** All who are refused share a world with all who may only look; who may do more has one alone. */
async function tryRow(universe: Universe, place: Place, row: Row): Promise<void> {
  assert.deepEqual(
    row.verdicts.map(({ actor }) => actor),
    [...actors],
  );
  const isRead = row.act.startsWith("GET ");
  const acting = row.verdicts.filter(({ code }) => !isRead && code === null);
  const harmless = row.verdicts.filter((verdict) => !acting.includes(verdict));
  const shared = await universe.create(place);
  const trials: Trial[] = [];
  for (const verdict of harmless) trials.push(await prepare(shared, row, verdict));
  const before = await universe.snapshot();
  for (const trial of trials) await carryOut(trial);
  const those = harmless.map(({ actor }) => actor).join(", ");
  assert.deepEqual(await universe.snapshot(), before, `${place}: ${row.act} by one of ${those}`);
  for (const verdict of acting) await carryOut(await prepare(await universe.create(place), row, verdict));
}

/** What somebody is about to try. */
interface Trial {
  world: World;
  row: Row;
  verdict: Verdict;
  asked: Asked;
  ticket: string | null;
}

async function prepare(world: World, row: Row, verdict: Verdict): Promise<Trial> {
  const act: Act | undefined = acts[row.act] ?? streamAct(row.act);
  assert.ok(act, `nobody knows how to ${row.act}`);
  const asked = await act(world, world.person(verdict.actor));
  assertRoute(row, asked.path);
  const { stranger } = world.people;
  const ticket = verdict.actor === "ticket" ? (await stranger.ok("POST", "/auth/tickets")).ticket : null;
  return { world, row, verdict, asked, ticket };
}

async function carryOut({ world, row, verdict, asked, ticket }: Trial): Promise<void> {
  const { actor, status, code } = verdict;
  const answer = await ask(world.as(actor), row, asked, ticket);
  try {
    if (code !== null) return assertProblem(answer, status, code);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.ok(await asked.did(answer), `it did not do it: ${JSON.stringify(answer.body)}`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(`${world.place}: ${row.act} by ${actor}: ${reason}`, { cause: error });
  }
}

function ask(client: Client, row: Row, { path, body }: Asked, ticket: string | null): Promise<Answer> {
  const [method = "", route = ""] = row.act.split(" ");
  const query = ticket && `${path.includes("?") ? "&" : "?"}ticket=${encodeURIComponent(ticket)}`;
  const whole = `${besideApi.test(path) ? "/../.." : ""}${path}${query ?? ""}`;
  if (/\/(events|ws)$/.test(route)) return openStream(client, whole, route.endsWith("/ws") ? "ws" : "sse");
  if (body instanceof FormData) return sendBody(client, method, whole, body);
  if (body instanceof Buffer) return sendBody(client, method, whole, body, { "content-type": "image/png" });
  return client.call(method, whole, body);
}

/** An open stream's answer has no body; it is heard until it is ready. */
async function openStream(client: Client, path: string, kind: "sse" | "ws"): Promise<Answer> {
  const headers: Record<string, string> = client.token ? { authorization: `Bearer ${client.token}` } : {};
  const raw = await openRaw(kind, client.url, path, { headers });
  if (raw.status < 300) await raw.until((text) => text.includes('"type":"ready"'));
  raw.cut();
  return raw;
}

function streamAct(act: string): Act | undefined {
  const [, route = ""] = /^GET (.*\/(?:events|ws))$/.exec(act) ?? [];
  return route === "" ? undefined : ({ id }) => ({ path: route.replace("{id}", id), did: () => true });
}

/** What is asked for must be what the row is about. */
function assertRoute(row: Row, path: string): void {
  const [, route = ""] = routeOf(row).split(" ");
  const pattern = new RegExp(`^${route.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`);
  assert.match(path.split("?")[0] ?? "", pattern);
}
