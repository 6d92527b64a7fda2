import type { Json } from "../../support/client.ts";
import { type Model, messageOf } from "../model.ts";
import { discussionJson, editsJson, type HistoryPage, historyJson } from "../shapes.ts";
import { type Command, command, labelOf, refuseOutsiders, type View, viewOf, type Way } from "./command.ts";

/** Looking at what there is: everything that comes with a cursor is of exactly that point. */
export function lookAt(actorId: string, way: Way, id: string): Command {
  const request = { method: "GET", path: `/discussions/${id}` };
  const words = (model: Model) => `looks at ${labelOf(model, id)}`;
  return command(actorId, way, request, words, () => ({ status: 200, view: viewOf(id, actorId) }));
}

export function lookInto(actorId: string, way: Way, id: string, page: HistoryPage = { limit: 200 }): Command {
  const query = Object.entries(page).map(([name, number]) => `${name}=${number}`);
  const request = { method: "GET", path: `/discussions/${id}/messages?${query.join("&")}` };
  const words = (model: Model) => `looks into the history of ${labelOf(model, id)}, ${query.join(", ")}`;
  const view = historyView(id, actorId, page);
  return command(actorId, way, request, words, () => ({ status: 200, view }));
}

function historyView(id: string, actorId: string, page: HistoryPage): View {
  return (model) => {
    const discussion = model.find(id);
    const refusal = refuseOutsiders(model.standing(id, actorId));
    if (refusal || !discussion) return refusal ?? { code: "discussion_not_found" };
    return { body: historyJson(model, discussion, page) };
  };
}

/** All of one's discussions. */
export function lookAround(actorId: string, way: Way): Command {
  const request = { method: "GET", path: "/discussions?limit=200" };
  const view: View = (model) => {
    const items = model.discussionsOf(actorId).map((one) => discussionJson(model, one, actorId));
    return { body: { items, next_cursor: null, cursor: model.cursor } };
  };
  return command(
    actorId,
    way,
    request,
    () => "looks at the list",
    () => ({ status: 200, view, find: findDisorder }),
  );
}

/** Latest activity first: the last message, else the creation. */
function findDisorder({ items }: Json): string | null {
  const times = items.map(({ created_at, last_message }: Json) => last_message?.created_at ?? created_at);
  const at = times.findIndex((time: string, index: number) => index > 0 && time > times[index - 1]);
  return at === -1 ? null : `items: ${items[at].id} is above what is newer`;
}

/** Has no cursor, so it is not to be looked at while it changes. */
export function lookBack(actorId: string, way: Way, id: string, seq: number): Command {
  const request = { method: "GET", path: `/discussions/${id}/messages/${seq}/edits` };
  const words = (model: Model) => `looks what ${labelOf(model, id)}/${seq} said before`;
  return command(actorId, way, request, words, (model) => {
    const discussion = model.find(id);
    const refusal = refuseOutsiders(model.standing(id, actorId));
    if (refusal || !discussion) return refusal ?? { code: "discussion_not_found" };
    const message = messageOf(discussion, seq);
    return message ? { status: 200, body: editsJson(message) } : { code: "message_not_found" };
  });
}
