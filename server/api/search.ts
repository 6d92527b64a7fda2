import { z } from "zod";
import { type SearchRange, searchMessages } from "../../sql/search.ts";
import { idSchema, limitSchema, pageCursorSchema, text } from "../fields.ts";
import { limits } from "../limits.ts";
import { foundMessageSchema, pageOf } from "../schemas.ts";
import type { Parts } from "./parts.ts";
import { list, type Route, route } from "./route.ts";
import { createSnippet } from "./snippets.ts";
import { requireMembership } from "./standing.ts";

const positionSchema = z.number().int();
const searchQuery = z.object({
  q: text(1, limits.searchCharacters),
  discussion_id: idSchema.optional(),
  sender_id: idSchema.optional(),
  limit: limitSchema,
  cursor: pageCursorSchema(
    z.union([
      // The next range begins.
      z.tuple([positionSchema]),
      // A range, and the rank and position of the last item that was shown of it.
      z.tuple([positionSchema, positionSchema, z.number().int().min(0).max(1_000), positionSchema]),
    ]),
  ),
});

/**
 * The matches are taken in ranges of the log, newest first, each of so many matches that they can be ranked
 * together; within a range the best come first. The cursor holds the range's ends, so that what is sent or
 * deleted meanwhile shifts nothing.
 */
export function searchRoutes(parts: Parts): Route[] {
  return [
    route({
      method: "GET",
      path: "/api/v1/search",
      name: "searchMessages",
      summary: "Find messages by what they say, in one's discussions",
      description:
        "Finds messages that contain all of the words, also as parts of words and without spaces between " +
        'them; "in quotation marks" as a phrase of whole words. Case and accents do not matter. The newest ' +
        "thousand matches come first, best first, then the thousand before, and so on.",
      tag: "Messages",
      access: "session",
      rate: "search",
      query: searchQuery,
      answers: { 200: pageOf(foundMessageSchema) },
      refusals: ["discussion_not_found", "not_a_member", "overloaded"],
      handle: async ({ caller, query }) => {
        const { range, after } = readPlace(query.cursor);
        const question = {
          ...readQuestion(query.q),
          reader_id: caller.user_id,
          discussion_id: query.discussion_id,
          sender_id: query.sender_id,
          range,
          after,
          limit: query.limit,
        };
        const found = await parts.inSearchTurn(caller.user_id, () =>
          searchMessages(parts.pool, question, limits.search),
        );
        if (query.discussion_id) requireMembership(found.standing);
        const items = found.items
          .slice(0, query.limit)
          .map(({ message, rank }) =>
            JSON.stringify({ ...message, snippet: createSnippet(message.content, found.patterns), rank }),
          );
        return list(items.join(","), nextPlace(found, query.limit, range));
      },
    }),
  ];
}

/** Words, and phrases between quotation marks. A mark without its other half counts as a space. */
function readQuestion(q: string): { words: string[]; phrases: string[] } {
  const found = [...q.matchAll(/["“”„]([^"“”„]*)["“”]|([^\s"“”„]+)/g)];
  const parts = (group: 1 | 2) => found.flatMap((match) => match[group] ?? []);
  return { words: parts(2), phrases: parts(1) };
}

type Cursor = z.output<typeof searchQuery>["cursor"];

/** What a cursor stands for; without one, the newest range. */
export function readPlace(cursor: Cursor) {
  const [newest = Number.MAX_SAFE_INTEGER, oldest = Number.MIN_SAFE_INTEGER, rank, position] = cursor ?? [];
  const after = rank === undefined || position === undefined ? undefined : { rank, position };
  return { range: { newest, oldest }, after };
}

type Found = Awaited<ReturnType<typeof searchMessages>>;

/** Where the next page begins: within this range, or, where it ends, with the next one. */
export function nextPlace(found: Found, limit: number, range: SearchRange): NonNullable<Cursor> | null {
  // A range that was given ends where it did, though a match before may have gone since.
  const oldest = range.oldest > Number.MIN_SAFE_INTEGER ? range.oldest : (found.oldest ?? range.oldest);
  const last = found.items[limit - 1];
  if (found.items.length > limit && last) {
    return [found.newest ?? range.newest, oldest, last.rank, last.position];
  }
  return oldest > Number.MIN_SAFE_INTEGER ? [oldest - 1] : null;
}
