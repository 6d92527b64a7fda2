import { z } from "zod";
import { limits } from "./limits.ts";

/**
 * Fields that several routes and frames share. Lengths are counted in Unicode code points, as Postgres
 * counts.
 */

/** Text that Postgres can store and give back unchanged: no NUL, no half of a surrogate pair. */
export function text(min: number, max: number) {
  return z
    .string()
    .refine((value) => value.isWellFormed() && !value.includes("\0"), {
      error: "must not contain NUL or unpaired surrogates",
      abort: true,
    })
    .refine((value) => isBetween(value, min, max), {
      error: min === 0 ? `must have at most ${max} characters` : `must have ${min} to ${max} characters`,
    })
    .meta({ ...(min > 0 && { minLength: min }), maxLength: max });
}

/** Counts code points only where the number of UTF-16 units (one or two per code point) leaves a doubt. */
function isBetween(value: string, min: number, max: number): boolean {
  if (value.length < min || value.length > 2 * max) return false;
  if (value.length >= 2 * min && value.length <= max) return true;
  const count = [...value].length;
  return count >= min && count <= max;
}

/** Empty where attachments speak; see requireContent(). */
export const contentSchema = text(0, limits.contentCharacters);
export const clientIdSchema = text(1, 64);

/**
 * A reaction: one emoji as people see it, however many code points it is made of, or the short name of a
 * custom one. Where variation selectors are left out they are put in: there is one way to write each.
 */
export const reactionSchema = z
  .string()
  .max(64)
  .transform((value, context) => {
    if (/^[a-z0-9_+-]{2,32}$/.test(value)) return value;
    const qualified = value.replace(
      /(?!\p{Emoji_Presentation})\p{Emoji}(?![\uFE0F\p{Emoji_Modifier}])/gu,
      "$&\uFE0F",
    );
    const emoji = [value, qualified].find((form) => /^\p{RGI_Emoji}$/v.test(form));
    if (emoji !== undefined) return emoji;
    context.addIssue({
      code: "custom",
      message: "must be one emoji, or a name of 2 to 32 of a-z, 0-9, _ + -",
    });
    return z.NEVER;
  });

export const usernameSchema = z
  .string()
  .regex(/^[a-zA-Z0-9_.-]{3,32}$/, "must be 3 to 32 of a-z, 0-9, _ . -")
  .meta({ examples: ["ann"] })
  .transform((value) => value.toLowerCase());
export const passwordSchema = text(8, 256).meta({ examples: ["correct horse battery"] });
export const emailSchema = z
  .email()
  .max(254)
  .meta({ examples: ["ann@example.org"] });
export const displayNameSchema = text(1, 64)
  .refine((value) => value.trim() !== "", "must not be blank")
  .meta({ examples: ["Ann Lee"] });

/** Ids are compared with those of the log as text, so there is one way to write them. */
export const idSchema = z.uuid().toLowerCase();
export const idsSchema = z.array(idSchema).max(limits.membersPerCall);
export const attachmentIdsSchema = z
  .array(idSchema)
  .max(limits.attachmentsPerMessage)
  .refine((ids) => new Set(ids).size === ids.length, { error: "must not name one twice" });

/** Of what is sent, content or attachments must say something. */
export function requireContent<
  T extends z.ZodType<{ content: string; attachment_ids?: string[] | null | undefined }>,
>(schema: T) {
  return schema.refine(({ content, attachment_ids }) => content !== "" || attachment_ids?.length, {
    path: ["content"],
    error: "may be empty only with attachments",
  });
}
/** A timestamp as Postgres prints it, in cursors of lists. */
export const timestampSchema = z
  .string()
  .regex(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\+00$/, "is not a timestamp")
  .refine(isDate, { error: "is not a timestamp" });
/**
 * A point in time as clients write it: RFC 3339 with any offset, of which Postgres would take some only.
 * Gives it in UTC. Postgres has no year 0, and from the year 10000 on JavaScript writes what is not RFC 3339.
 */
export const momentSchema = z.iso
  .datetime({ offset: true })
  .refine((value) => Date.parse(value) >= 0, { error: "must not be before 1970" })
  .refine((value) => Date.parse(value) < Date.UTC(10_000, 0), { error: "must be before the year 10000" })
  .transform((value) => new Date(value).toISOString());
/** Numbers in addresses: digits, and nothing else that JavaScript takes for a number. */
export function digits(min: number, max: number) {
  return z
    .string()
    .regex(/^(0|[1-9][0-9]*)$/, { error: "must be a number", abort: true })
    .meta({ type: "integer", minimum: min, maximum: max })
    .transform(Number)
    .pipe(z.number().int().min(min).max(max));
}
export const seqSchema = digits(1, Number.MAX_SAFE_INTEGER);
export const limitSchema = digits(1, limits.pageMost).default(limits.pageDefault);

/** A cursor of a stream: `<epoch>.<position>`. */
export const cursorSchema = z
  .string()
  .regex(/^[0-9a-z]{1,16}\.(0|[1-9][0-9]{0,14})$/, "is not a cursor")
  .meta({
    description: "The last cursor seen: where to go on. Without one: from now.",
    examples: ["k3v9x2.1042"],
  })
  .transform((value) => {
    const [epoch = "", position = "0"] = value.split(".");
    return { epoch, position: Number(position) };
  });

/** A place in a list: the sort key of its last item, as base64url of JSON. Opaque to clients. */
export function pageCursorSchema<T extends z.ZodType>(key: T) {
  return z
    .string()
    .max(512)
    .meta({ description: "The `next_cursor` of the page before." })
    .transform((value, context) => {
      try {
        return JSON.parse(Buffer.from(value, "base64url").toString("utf8"));
      } catch {
        context.addIssue({ code: "custom", message: "is not a cursor" });
        return z.NEVER;
      }
    })
    .pipe(key)
    .optional();
}

export function encodePageCursor(key: unknown): string {
  return Buffer.from(JSON.stringify(key)).toString("base64url");
}

/** 30 February, which JavaScript takes for a day of March, is none, and Postgres has no year 0. */
function isDate(value: string): boolean {
  const time = Date.parse(value);
  return value > "0001" && !Number.isNaN(time) && new Date(time).toISOString().startsWith(value.slice(0, 10));
}
