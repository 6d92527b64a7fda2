import { z } from "zod";
import { type FoundAttachment, findAttachment, findThumbnail } from "../../sql/attachments.ts";
import { keepAttachment, storeFile } from "../commands/attachments.ts";
import { isShownInPlace } from "../commands/media-types.ts";
import { Failure, fail } from "../errors.ts";
import { idSchema } from "../fields.ts";
import { attachmentSchema } from "../schemas.ts";
import type { Parts } from "./parts.ts";
import { json, type Route, route } from "./route.ts";
import { readBuffer, type Served, serve, servedAnswers, servedRequestHeaders } from "./serving.ts";
import { fileForm, receiveFile } from "./uploads.ts";

const attachmentParams = z.object({ id: idSchema });
const attachmentQuery = z.object({
  thumbnail: z.literal("1").optional().describe("Of an image: at most 320 pixels wide and high, as WebP."),
});

const unseen = "attachment_not_found";

export function attachmentRoutes(parts: Parts): Route[] {
  const { attachments, inUploadPlace, pool } = parts;
  return [
    route({
      method: "POST",
      path: "/api/v1/attachments",
      name: "uploadAttachment",
      summary: "Upload a file, to be sent with a message",
      description:
        "Read by nobody else before it is sent; goes after a day if it is not. What is larger than the " +
        "server takes (10 MiB, unless set otherwise) is refused.",
      tag: "Attachments",
      access: "session",
      rate: "upload",
      uploads: { "multipart/form-data": fileForm },
      answers: { 201: attachmentSchema },
      refusals: ["too_many_attachments", "overloaded"],
      handle: async ({ event, caller }) => {
        const stored = await inUploadPlace(caller.user_id, () =>
          receiveFile(event, attachments.maxBytes, (file) => storeFile(attachments, caller, file)),
        );
        // Without the place: pictures that wait to be looked at would keep others from uploading anything.
        return json(201, await keepAttachment(attachments, caller, stored));
      },
    }),
    route({
      method: "GET",
      path: "/api/v1/attachments/:id",
      name: "readAttachment",
      summary: "A file, or a part of it",
      description: "For its uploader and, once it is sent, for the members of that discussion.",
      tag: "Attachments",
      access: "session",
      params: attachmentParams,
      query: attachmentQuery,
      headers: servedRequestHeaders,
      answers: servedAnswers(["*/*"]),
      refusals: [unseen, "not_found", "range_not_satisfiable"],
      handle: async ({ event, caller, params: { id }, query }) => {
        if (query.thumbnail) {
          const { name, image } = (await findThumbnail(pool, id, caller.user_id)) ?? fail(unseen);
          return serve(event, toThumbnail(id, name, image ?? fail("not_found", "It has no thumbnail")));
        }
        const found = (await findAttachment(pool, id, caller.user_id)) ?? fail(unseen);
        try {
          return await serve(event, toServed(parts, found));
        } catch (error) {
          // Its bytes may have gone with its message a moment ago.
          if (error instanceof Failure || (await findAttachment(pool, id, caller.user_id))) throw error;
          return fail(unseen);
        }
      },
    }),
  ];
}

/** An id has the same bytes for ever, so it is their tag. */
function toServed({ attachments }: Parts, found: FoundAttachment): Served {
  const storage = attachments.storages.named(found.storage);
  return {
    ...found,
    etag: found.id,
    inPlace: isShownInPlace(found),
    read: (first, last) => storage.read(found.id, first, last),
  };
}

function toThumbnail(id: string, name: string, image: Buffer): Served {
  return {
    media_type: "image/webp",
    size: image.length,
    etag: `${id}-thumbnail`,
    inPlace: true,
    name: `${name}.webp`,
    read: readBuffer(image),
  };
}
