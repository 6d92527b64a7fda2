import type { Client } from "../../support/client.ts";
import type { World } from "./world.ts";

/** A frame, without `ref` and `discussion_id`, and the act of the tables that it does by socket. */
export interface FrameAct {
  act: string;
  frame(world: World, who: Client): { type: string; [field: string]: unknown };
}

const message = "/discussions/{id}/messages/{seq}";

/** What can be done by socket. A frame is judged as its route is, for everybody and everywhere. */
export const frameActs: readonly FrameAct[] = [
  {
    act: "POST /discussions/{id}/messages",
    frame: () => ({ type: "message.send", content: "said" }),
  },
  {
    act: `PATCH ${message} : the owner's`,
    frame: () => ({ type: "message.edit", seq: 1, content: "changed" }),
  },
  {
    act: `PATCH ${message} : one's own`,
    frame: (w, who) => ({ type: "message.edit", seq: w.seqOf(who), content: "changed" }),
  },
  {
    act: `PATCH ${message} : none`,
    frame: () => ({ type: "message.edit", seq: 99, content: "changed" }),
  },
  {
    act: `DELETE ${message} : the owner's`,
    frame: () => ({ type: "message.delete", seq: 1 }),
  },
  {
    act: `DELETE ${message} : one's own`,
    frame: (w, who) => ({ type: "message.delete", seq: w.seqOf(who) }),
  },
  {
    act: `DELETE ${message} : none`,
    frame: () => ({ type: "message.delete", seq: 99 }),
  },
  {
    act: `PUT ${message}/reactions/{emoji}`,
    frame: () => ({ type: "reaction.add", seq: 1, emoji: "🎉" }),
  },
  {
    act: `DELETE ${message}/reactions/{emoji}`,
    frame: () => ({ type: "reaction.remove", seq: 1, emoji: "👍" }),
  },
  {
    act: "PUT /discussions/{id}/read",
    frame: () => ({ type: "read", seq: 1 }),
  },
  {
    act: "POST /discussions/{id}/typing",
    frame: () => ({ type: "typing" }),
  },
];
