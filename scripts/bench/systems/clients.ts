import type { Client } from "../generator/client.ts";
import { parley, parleyClient } from "./parley.ts";
import { httpPlain, httpPlainClient, wsFrame, wsPlainClient, wsTick } from "./plain.ts";
import { socketio, socketioClient } from "./socketio.ts";
import { wsNotify, wsNotifyClient } from "./ws-notify.ts";

const clients = new Map<string, Client>([
  [parley.id, parleyClient],
  [socketio.id, socketioClient],
  [wsNotify.id, wsNotifyClient],
  [wsFrame.id, wsPlainClient],
  [wsTick.id, wsPlainClient],
  [httpPlain.id, httpPlainClient],
]);

/** How the generator speaks to a system. */
export function clientOf(systemId: string): Client {
  const client = clients.get(systemId);
  if (!client) throw new Error(`there is no system ${systemId}`);
  return client;
}
