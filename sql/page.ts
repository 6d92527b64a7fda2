import { z } from "zod";

/** One row that carries a whole page: its items as JSON texts joined by commas, made in one statement. */
export const pageRow = z.object({
  /** The point of the log that the page reflects. */
  cursor: z.string(),
  has_more: z.boolean(),
  items: z.string(),
  /** JSON array: the sort key of the last item. */
  last_key: z.string(),
});

export interface Page {
  cursor: string;
  items: string;
  /** Sort key of the last item if more follow. */
  nextKey: unknown[] | null;
}

export function pageOf(row: z.infer<typeof pageRow>): Page {
  return { cursor: row.cursor, items: row.items, nextKey: row.has_more ? JSON.parse(row.last_key) : null };
}
