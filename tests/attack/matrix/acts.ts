import type { Answer, Client } from "../../support/client.ts";
import { accountActs } from "./account-acts.ts";
import { discussionActs } from "./discussion-acts.ts";
import type { World } from "./world.ts";

/** A request, and whether it did what it is for. */
export interface Asked {
  path: string;
  body?: unknown;
  /** After an answer that allowed it. */
  did(answer: Answer): boolean | Promise<boolean>;
}

/** Makes an act in a world ready for somebody. */
export type Act = (world: World, who: Client) => Asked | Promise<Asked>;

/** How each act of the tables is done. */
export const acts: Readonly<Record<string, Act>> = { ...accountActs, ...discussionActs };
