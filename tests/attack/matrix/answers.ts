import type { Answer, Json } from "../../support/client.ts";

/** Whether an answer, wherever in it, has this text. */
export function tells(what: string): (answer: Answer) => boolean {
  return ({ body }) => JSON.stringify(body).includes(what);
}

/** Whether an answer has these people or things, by their ids, and no others. */
export function lists(ids: readonly string[]): (answer: Answer) => boolean {
  return ({ body }) => {
    const found = body.items.map((item: Json) => item.id ?? item.user_id).sort();
    return JSON.stringify(found) === JSON.stringify([...ids].sort());
  };
}
