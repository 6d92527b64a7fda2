import { Socket } from "node:net";
import pgListen from "pg-listen";
import type { Logger } from "pino";
import { limits } from "../limits.ts";

export interface ListenerOptions {
  url: string;
  ssl: { rejectUnauthorized: boolean } | undefined;
  log: Logger;
  /** What to do with the payloads of each channel that is listened to. */
  channels: Readonly<Record<string, (payload: string) => void>>;
  /** The connection is lost: what is announced next may come from another server. */
  onLost(): void;
  /** LISTEN is in force, for the first time or again: what was announced before may have been missed. */
  onConnected(): void;
}

export interface Listener {
  isConnected(): boolean;
  /** Gives up the connection for a new one. */
  renew(): void;
  /** Looks after the connection, from time to time. */
  check(): void;
  stop(): void;
}

/**
 * Listens to its channels on a connection of its own and comes back after every loss. It cannot tell
 * a dead connection from a quiet one; the feed's watchdog does.
 */
export function startListener(options: ListenerOptions): Listener {
  let subscription = subscribe(options);
  let deafChecks = 0;
  const renew = () => {
    subscription.stop();
    options.onLost();
    subscription = subscribe(options);
  };
  /** pg-listen tries again by itself, but not after a LISTEN that failed or was never answered. */
  const check = () => {
    deafChecks = subscription.isConnected() ? 0 : deafChecks + 1;
    if (deafChecks < limits.deafChecks) return;
    deafChecks = 0;
    options.log.warn("the listener does not come back: listening anew");
    renew();
  };
  return {
    isConnected: () => subscription.isConnected(),
    renew,
    check,
    stop: () => subscription.stop(),
  };
}

function subscribe(options: ListenerOptions): Pick<Listener, "isConnected" | "stop"> {
  let connected = false;
  let stopped = false;
  // pg-listen's close() waits for the server's goodbye, which a dead connection never brings: keep the
  // socket.
  let socket: Socket | undefined;
  const subscriber = pgListen.default(
    {
      connectionString: options.url,
      ...(options.ssl && { ssl: options.ssl }),
      connectionTimeoutMillis: limits.listenerConnectMs,
      stream: openSocket as never,
    },
    {
      parse: (payload: string) => payload,
      paranoidChecking: false,
      // Its default gives up for ever after three seconds.
      retryTimeout: 0,
      retryInterval,
    },
  );
  const channels = Object.entries(options.channels);
  for (const [channel, take] of channels) subscriber.notifications.on(channel, (text) => take(text ?? ""));
  subscriber.events.on("reconnect", () => {
    connected = false;
    options.onLost();
  });
  subscriber.events.on("connected", () => void listen());
  subscriber.events.on("error", (error) => {
    connected = false;
    if (!stopped) options.log.warn({ err: error }, "listener error");
  });
  // After a failure pg-listen tries again by itself, and says "connected" when it has succeeded.
  subscriber.connect().catch((error) => {
    if (!stopped) options.log.warn({ err: error }, "listener cannot connect");
  });

  function openSocket(): Socket {
    socket = new Socket();
    return socket;
  }

  /** Called between attempts; throwing is the only way to end pg-listen's loop. */
  function retryInterval(failed: number): number {
    if (stopped) throw new Error("the listener was stopped");
    return delayMs(failed);
  }

  /** The first "connected" comes before LISTEN; later ones after it, which listenTo() then knows. */
  async function listen(): Promise<void> {
    try {
      for (const [channel] of channels) await subscriber.listenTo(channel);
      if (stopped) return stop();
      connected = true;
      options.onConnected();
    } catch (error) {
      if (!stopped) options.log.warn({ err: error }, "listener cannot listen");
    }
  }

  function stop(): void {
    stopped = true;
    connected = false;
    subscriber.close().catch(() => {});
    socket?.destroy();
  }

  return { isConnected: () => connected, stop };
}

/** Doubles with each failed attempt, with jitter, so that instances do not come back in step. */
function delayMs(failed: number): number {
  const most = Math.min(limits.listenerRetryMs * 2 ** Math.max(0, failed), limits.listenerRetryMostMs);
  return most * (0.5 + Math.random() / 2);
}
