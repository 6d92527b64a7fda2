import { Socket } from "node:net";
import pgListen from "pg-listen";
import type { Logger } from "pino";
import { limits } from "../limits.ts";

export interface ListenerOptions {
  url: string;
  ssl: { rejectUnauthorized: boolean } | undefined;
  log: Logger;
  onPayload(payload: string): void;
  /** LISTEN is in force, for the first time or again: what was announced before may have been missed. */
  onConnected(): void;
}

export interface Listener {
  isConnected(): boolean;
  stop(): void;
}

/**
 * Listens on the channel `events` on a connection of its own and comes back after every loss. It cannot tell
 * a dead connection from a quiet one; the feed's watchdog does.
 */
export function startListener(options: ListenerOptions): Listener {
  let connected = false;
  let stopped = false;
  // pg-listen's close() waits for the server's goodbye, which a dead connection never brings: keep the socket.
  let socket: Socket | undefined;
  const openSocket = () => {
    socket = new Socket();
    return socket;
  };

  const connect = async (attempt: number): Promise<void> => {
    const subscriber = pgListen.default(
      {
        connectionString: options.url,
        ...(options.ssl && { ssl: options.ssl }),
        stream: openSocket as never,
      },
      {
        parse: (payload: string) => payload,
        paranoidChecking: false,
        // Its default gives up for ever after three seconds.
        retryTimeout: 0,
        // Called between attempts; throwing is the only way to end pg-listen's loop.
        retryInterval: (failed: number) => {
          if (stopped) throw new Error("the listener was stopped");
          return delayMs(failed);
        },
      },
    );
    subscriber.notifications.on("events", options.onPayload);
    subscriber.events.on("reconnect", () => {
      connected = false;
    });
    subscriber.events.on("connected", () => {
      // The first "connected" comes before LISTEN, later ones after it.
      if (!subscriber.getSubscribedChannels().includes("events") || stopped) return;
      connected = true;
      options.onConnected();
    });
    subscriber.events.on("error", (error) => {
      connected = false;
      if (!stopped) options.log.warn({ err: error }, "listener error");
    });
    try {
      await subscriber.connect();
      await subscriber.listenTo("events");
      if (stopped) return void subscriber.close().catch(() => {});
      connected = true;
      options.onConnected();
    } catch (error) {
      socket?.destroy();
      if (stopped) return;
      options.log.warn({ err: error }, "listener cannot connect");
      setTimeout(() => void connect(attempt + 1), delayMs(attempt));
    }
    close = () => void subscriber.close().catch(() => {});
  };

  let close = () => {};
  void connect(0);
  return {
    isConnected: () => connected,
    stop: () => {
      stopped = true;
      connected = false;
      close();
      socket?.destroy();
    },
  };
}

/** Doubles with each failed attempt, with jitter, so that instances do not come back in step. */
function delayMs(failed: number): number {
  const most = Math.min(limits.listenerRetryMs * 2 ** Math.max(0, failed), limits.listenerRetryMostMs);
  return most * (0.5 + Math.random() / 2);
}
